//! Batches from PostgreSQL values, column by column with typed builders.

use super::array::{parse_elements, read_binary_elements};
use super::cells::TextKind;
use super::datetime::{read_date_binary, read_time_binary, read_timestamp_binary};
use super::datetime_input::{parse_date, parse_time, parse_timestamp, parse_timestamptz};
use super::interval::{parse_interval, read_interval_binary};
use super::number::{Shape, parse_float, parse_integer, parse_numeric, read_f32, read_f64, read_numeric_binary};
use super::scalar::{check_json, check_text, parse_bool, parse_bytea, parse_uuid, utf8};
use super::{Format, fixed, invalid_binary};
use crate::error::{Error, Result, codes};
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, BufferBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListArray,
    NullBufferBuilder, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

/// Builds batches of `schema` from values in PostgreSQL's text or binary form, one value after the other.
/// Errors: `22P02`, `22007`, `22003`, `22P03`; the caller adds the row it stands in. After an error the builder
/// holds half a row and must be dropped.
pub struct BatchBuilder {
    schema: SchemaRef,
    format: Format,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
}

impl BatchBuilder {
    pub fn new(schema: SchemaRef, format: Format) -> BatchBuilder {
        let columns = schema.fields().iter().map(|field| ColumnBuilder::new(field)).collect();
        BatchBuilder { schema, format, columns, rows: 0, bytes: 0 }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows begun and ended so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the values taken so far, in the form they came in.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// `None` is NULL. Each column takes exactly one push a row, then `end_row`.
    pub fn push_text(&mut self, column: usize, text: Option<&str>) -> Result<()> {
        self.bytes += text.map_or(1, str::len);
        self.columns[column].push_text(text, &self.format)
    }

    pub fn push_binary(&mut self, column: usize, bytes: Option<&[u8]>) -> Result<()> {
        self.bytes += bytes.map_or(1, <[u8]>::len);
        self.columns[column].push_binary(bytes)
    }

    pub fn end_row(&mut self) {
        self.rows += 1;
    }

    /// The batch so far; the builder starts anew. Errors: `23502` for NULL in a column that must not hold it.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        for (column, field) in columns.iter().zip(self.schema.fields()) {
            if column.null_count() > 0 && !field.is_nullable() {
                return Err(Error::new(
                    codes::NOT_NULL_VIOLATION,
                    format!("null value in column \"{}\" violates not-null constraint", field.name()),
                ));
            }
        }
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// One column under construction.
pub enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Oid(UInt32Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Numeric(Decimal128Builder, Shape),
    Text(StringBuilder, TextKind),
    Bytea(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Timestamptz(TimestampMicrosecondBuilder),
    Time(Time64MicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List(Box<ListBuilder>),
    /// A field that is not in client form: every push fails.
    Unsupported(DataType),
}

/// Does the same to whichever builder there is.
macro_rules! each_builder {
    ($column:expr, $builder:ident => $action:expr, list $list:ident => $on_list:expr, other $type:ident => $on_other:expr) => {
        match $column {
            ColumnBuilder::Bool($builder) => $action,
            ColumnBuilder::Int16($builder) => $action,
            ColumnBuilder::Int32($builder) => $action,
            ColumnBuilder::Int64($builder) => $action,
            ColumnBuilder::Oid($builder) => $action,
            ColumnBuilder::Float32($builder) => $action,
            ColumnBuilder::Float64($builder) => $action,
            ColumnBuilder::Numeric($builder, _) => $action,
            ColumnBuilder::Text($builder, _) => $action,
            ColumnBuilder::Bytea($builder) => $action,
            ColumnBuilder::Date($builder) => $action,
            ColumnBuilder::Timestamp($builder) => $action,
            ColumnBuilder::Timestamptz($builder) => $action,
            ColumnBuilder::Time($builder) => $action,
            ColumnBuilder::Interval($builder) => $action,
            ColumnBuilder::List($list) => $on_list,
            ColumnBuilder::Unsupported($type) => $on_other,
        }
    };
}

impl ColumnBuilder {
    pub fn new(field: &Field) -> ColumnBuilder {
        match field.data_type() {
            DataType::Boolean => ColumnBuilder::Bool(BooleanBuilder::new()),
            DataType::Int16 => ColumnBuilder::Int16(Int16Builder::new()),
            DataType::Int32 => ColumnBuilder::Int32(Int32Builder::new()),
            DataType::Int64 => ColumnBuilder::Int64(Int64Builder::new()),
            DataType::UInt32 => ColumnBuilder::Oid(UInt32Builder::new()),
            DataType::Float32 => ColumnBuilder::Float32(Float32Builder::new()),
            DataType::Float64 => ColumnBuilder::Float64(Float64Builder::new()),
            numeric @ DataType::Decimal128(precision, scale) => ColumnBuilder::Numeric(
                Decimal128Builder::new().with_data_type(numeric.clone()),
                Shape { precision: *precision, scale: *scale },
            ),
            DataType::Utf8 => ColumnBuilder::Text(StringBuilder::new(), TextKind::of(field)),
            DataType::Binary => ColumnBuilder::Bytea(BinaryBuilder::new()),
            DataType::Date32 => ColumnBuilder::Date(Date32Builder::new()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                ColumnBuilder::Timestamp(TimestampMicrosecondBuilder::new())
            }
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => {
                ColumnBuilder::Timestamptz(TimestampMicrosecondBuilder::new().with_timezone(zone.clone()))
            }
            DataType::Time64(TimeUnit::Microsecond) => ColumnBuilder::Time(Time64MicrosecondBuilder::new()),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                ColumnBuilder::Interval(IntervalMonthDayNanoBuilder::new())
            }
            DataType::List(item) => ColumnBuilder::List(Box::new(ListBuilder::new(item.clone()))),
            other => ColumnBuilder::Unsupported(other.clone()),
        }
    }

    pub fn push_null(&mut self) -> Result<()> {
        each_builder!(self, builder => builder.append_null(), list list => list.push_null(), other data_type => {
            return Err(unsupported(data_type));
        });
        Ok(())
    }

    /// `None` is NULL.
    pub fn push_text(&mut self, text: Option<&str>, format: &Format) -> Result<()> {
        let Some(text) = text else { return self.push_null() };
        match self {
            ColumnBuilder::Bool(builder) => builder.append_value(parse_bool(text)?),
            ColumnBuilder::Int16(builder) => {
                let value = parse_integer(text, i16::MIN.into(), i16::MAX.into(), "smallint")?;
                builder.append_value(i16::try_from(value).expect("parsed within its range"));
            }
            ColumnBuilder::Int32(builder) => {
                let value = parse_integer(text, i32::MIN.into(), i32::MAX.into(), "integer")?;
                builder.append_value(i32::try_from(value).expect("parsed within its range"));
            }
            ColumnBuilder::Int64(builder) => {
                builder.append_value(parse_integer(text, i64::MIN, i64::MAX, "bigint")?);
            }
            ColumnBuilder::Oid(builder) => {
                let value = parse_integer(text, 0, u32::MAX.into(), "oid")?;
                builder.append_value(u32::try_from(value).expect("parsed within its range"));
            }
            ColumnBuilder::Float32(builder) => builder.append_value(parse_float(text)?),
            ColumnBuilder::Float64(builder) => builder.append_value(parse_float(text)?),
            ColumnBuilder::Numeric(builder, shape) => builder.append_value(parse_numeric(text, *shape)?),
            ColumnBuilder::Text(builder, kind) => push_string(builder, *kind, text)?,
            ColumnBuilder::Bytea(builder) => builder.append_value(parse_bytea(text)?),
            ColumnBuilder::Date(builder) => builder.append_value(parse_date(text)?),
            ColumnBuilder::Timestamp(builder) => builder.append_value(parse_timestamp(text)?),
            ColumnBuilder::Timestamptz(builder) => {
                builder.append_value(parse_timestamptz(text, format.time_zone)?);
            }
            ColumnBuilder::Time(builder) => builder.append_value(parse_time(text)?),
            ColumnBuilder::Interval(builder) => builder.append_value(parse_interval(text)?),
            ColumnBuilder::List(list) => {
                parse_elements(text, |element| list.push_item(|items| items.push_text(element, format)))?;
                list.end_value()?;
            }
            ColumnBuilder::Unsupported(data_type) => return Err(unsupported(data_type)),
        }
        Ok(())
    }

    /// `None` is NULL.
    pub fn push_binary(&mut self, bytes: Option<&[u8]>) -> Result<()> {
        let Some(bytes) = bytes else { return self.push_null() };
        match self {
            ColumnBuilder::Bool(builder) => builder.append_value(fixed::<1>(bytes, "boolean")? != [0]),
            ColumnBuilder::Int16(builder) => builder.append_value(i16::from_be_bytes(fixed(bytes, "smallint")?)),
            ColumnBuilder::Int32(builder) => builder.append_value(i32::from_be_bytes(fixed(bytes, "integer")?)),
            ColumnBuilder::Int64(builder) => builder.append_value(i64::from_be_bytes(fixed(bytes, "bigint")?)),
            ColumnBuilder::Oid(builder) => builder.append_value(u32::from_be_bytes(fixed(bytes, "oid")?)),
            ColumnBuilder::Float32(builder) => builder.append_value(read_f32(bytes)?),
            ColumnBuilder::Float64(builder) => builder.append_value(read_f64(bytes)?),
            ColumnBuilder::Numeric(builder, shape) => builder.append_value(read_numeric_binary(bytes, *shape)?),
            ColumnBuilder::Text(builder, kind) => push_string_binary(builder, *kind, bytes)?,
            ColumnBuilder::Bytea(builder) => builder.append_value(bytes),
            ColumnBuilder::Date(builder) => builder.append_value(read_date_binary(bytes)?),
            ColumnBuilder::Timestamp(builder) => builder.append_value(read_timestamp_binary(bytes, "timestamp")?),
            ColumnBuilder::Timestamptz(builder) => {
                builder.append_value(read_timestamp_binary(bytes, "timestamp with time zone")?);
            }
            ColumnBuilder::Time(builder) => builder.append_value(read_time_binary(bytes)?),
            ColumnBuilder::Interval(builder) => builder.append_value(read_interval_binary(bytes)?),
            ColumnBuilder::List(list) => {
                read_binary_elements(bytes, |element| list.push_item(|items| items.push_binary(element)))?;
                list.end_value()?;
            }
            ColumnBuilder::Unsupported(data_type) => return Err(unsupported(data_type)),
        }
        Ok(())
    }

    /// The array so far; the builder starts anew.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        Ok(
            each_builder!(self, builder => Arc::new(builder.finish()) as ArrayRef, list list => list.finish()?, other data_type => {
                return Err(unsupported(data_type));
            }),
        )
    }
}

fn unsupported(data_type: &DataType) -> Error {
    Error::unsupported(format!("values of type {data_type} cannot be read"))
}

fn push_string(builder: &mut StringBuilder, kind: TextKind, text: &str) -> Result<()> {
    match kind {
        TextKind::Uuid => {
            let mut buffer = uuid::Uuid::encode_buffer();
            builder.append_value(parse_uuid(text)?.hyphenated().encode_lower(&mut buffer));
        }
        TextKind::Json | TextKind::Jsonb => {
            check_json(text)?;
            builder.append_value(text);
        }
        TextKind::Plain | TextKind::Named => builder.append_value(check_text(text)?),
    }
    Ok(())
}

fn push_string_binary(builder: &mut StringBuilder, kind: TextKind, bytes: &[u8]) -> Result<()> {
    match kind {
        TextKind::Uuid => {
            let mut buffer = uuid::Uuid::encode_buffer();
            let value = uuid::Uuid::from_bytes(fixed(bytes, "uuid")?);
            builder.append_value(value.hyphenated().encode_lower(&mut buffer));
            Ok(())
        }
        TextKind::Jsonb => match bytes {
            [1, text @ ..] => push_string(builder, kind, utf8(text)?),
            _ => Err(invalid_binary("jsonb")),
        },
        TextKind::Named => {
            builder.append_value(u32::from_be_bytes(fixed(bytes, "oid")?).to_string());
            Ok(())
        }
        TextKind::Plain | TextKind::Json => push_string(builder, kind, utf8(bytes)?),
    }
}

/// A column of arrays under construction.
pub struct ListBuilder {
    item: FieldRef,
    items: ColumnBuilder,
    length: usize,
    offsets: BufferBuilder<i32>,
    nulls: NullBufferBuilder,
}

impl ListBuilder {
    fn new(item: FieldRef) -> ListBuilder {
        let items = ColumnBuilder::new(&item);
        let mut list =
            ListBuilder { item, items, length: 0, offsets: BufferBuilder::new(8), nulls: NullBufferBuilder::new(8) };
        list.offsets.append(0);
        list
    }

    fn push_item(&mut self, push: impl FnOnce(&mut ColumnBuilder) -> Result<()>) -> Result<()> {
        self.length += 1;
        push(&mut self.items)
    }

    fn offset(&self) -> Result<i32> {
        i32::try_from(self.length).map_err(|_| Error::unsupported("too many array elements in one batch"))
    }

    fn end_value(&mut self) -> Result<()> {
        let offset = self.offset()?;
        self.offsets.append(offset);
        self.nulls.append_non_null();
        Ok(())
    }

    fn push_null(&mut self) {
        let offset = *self.offsets.as_slice().last().expect("begins with 0");
        self.offsets.append(offset);
        self.nulls.append_null();
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let items = self.items.finish()?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets.finish()));
        self.offsets.append(0);
        self.length = 0;
        Ok(Arc::new(ListArray::try_new(self.item.clone(), offsets, items, self.nulls.finish())?))
    }
}
