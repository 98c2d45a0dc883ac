//! PostgreSQL types and their Arrow form.
//!
//! | PostgreSQL | Arrow |
//! |---|---|
//! | boolean | Boolean |
//! | smallint, integer, bigint | Int16, Int32, Int64 |
//! | real, double precision | Float32, Float64 |
//! | numeric(p,s); numeric | Decimal128(p,s); Decimal128(38,10) |
//! | text | Utf8 |
//! | varchar, char(n), name, uuid, json, jsonb, regclass, regtype | Utf8 with field metadata [`PG_TYPE`] |
//! | bytea | Binary |
//! | date | Date32 |
//! | timestamp | Timestamp(Microsecond, None) |
//! | timestamptz | Timestamp(Microsecond, "+00:00") |
//! | time | Time64(Microsecond) |
//! | interval | Interval(MonthDayNano) |
//! | oid | UInt32 |
//! | T[] | List of the above |
//!
//! Types that the SQL engine may produce besides (UInt64, Utf8View, nanosecond timestamps …) are narrowed to these
//! on their way out: [`pg_type`] names the type a client sees, [`narrow`] converts the column.

use crate::error::{Error, Result, codes};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use postgres_types::Type;
use std::sync::Arc;

/// Field metadata key: the PostgreSQL type name where the Arrow type alone does not tell.
pub const PG_TYPE: &str = "pg.type";

/// The time zone string of every timestamptz column, the one DataFusion gives `now()`.
pub const UTC: &str = "+00:00";

/// Decimal digits after the point of a `numeric` without declared scale.
pub const NUMERIC_SCALE: i8 = 10;

pub fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// A batch stream as it crosses module borders.
pub type BatchStream = futures::stream::BoxStream<'static, Result<RecordBatch>>;

/// The Arrow field that holds a column of `ty`. Errors: `0A000` for a type Hypertile does not have.
pub fn field(name: &str, ty: &Type, nullable: bool) -> Result<Field> {
    let (data_type, tag) = arrow_type(ty)?;
    let field = Field::new(name, data_type, nullable);
    Ok(match tag {
        None => field,
        Some(tag) => field.with_metadata([(PG_TYPE.to_string(), tag.to_string())].into_iter().collect()),
    })
}

fn arrow_type(ty: &Type) -> Result<(DataType, Option<&'static str>)> {
    if let postgres_types::Kind::Array(element) = ty.kind() {
        let inner = field("item", element, true)?;
        return Ok((DataType::List(Arc::new(inner)), None));
    }
    Ok(match *ty {
        Type::BOOL => (DataType::Boolean, None),
        Type::INT2 => (DataType::Int16, None),
        Type::INT4 => (DataType::Int32, None),
        Type::INT8 => (DataType::Int64, None),
        Type::FLOAT4 => (DataType::Float32, None),
        Type::FLOAT8 => (DataType::Float64, None),
        Type::NUMERIC => (DataType::Decimal128(38, NUMERIC_SCALE), None),
        Type::TEXT | Type::UNKNOWN => (DataType::Utf8, None),
        Type::VARCHAR => (DataType::Utf8, Some("varchar")),
        Type::BPCHAR => (DataType::Utf8, Some("bpchar")),
        Type::NAME => (DataType::Utf8, Some("name")),
        Type::UUID => (DataType::Utf8, Some("uuid")),
        Type::JSON => (DataType::Utf8, Some("json")),
        Type::JSONB => (DataType::Utf8, Some("jsonb")),
        Type::REGCLASS => (DataType::Utf8, Some("regclass")),
        Type::REGTYPE => (DataType::Utf8, Some("regtype")),
        Type::RECORD => (DataType::Utf8, Some("record")),
        Type::BYTEA => (DataType::Binary, None),
        Type::DATE => (DataType::Date32, None),
        Type::TIMESTAMP => (DataType::Timestamp(TimeUnit::Microsecond, None), None),
        Type::TIMESTAMPTZ => (timestamptz(), None),
        Type::TIME => (DataType::Time64(TimeUnit::Microsecond), None),
        Type::INTERVAL => (DataType::Interval(IntervalUnit::MonthDayNano), None),
        Type::OID => (DataType::UInt32, None),
        _ => return Err(Error::unsupported(format!("type {} is not supported", ty.name()))),
    })
}

/// The PostgreSQL type that a client is told for a result column.
pub fn pg_type(field: &Field) -> Type {
    if let Some(tag) = field.metadata().get(PG_TYPE) {
        match tag.as_str() {
            "varchar" => return Type::VARCHAR,
            "bpchar" => return Type::BPCHAR,
            "name" => return Type::NAME,
            "uuid" => return Type::UUID,
            "json" => return Type::JSON,
            "jsonb" => return Type::JSONB,
            "regclass" => return Type::REGCLASS,
            "regtype" => return Type::REGTYPE,
            "record" => return Type::RECORD,
            _ => {}
        }
    }
    match field.data_type() {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt64 => Type::INT8,
        DataType::UInt32 => Type::OID,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            Type::NUMERIC
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            array_type(&pg_type(item)).unwrap_or(Type::TEXT_ARRAY)
        }
        DataType::Dictionary(_, value) => pg_type(&Field::new("", (**value).clone(), true)),
        _ => Type::TEXT,
    }
}

/// The array type of an element type; `None` where arrays of it are not supported.
pub fn array_type(element: &Type) -> Option<Type> {
    Some(match *element {
        Type::BOOL => Type::BOOL_ARRAY,
        Type::INT2 => Type::INT2_ARRAY,
        Type::INT4 => Type::INT4_ARRAY,
        Type::INT8 => Type::INT8_ARRAY,
        Type::FLOAT4 => Type::FLOAT4_ARRAY,
        Type::FLOAT8 => Type::FLOAT8_ARRAY,
        Type::NUMERIC => Type::NUMERIC_ARRAY,
        Type::TEXT => Type::TEXT_ARRAY,
        Type::VARCHAR => Type::VARCHAR_ARRAY,
        Type::NAME => Type::NAME_ARRAY,
        Type::UUID => Type::UUID_ARRAY,
        Type::DATE => Type::DATE_ARRAY,
        Type::TIMESTAMP => Type::TIMESTAMP_ARRAY,
        Type::TIMESTAMPTZ => Type::TIMESTAMPTZ_ARRAY,
        Type::INTERVAL => Type::INTERVAL_ARRAY,
        Type::BYTEA => Type::BYTEA_ARRAY,
        Type::OID => Type::OID_ARRAY,
        _ => return None,
    })
}

/// The schema a client sees: every field in the form that [`field`] gives its [`pg_type`] (declared decimals keep
/// their precision and scale).
pub fn client_schema(schema: &Schema) -> Result<SchemaRef> {
    let fields = schema.fields().iter().map(|f| client_field(f)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

fn client_field(source: &Field) -> Result<Field> {
    match source.data_type() {
        DataType::Decimal128(..) => Ok(source.clone()),
        _ => field(source.name(), &pg_type(source), source.is_nullable()),
    }
}

/// Converts a batch to `schema` (made by [`client_schema`]). Errors: `22003` where a value does not fit.
pub fn narrow(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns =
        batch.columns().iter().zip(schema.fields()).map(|(c, f)| narrow_column(c, f)).collect::<Result<Vec<_>>>()?;
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn narrow_column(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(column.clone());
    }
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    arrow::compute::cast_with_options(column, field.data_type(), &options)
        .map_err(|e| Error::new(codes::NUMERIC_OUT_OF_RANGE, format!("column \"{}\": {e}", field.name())))
}
