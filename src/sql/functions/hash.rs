//! PostgreSQL's hash functions under their own names: what a chunk's CHECK on a closed dimension calls. And
//! TimescaleDB's partition hash.

use super::Simple;
use crate::chunk::hash::{hash_function_name, partition_hash as coordinates, type_hash};
use crate::sql::types;
use datafusion::arrow::array::{Array, ArrayRef, Int32Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, Volatility};
use postgres_types::Type;
use std::sync::Arc;

/// One function a type, as in PostgreSQL.
const TYPES: [Type; 14] = [
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::OID,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::NUMERIC,
    Type::TEXT,
    Type::BPCHAR,
    Type::NAME,
    Type::UUID,
    Type::TIMESTAMP,
    Type::TIME,
    Type::INTERVAL,
];

pub fn functions() -> Vec<ScalarUDF> {
    TYPES.into_iter().filter_map(function).chain([ScalarUDF::from(partition_hash())]).collect()
}

fn function(ty: Type) -> Option<ScalarUDF> {
    let name = hash_function_name(ty.oid())?;
    let argument = types::field("", &ty, true).ok()?.data_type().clone();
    // A declared numeric keeps its own precision and scale: casting it would not change the hash, only cost digits.
    let signature = match argument {
        DataType::Decimal128(..) => Signature::any(1, Volatility::Immutable),
        exact => Signature::exact(vec![exact], Volatility::Immutable),
    };
    let body = move |column: &ArrayRef| -> Result<ArrayRef> {
        let hashes = type_hash(column, &ty)?;
        Ok(Arc::new(hashes.into_iter().map(|hash| hash.map(u32::cast_signed)).collect::<Int32Array>()))
    };
    let function = Simple::new(name, signature, DataType::Int32, move |arguments| match &arguments.args[0] {
        ColumnarValue::Array(column) => Ok(ColumnarValue::Array(body(column)?)),
        ColumnarValue::Scalar(value) => {
            let hash = body(&value.to_array_of_size(1)?)?;
            Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&hash, 0)?))
        }
    });
    Some(ScalarUDF::from(function))
}

/// `_timescaledb_functions.get_partition_hash(anyelement)`: the coordinate in a closed dimension.
fn partition_hash() -> Simple {
    let signature = Signature::any(1, Volatility::Immutable);
    Simple::new("get_partition_hash", signature, DataType::Int32, |arguments| {
        let column = arguments.args[0].to_array(arguments.number_rows)?;
        let hashes = coordinates(&column, &arguments.arg_fields[0])?.into_iter().enumerate();
        let hashes = hashes.map(|(row, hash)| column.is_valid(row).then_some(hash));
        Ok(ColumnarValue::Array(Arc::new(hashes.collect::<Int32Array>())))
    })
}
