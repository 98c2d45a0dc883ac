//! From column values to coordinates: where rows lie in each dimension.

use super::dimension::{Dimension, DimensionKind};
use super::hash::partition_hash_as;
use crate::error::{Error, Result, codes};
use arrow::array::types::{ArrowPrimitiveType, Date32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use postgres_types::Type;

const DAY_MICROS: i64 = 86_400_000_000;

/// Coordinates of a batch's rows, dimension by dimension: `[dimension][row]`. Columns are found by name.
/// Errors: `42703` if a column is missing, else as [`coordinates`].
pub fn batch_coordinates(dimensions: &[Dimension], batch: &RecordBatch) -> Result<Vec<Vec<i64>>> {
    let of = |dimension: &Dimension| {
        let column = batch.column_by_name(&dimension.column).ok_or_else(|| {
            Error::new(codes::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", dimension.column))
        })?;
        coordinates(column, dimension)
    };
    dimensions.iter().map(of).collect()
}

/// One coordinate a row: microseconds since 1970 UTC or the integer itself in an open dimension, the partition hash in
/// a closed one. Errors: `23502` for NULL in an open dimension, `42809` and `42883` for a type that cannot be a dimension.
pub fn coordinates(column: &ArrayRef, dimension: &Dimension) -> Result<Vec<i64>> {
    let ty = dimension.column_type();
    match dimension.kind {
        DimensionKind::Closed { .. } => Ok(partition_hash_as(column, &ty)?.into_iter().map(i64::from).collect()),
        DimensionKind::Open { .. } if column.null_count() > 0 => Err(null_time(&dimension.column)),
        DimensionKind::Open { .. } => open_coordinates(column, &dimension.column, &ty),
    }
}

fn null_time(column: &str) -> Error {
    Error::new(codes::NOT_NULL_VIOLATION, format!("NULL value in column \"{column}\" violates not-null constraint"))
        .with_hint("Columns used for time partitioning cannot be NULL.")
}

fn open_coordinates(column: &ArrayRef, name: &str, ty: &Type) -> Result<Vec<i64>> {
    let storage = match *ty {
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::DATE => DataType::Date32,
        // Both count microseconds since 1970 in Arrow, one by the wall clock and one in UTC: the zone does not matter.
        Type::TIMESTAMP | Type::TIMESTAMPTZ => match column.data_type() {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            _ => DataType::Timestamp(TimeUnit::Microsecond, None),
        },
        _ => {
            return Err(Error::new(codes::WRONG_OBJECT_TYPE, format!("invalid type for dimension \"{name}\""))
                .with_hint("Use an integer, timestamp, or date type."));
        }
    };
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    let column = match *column.data_type() == storage {
        true => column.clone(),
        false => arrow::compute::cast_with_options(column, &storage, &options)?,
    };
    Ok(match storage {
        DataType::Int16 => widened::<Int16Type>(&column, i64::from),
        DataType::Int32 => widened::<Int32Type>(&column, i64::from),
        DataType::Int64 => widened::<Int64Type>(&column, |value| value),
        DataType::Date32 => widened::<Date32Type>(&column, |days| i64::from(days).saturating_mul(DAY_MICROS)),
        _ => widened::<TimestampMicrosecondType>(&column, |micros| micros),
    })
}

fn widened<T: ArrowPrimitiveType>(column: &ArrayRef, coordinate: impl Fn(T::Native) -> i64) -> Vec<i64> {
    column.as_primitive::<T>().values().iter().map(|value| coordinate(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DimensionId;
    use arrow::array::{Date32Array, Int16Array, StringArray, TimestampMicrosecondArray, TimestampSecondArray};
    use std::sync::Arc;

    fn dimension(ty: Type, kind: DimensionKind) -> Dimension {
        Dimension { id: DimensionId(1), column: "t".into(), type_oid: ty.oid(), kind }
    }

    fn open(ty: Type, column: impl Array + 'static) -> Result<Vec<i64>> {
        coordinates(&(Arc::new(column) as ArrayRef), &dimension(ty, DimensionKind::Open { interval: 1 }))
    }

    #[test]
    fn time_counts_in_microseconds_and_integers_as_they_are() {
        let stamps = TimestampMicrosecondArray::from(vec![-1, 5]).with_timezone("+00:00");
        assert_eq!(open(Type::TIMESTAMPTZ, stamps).unwrap(), [-1, 5]);
        assert_eq!(open(Type::TIMESTAMP, TimestampSecondArray::from(vec![2])).unwrap(), [2_000_000]);
        assert_eq!(open(Type::DATE, Date32Array::from(vec![1, -1])).unwrap(), [DAY_MICROS, -DAY_MICROS]);
        // The date `infinity`.
        assert_eq!(open(Type::DATE, Date32Array::from(vec![i32::MAX])).unwrap(), [i64::MAX]);
        assert_eq!(open(Type::INT2, Int16Array::from(vec![-7])).unwrap(), [-7]);
    }

    #[test]
    fn a_null_time_is_refused_and_a_null_in_space_hashes_to_zero() {
        let error = open(Type::INT2, Int16Array::from(vec![Some(1), None])).unwrap_err();
        assert_eq!(error.code(), codes::NOT_NULL_VIOLATION);
        assert_eq!(error.message(), "NULL value in column \"t\" violates not-null constraint");
        let column: ArrayRef = Arc::new(StringArray::from(vec![None, Some("a")]));
        let space = dimension(Type::TEXT, DimensionKind::Closed { partitions: 3 });
        assert_eq!(coordinates(&column, &space).unwrap(), [0, 1075015857]);
    }

    #[test]
    fn a_type_without_a_time_line_is_refused() {
        assert_eq!(open(Type::TEXT, StringArray::from(vec!["x"])).unwrap_err().code(), codes::WRONG_OBJECT_TYPE);
    }
}
