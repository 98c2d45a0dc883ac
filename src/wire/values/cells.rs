//! One column's values on their way out: the type is looked at once a batch, not once a value.

use super::Format;
use super::array::{write_binary_header, write_element};
use super::datetime::{write_date, write_date_binary, write_time, write_timestamp, write_timestamp_binary};
use super::interval::{write_interval, write_interval_binary};
use super::number::{Shape, write_display, write_float, write_numeric, write_numeric_binary};
use super::scalar::{parse_uuid, write_bytea};
use crate::error::{Error, Result};
use crate::sql::types::{PG_TYPE, pg_type};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use bytes::{BufMut, BytesMut};

/// A column in client form, seen by its type.
pub struct Cells<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Oid(&'a UInt32Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Numeric(&'a Decimal128Array, Shape),
    Text(&'a StringArray, TextKind),
    Bytea(&'a BinaryArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
    Timestamptz(&'a TimestampMicrosecondArray),
    Time(&'a Time64MicrosecondArray),
    Interval(&'a IntervalMonthDayNanoArray),
    List(&'a ListArray, Box<Cells<'a>>, u32),
}

/// What a Utf8 column holds, as far as its binary form and its checks differ from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    Plain,
    Uuid,
    Json,
    Jsonb,
    /// An object identifier by name: only its text form can be told without a catalog.
    Named,
}

impl TextKind {
    pub fn of(field: &Field) -> TextKind {
        match field.metadata().get(PG_TYPE).map(String::as_str) {
            Some("uuid") => TextKind::Uuid,
            Some("json") => TextKind::Json,
            Some("jsonb") => TextKind::Jsonb,
            Some("regclass" | "regtype") => TextKind::Named,
            _ => TextKind::Plain,
        }
    }
}

impl<'a> Cells<'a> {
    /// Errors: `XX000` if `column` is not in client form (`sql::types::client_schema`).
    pub fn new(column: &'a ArrayRef, field: &Field) -> Result<Cells<'a>> {
        let kind = match column.data_type() {
            DataType::Boolean => Kind::Bool(column.as_boolean()),
            DataType::Int16 => Kind::Int16(column.as_primitive()),
            DataType::Int32 => Kind::Int32(column.as_primitive()),
            DataType::Int64 => Kind::Int64(column.as_primitive()),
            DataType::UInt32 => Kind::Oid(column.as_primitive()),
            DataType::Float32 => Kind::Float32(column.as_primitive()),
            DataType::Float64 => Kind::Float64(column.as_primitive()),
            DataType::Decimal128(precision, scale) => {
                Kind::Numeric(column.as_primitive(), Shape { precision: *precision, scale: *scale })
            }
            DataType::Utf8 => Kind::Text(column.as_string(), TextKind::of(field)),
            DataType::Binary => Kind::Bytea(column.as_binary()),
            DataType::Date32 => Kind::Date(column.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Kind::Timestamp(column.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Kind::Timestamptz(column.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Kind::Time(column.as_primitive()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Kind::Interval(column.as_primitive()),
            DataType::List(item) => {
                let list: &ListArray = column.as_list();
                Kind::List(list, Box::new(Cells::new(list.values(), item)?), pg_type(item).oid())
            }
            other => {
                return Err(Error::internal(format!("column \"{}\" has no client form: {other}", field.name())));
            }
        };
        Ok(Cells { array: column.as_ref(), kind })
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Appends the text form; returns `false` (nothing appended) for NULL.
    pub fn write_text(&self, row: usize, format: &Format, out: &mut BytesMut) -> Result<bool> {
        if self.is_null(row) {
            return Ok(false);
        }
        match &self.kind {
            Kind::Bool(array) => out.put_u8(if array.value(row) { b't' } else { b'f' }),
            Kind::Int16(array) => write_display(array.value(row), out),
            Kind::Int32(array) => write_display(array.value(row), out),
            Kind::Int64(array) => write_display(array.value(row), out),
            Kind::Oid(array) => write_display(array.value(row), out),
            Kind::Float32(array) => write_float(array.value(row), out),
            Kind::Float64(array) => write_float(array.value(row), out),
            Kind::Numeric(array, shape) => write_numeric(array.value(row), *shape, out),
            Kind::Text(array, _) => out.put_slice(array.value(row).as_bytes()),
            Kind::Bytea(array) => write_bytea(array.value(row), out),
            Kind::Date(array) => write_date(array.value(row), out),
            Kind::Timestamp(array) => write_timestamp(array.value(row), None, out),
            Kind::Timestamptz(array) => write_timestamp(array.value(row), Some(format.time_zone), out),
            Kind::Time(array) => write_time(array.value(row), out),
            Kind::Interval(array) => write_interval(array.value(row), out),
            Kind::List(array, items, _) => write_list(array, items, row, format, out)?,
        }
        Ok(true)
    }

    /// Appends the binary form, without its length; returns `false` for NULL.
    /// Errors: `22008` beyond the binary format's range, `0A000` for types that only a catalog could encode.
    pub fn write_binary(&self, row: usize, out: &mut BytesMut) -> Result<bool> {
        if self.is_null(row) {
            return Ok(false);
        }
        match &self.kind {
            Kind::Bool(array) => out.put_u8(u8::from(array.value(row))),
            Kind::Int16(array) => out.put_i16(array.value(row)),
            Kind::Int32(array) => out.put_i32(array.value(row)),
            Kind::Int64(array) => out.put_i64(array.value(row)),
            Kind::Oid(array) => out.put_u32(array.value(row)),
            Kind::Float32(array) => out.put_f32(array.value(row)),
            Kind::Float64(array) => out.put_f64(array.value(row)),
            Kind::Numeric(array, shape) => write_numeric_binary(array.value(row), *shape, out),
            Kind::Text(array, kind) => write_text_binary(array.value(row), *kind, out)?,
            Kind::Bytea(array) => out.put_slice(array.value(row)),
            Kind::Date(array) => write_date_binary(array.value(row), out)?,
            Kind::Timestamp(array) | Kind::Timestamptz(array) => write_timestamp_binary(array.value(row), out)?,
            Kind::Time(array) => out.put_i64(array.value(row)),
            Kind::Interval(array) => write_interval_binary(array.value(row), out),
            Kind::List(array, items, oid) => write_list_binary(array, items, *oid, row, out)?,
        }
        Ok(true)
    }
}

fn write_text_binary(text: &str, kind: TextKind, out: &mut BytesMut) -> Result<()> {
    match kind {
        TextKind::Plain | TextKind::Json => out.put_slice(text.as_bytes()),
        TextKind::Uuid => out.put_slice(parse_uuid(text)?.as_bytes()),
        TextKind::Jsonb => {
            // The version of the binary format, then the text.
            out.put_u8(1);
            out.put_slice(text.as_bytes());
        }
        TextKind::Named => match text.parse::<u32>() {
            Ok(oid) => out.put_u32(oid),
            Err(_) => {
                return Err(Error::unsupported("object identifier types have no binary output")
                    .with_hint("Cast the column to text, or ask for it in text format."));
            }
        },
    }
    Ok(())
}

fn item_range(array: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = array.value_offsets();
    let at = |index: usize| usize::try_from(offsets[index]).expect("offsets are not negative");
    at(row)..at(row + 1)
}

fn write_list(array: &ListArray, items: &Cells<'_>, row: usize, format: &Format, out: &mut BytesMut) -> Result<()> {
    out.put_u8(b'{');
    let range = item_range(array, row);
    // Only these may contain what must be quoted.
    let quotable = matches!(
        items.kind,
        Kind::Text(..) | Kind::Bytea(_) | Kind::Timestamp(_) | Kind::Timestamptz(_) | Kind::Interval(_) | Kind::Date(_)
    );
    let mut scratch = BytesMut::new();
    for item in range.clone() {
        if item > range.start {
            out.put_u8(b',');
        }
        if items.is_null(item) {
            out.put_slice(b"NULL");
        } else if quotable {
            scratch.clear();
            items.write_text(item, format, &mut scratch)?;
            write_element(&scratch, out);
        } else {
            items.write_text(item, format, out)?;
        }
    }
    out.put_u8(b'}');
    Ok(())
}

fn write_list_binary(array: &ListArray, items: &Cells<'_>, oid: u32, row: usize, out: &mut BytesMut) -> Result<()> {
    let range = item_range(array, row);
    let has_null = range.clone().any(|item| items.is_null(item));
    write_binary_header(range.len(), has_null, oid, out)?;
    for item in range {
        put_length_prefixed(out, |out| items.write_binary(item, out))?;
    }
    Ok(())
}

/// A value preceded by its length in four bytes, -1 for NULL (`write` returned `false`).
pub fn put_length_prefixed(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> Result<bool>) -> Result<()> {
    let start = out.len();
    out.put_i32(-1);
    if write(out)? {
        let length = i32::try_from(out.len() - start - 4)
            .map_err(|_| Error::unsupported("a value of more than 2 GiB cannot be sent"))?;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
