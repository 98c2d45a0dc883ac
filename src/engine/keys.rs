//! Unique keys: rows to key bytes, and the words for a violation.
//!
//! Key bytes are Arrow's row encoding of the key columns: they are equal exactly when all values are. They are stored,
//! so a change of that encoding needs a new store format.

use super::table::{Key, Table};
use crate::error::{Error, Result, codes};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::Arc;

/// One key value, shared between the places that remember it.
pub(super) type KeyBytes = Arc<[u8]>;

/// A key as it is reserved and stored: which row of the batch it came from, and its bytes.
#[derive(Clone, Debug)]
pub(super) struct RowKey {
    pub row: usize,
    pub bytes: KeyBytes,
}

/// Encodes one constraint's key.
pub(super) struct KeyCodec {
    key: Key,
    converter: RowConverter,
}

impl KeyCodec {
    /// One codec for each key of the table, in order.
    pub fn all(table: &Table) -> Result<Vec<KeyCodec>> {
        let schema = table.schema()?;
        let codec = |key: &Key| -> Result<KeyCodec> {
            let fields =
                key.columns.iter().map(|&c| SortField::new(schema.field(c).data_type().clone())).collect::<Vec<_>>();
            Ok(KeyCodec { key: key.clone(), converter: RowConverter::new(fields)? })
        };
        table.keys.iter().map(codec).collect()
    }

    /// The keys of the batch's rows. Rows with a NULL in the key have none: NULLs are distinct.
    pub fn keys(&self, batch: &RecordBatch) -> Result<Vec<RowKey>> {
        let columns = self.key.columns.iter().map(|&c| canonical(batch.column(c))).collect::<Vec<_>>();
        let rows = self.converter.convert_columns(&columns)?;
        let has_key = |row: &usize| columns.iter().all(|column| column.is_valid(*row));
        let key = |row: usize| RowKey { row, bytes: Arc::from(rows.row(row).as_ref()) };
        Ok((0..batch.num_rows()).filter(has_key).map(key).collect())
    }

    /// `23505` for that row of the batch.
    pub fn violation(&self, batch: &RecordBatch, row: usize) -> Error {
        let schema = batch.schema();
        let names = self.key.columns.iter().map(|&c| schema.field(c).name().as_str()).collect::<Vec<_>>();
        let values = self.key.columns.iter().map(|&c| display(batch.column(c), row)).collect::<Vec<_>>();
        let message = format!("duplicate key value violates unique constraint \"{}\"", self.key.name);
        let detail = format!("Key ({})=({}) already exists.", names.join(", "), values.join(", "));
        Error::new(codes::UNIQUE_VIOLATION, message).with_detail(detail)
    }
}

/// To SQL -0.0 equals 0.0 and every NaN equals every other; to the row encoding they differ.
fn canonical(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => Arc::new(
            column
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        ),
        DataType::Float32 => Arc::new(
            column
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        ),
        _ => column.clone(),
    }
}

/// A value as PostgreSQL prints it in a DETAIL line.
fn display(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::new().with_null("null");
    let text = match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => "?".to_string(),
    };
    match column.data_type() {
        DataType::Boolean => text.chars().take(1).collect(),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let text = text.trim_end_matches('Z').trim_end_matches("+00:00").replacen('T', " ", 1);
            let text = if text.contains('.') { text.trim_end_matches('0') } else { &text };
            format!("{text}{}", if zone.is_some() { "+00" } else { "" })
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::test_support::{column, table};
    use arrow::array::{Float64Array, Int32Array, StringArray, TimestampMicrosecondArray};
    use postgres_types::Type;

    fn codec(columns: Vec<super::super::table::Column>) -> KeyCodec {
        let key = Key { name: "k".to_string(), columns: (0..columns.len()).collect(), primary: false };
        let mut table = table("t", columns);
        table.keys = vec![key];
        KeyCodec::all(&table).unwrap().remove(0)
    }

    #[test]
    fn equal_values_have_equal_keys_and_nulls_have_none() {
        let codec = codec(vec![column("a", Type::INT4), column("b", Type::TEXT)]);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(Int32Array::from(vec![Some(1), Some(1), None, Some(1)])) as ArrayRef, true),
            ("b", Arc::new(StringArray::from(vec![Some("x"), Some("y"), Some("x"), Some("x")])) as ArrayRef, true),
        ])
        .unwrap();
        let keys = codec.keys(&batch).unwrap();
        assert_eq!(keys.iter().map(|k| k.row).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(keys[0].bytes, keys[2].bytes);
        assert_ne!(keys[0].bytes, keys[1].bytes);
    }

    #[test]
    fn zero_and_minus_zero_are_one_key() {
        let codec = codec(vec![column("a", Type::FLOAT8)]);
        let values = Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]);
        let batch = RecordBatch::try_from_iter([("a", Arc::new(values) as ArrayRef)]).unwrap();
        let keys = codec.keys(&batch).unwrap();
        assert_eq!(keys[0].bytes, keys[1].bytes);
        assert_eq!(keys[2].bytes, keys[3].bytes);
    }

    #[test]
    fn a_violation_names_constraint_columns_and_values_as_postgresql_does() {
        let codec = codec(vec![column("time", Type::TIMESTAMPTZ), column("device", Type::TEXT)]);
        let time = TimestampMicrosecondArray::from(vec![1_700_000_000_500_000]).with_timezone("+00:00");
        let batch = RecordBatch::try_from_iter([
            ("time", Arc::new(time) as ArrayRef),
            ("device", Arc::new(StringArray::from(vec!["d1"])) as ArrayRef),
        ])
        .unwrap();
        let error = codec.violation(&batch, 0);
        assert_eq!(error.code(), codes::UNIQUE_VIOLATION);
        assert_eq!(error.message(), "duplicate key value violates unique constraint \"k\"");
        assert_eq!(error.detail(), Some("Key (time, device)=(2023-11-14 22:13:20.5+00, d1) already exists."));
    }
}
