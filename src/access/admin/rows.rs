//! Small results made by hand: what functions return and what the information views show.

use crate::error::{Error, Result};
use crate::sql::types;
use arrow::array::{
    ArrayRef, BooleanArray, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch,
    RecordBatchOptions, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{IntervalMonthDayNano, Schema, SchemaRef};
use datafusion::catalog::{MemTable, TableProvider};
use postgres_types::{Kind, Type};
use std::sync::Arc;

const DAY_MICROS: i64 = 86_400_000_000;

/// One value of a row. Which of them fits is up to the column's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Microseconds since 1970 UTC.
    Instant(i64),
    /// A length of time in microseconds; whole days print as days.
    Span(i64),
    Texts(Vec<String>),
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    pub fn int(number: impl Into<i64>) -> Cell {
        Cell::Int(number.into())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// A column of a result: its name and its PostgreSQL type.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: &'static str,
    pub ty: Type,
}

pub const fn column(name: &'static str, ty: Type) -> Column {
    Column { name, ty }
}

/// Rows of known columns.
#[derive(Clone, Debug)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

impl Rows {
    pub fn new(columns: &[Column]) -> Rows {
        Rows { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len(), "a row has one cell per column");
        self.rows.push(row);
    }

    pub fn schema(&self) -> Result<SchemaRef> {
        let fields = self.columns.iter().map(|c| types::field(c.name, &c.ty, true)).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }

    /// A relation of these rows.
    pub fn table(&self) -> Result<Arc<dyn TableProvider>> {
        self.table_as(self.schema()?)
    }

    /// The same under another schema of the same types.
    fn table_as(&self, schema: SchemaRef) -> Result<Arc<dyn TableProvider>> {
        let arrays = (0..self.columns.len()).map(|at| self.array(at)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }

    /// As a table function's rows stand in FROM: the only column of a scalar result takes the table's alias as its
    /// name, as in PostgreSQL.
    pub fn function_table(&self, scalar_name: Option<&str>) -> Result<Arc<dyn TableProvider>> {
        match (scalar_name, &self.columns[..]) {
            (Some(name), [only]) => {
                let field = types::field(name, &only.ty, true)?;
                self.table_as(Arc::new(Schema::new(vec![field])))
            }
            _ => self.table(),
        }
    }

    /// As a call inside an expression has them: one column of the function's name, composite where there are several.
    pub fn value_table(&self, function: &'static str, composite: bool) -> Result<Arc<dyn TableProvider>> {
        if !composite {
            return self.function_table(Some(function));
        }
        let mut records = Rows::new(&[column(function, Type::RECORD)]);
        for row in &self.rows {
            records.push(vec![Cell::Text(record(row))]);
        }
        records.table()
    }

    fn array(&self, at: usize) -> Result<ArrayRef> {
        let name = self.columns[at].name;
        let cells = || self.rows.iter().map(move |row| &row[at]);
        let ty = &self.columns[at].ty;
        let ints = || {
            cells().map(|cell| match cell {
                Cell::Int(number) => Some(*number),
                _ => None,
            })
        };
        let narrow = || Error::internal(format!("a number in column \"{name}\" does not fit its type"));
        Ok(match ty.kind() {
            Kind::Array(_) => Arc::new(lists(&*self.schema()?, at, cells())?),
            _ => match *ty {
                Type::BOOL => Arc::new(BooleanArray::from_iter(cells().map(|cell| match cell {
                    Cell::Bool(value) => Some(*value),
                    _ => None,
                }))),
                Type::INT2 => {
                    let values = ints().map(|v| v.map(i16::try_from).transpose()).collect::<Result<Vec<_>, _>>();
                    Arc::new(Int16Array::from(values.map_err(|_| narrow())?))
                }
                Type::INT4 => {
                    let values = ints().map(|v| v.map(i32::try_from).transpose()).collect::<Result<Vec<_>, _>>();
                    Arc::new(Int32Array::from(values.map_err(|_| narrow())?))
                }
                Type::INT8 => Arc::new(Int64Array::from_iter(ints())),
                Type::OID => {
                    let values = ints().map(|v| v.map(u32::try_from).transpose()).collect::<Result<Vec<_>, _>>();
                    Arc::new(UInt32Array::from(values.map_err(|_| narrow())?))
                }
                Type::TIMESTAMPTZ => Arc::new(
                    TimestampMicrosecondArray::from_iter(cells().map(|cell| match cell {
                        Cell::Instant(micros) => Some(*micros),
                        _ => None,
                    }))
                    .with_timezone(types::UTC),
                ),
                Type::INTERVAL => Arc::new(IntervalMonthDayNanoArray::from_iter(cells().map(|cell| match cell {
                    Cell::Span(micros) => Some(days_and_rest(*micros)),
                    _ => None,
                }))),
                _ => Arc::new(StringArray::from_iter(cells().map(|cell| match cell {
                    Cell::Text(text) => Some(text.as_str()),
                    _ => None,
                }))),
            },
        })
    }
}

fn lists<'a>(schema: &Schema, at: usize, cells: impl Iterator<Item = &'a Cell>) -> Result<ListArray> {
    let arrow::datatypes::DataType::List(item) = schema.field(at).data_type() else {
        return Err(Error::internal(format!("column \"{}\" is no list", schema.field(at).name())));
    };
    let (mut values, mut lengths, mut valid): (Vec<&str>, Vec<usize>, Vec<bool>) = Default::default();
    for cell in cells {
        let texts: &[String] = if let Cell::Texts(texts) = cell { texts } else { &[] };
        valid.push(matches!(cell, Cell::Texts(_)));
        lengths.push(texts.len());
        values.extend(texts.iter().map(String::as_str));
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(ListArray::try_new(item.clone(), offsets, Arc::new(StringArray::from(values)), Some(valid.into()))?)
}

/// Days apart from the clock time, as `interval '7 days'` has them.
fn days_and_rest(micros: i64) -> IntervalMonthDayNano {
    match i32::try_from(micros / DAY_MICROS) {
        Ok(days) => IntervalMonthDayNano::new(0, days, (micros % DAY_MICROS) * 1_000),
        // Longer than five million years: only the largest bigint intervals get here.
        Err(_) => IntervalMonthDayNano::new(0, i32::MAX, 0),
    }
}

/// A composite value as PostgreSQL prints it: `(node3,127.0.0.1,5432,tsdb,t,t,t)`.
/// PostgreSQL documentation, "Composite Type Input and Output Syntax".
pub fn record(row: &[Cell]) -> String {
    let fields: Vec<String> = row.iter().map(record_field).collect();
    format!("({})", fields.join(","))
}

fn record_field(cell: &Cell) -> String {
    let text = match cell {
        Cell::Null => return String::new(),
        Cell::Bool(value) => return if *value { "t".into() } else { "f".into() },
        Cell::Int(number) | Cell::Instant(number) | Cell::Span(number) => return number.to_string(),
        Cell::Text(text) => text.clone(),
        Cell::Texts(texts) => array_text(texts),
    };
    let special = |c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '(' | ')' | ',');
    if text.is_empty() || text.contains(special) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\""))
    } else {
        text
    }
}

/// `{a,b}`, elements quoted where they need it. PostgreSQL documentation, "Array Input and Output Syntax".
pub fn array_text(elements: &[String]) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '{' | '}' | ',');
    let quoted = |element: &String| {
        if element.is_empty() || element.contains(special) || element.eq_ignore_ascii_case("null") {
            format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            element.clone()
        }
    };
    format!("{{{}}}", elements.iter().map(quoted).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;

    #[test]
    fn records_print_as_in_postgres() {
        let row = [
            Cell::text("node3"),
            Cell::text("127.0.0.1"),
            Cell::Int(5432),
            Cell::text("tsdb"),
            Cell::Bool(true),
            Cell::Bool(false),
        ];
        assert_eq!(record(&row), "(node3,127.0.0.1,5432,tsdb,t,f)");
        assert_eq!(record(&[Cell::Int(1), Cell::Null, Cell::text("")]), "(1,,\"\")");
        assert_eq!(record(&[Cell::text("a b"), Cell::text("say \"x\\y\"")]), "(\"a b\",\"say \"\"x\\\\y\"\"\")");
        assert_eq!(record(&[Cell::Texts(vec!["a".into(), "b c".into()])]), "(\"{a,\"\"b c\"\"}\")");
    }

    #[test]
    fn arrays_quote_what_would_read_differently() {
        let texts: Vec<String> = ["dn1", "a,b", "", "NULL", "q\"q"].map(String::from).into();
        assert_eq!(array_text(&texts), "{dn1,\"a,b\",\"\",\"NULL\",\"q\\\"q\"}");
        assert_eq!(array_text(&[]), "{}");
    }

    #[test]
    fn every_column_type_becomes_its_array() {
        let mut rows = Rows::new(&[
            column("b", Type::BOOL),
            column("s", Type::INT2),
            column("i", Type::INT4),
            column("l", Type::INT8),
            column("t", Type::TIMESTAMPTZ),
            column("v", Type::INTERVAL),
            column("n", Type::NAME),
            column("a", Type::NAME_ARRAY),
        ]);
        rows.push(vec![
            Cell::Bool(true),
            Cell::Int(3),
            Cell::Int(4),
            Cell::Int(5),
            Cell::Instant(1_000_000),
            Cell::Span(7 * DAY_MICROS),
            Cell::text("x"),
            Cell::Texts(vec!["dn1".into(), "dn2".into()]),
        ]);
        rows.push(vec![Cell::Null; 8]);
        let table = rows.table().unwrap();
        assert_eq!(*table.schema().field(7).data_type(), rows.schema().unwrap().field(7).data_type().clone());
        let list = rows.array(7).unwrap();
        assert_eq!((list.len(), list.null_count()), (2, 1));
        assert!(matches!(list.data_type(), DataType::List(_)));
        let spans = rows.array(5).unwrap();
        let spans = spans.as_any().downcast_ref::<IntervalMonthDayNanoArray>().unwrap();
        assert_eq!((spans.value(0).days, spans.value(0).nanoseconds), (7, 0));
    }

    #[test]
    fn a_number_too_large_for_its_column_is_an_error() {
        let mut rows = Rows::new(&[column("s", Type::INT2)]);
        rows.push(vec![Cell::Int(40_000)]);
        assert!(rows.table().is_err());
    }
}
