//! What we say: each function appends one whole message.

use crate::error::{Error, Notice};
use crate::sql::types::{NUMERIC_SCALE, pg_type};
use crate::wire::TransactionStatus;
use arrow::datatypes::{DataType, Field, Schema};
use bytes::{BufMut, BytesMut};
use postgres_types::Type;

/// Appends a message: type, length, and the body that `write` appends.
pub fn message(kind: u8, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = begin(kind, out);
    write(out);
    end(start, out);
}

/// Appends type and a place for the length; returns that place for [`end`].
pub fn begin(kind: u8, out: &mut BytesMut) -> usize {
    out.put_u8(kind);
    let start = out.len();
    out.put_u32(0);
    start
}

pub fn end(start: usize, out: &mut BytesMut) {
    // A longer message than 4 GiB would have to lie in memory first, which the limits on batches and values forbid.
    let length = u32::try_from(out.len() - start).expect("messages are bounded far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// A NUL would end the text early and shift all that follows.
fn text(value: &str, out: &mut BytesMut) {
    for part in value.split('\0') {
        out.put_slice(part.as_bytes());
    }
    out.put_u8(0);
}

fn count(value: usize, out: &mut BytesMut) {
    // Beyond this PostgreSQL has no columns either; statements are checked where they are described.
    out.put_u16(u16::try_from(value).unwrap_or(u16::MAX));
}

pub fn authentication_ok(out: &mut BytesMut) {
    message(b'R', out, |out| out.put_i32(0));
}

/// AuthenticationSASL with the one mechanism there is.
pub fn authentication_sasl(mechanism: &str, out: &mut BytesMut) {
    message(b'R', out, |out| {
        out.put_i32(10);
        text(mechanism, out);
        out.put_u8(0);
    });
}

pub fn authentication_sasl_continue(data: &str, out: &mut BytesMut) {
    message(b'R', out, |out| {
        out.put_i32(11);
        out.put_slice(data.as_bytes());
    });
}

pub fn authentication_sasl_final(data: &str, out: &mut BytesMut) {
    message(b'R', out, |out| {
        out.put_i32(12);
        out.put_slice(data.as_bytes());
    });
}

/// The newest minor version of protocol 3 served is 0.
pub fn negotiate_protocol_version(unknown_options: &[String], out: &mut BytesMut) {
    message(b'v', out, |out| {
        out.put_i32(0);
        out.put_u32(u32::try_from(unknown_options.len()).expect("bounded by the start-up packet"));
        for option in unknown_options {
            text(option, out);
        }
    });
}

pub fn parameter_status(name: &str, value: &str, out: &mut BytesMut) {
    message(b'S', out, |out| {
        text(name, out);
        text(value, out);
    });
}

pub fn backend_key_data(process_id: i32, secret_key: i32, out: &mut BytesMut) {
    message(b'K', out, |out| {
        out.put_i32(process_id);
        out.put_i32(secret_key);
    });
}

pub fn ready_for_query(status: TransactionStatus, out: &mut BytesMut) {
    let status = match status {
        TransactionStatus::Idle => b'I',
        TransactionStatus::InTransaction => b'T',
        TransactionStatus::Failed => b'E',
    };
    message(b'Z', out, |out| out.put_u8(status));
}

/// A message of which nothing but the type counts.
pub fn bare(kind: u8, out: &mut BytesMut) {
    message(kind, out, |_| {});
}

pub const PARSE_COMPLETE: u8 = b'1';
pub const BIND_COMPLETE: u8 = b'2';
pub const CLOSE_COMPLETE: u8 = b'3';
pub const NO_DATA: u8 = b'n';
pub const PORTAL_SUSPENDED: u8 = b's';
pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
pub const COPY_DONE: u8 = b'c';

pub fn command_complete(tag: &str, out: &mut BytesMut) {
    message(b'C', out, |out| text(tag, out));
}

/// CopyInResponse or CopyOutResponse.
pub fn copy_response(kind: u8, columns: usize, binary: bool, out: &mut BytesMut) {
    message(kind, out, |out| {
        out.put_u8(u8::from(binary));
        count(columns, out);
        for _ in 0..columns.min(usize::from(u16::MAX)) {
            out.put_u16(u16::from(binary));
        }
    });
}

pub const COPY_IN_RESPONSE: u8 = b'G';
pub const COPY_OUT_RESPONSE: u8 = b'H';

pub fn copy_data(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(bytes.len() + 5);
    message(b'd', out, |out| out.put_slice(bytes));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Fatal,
}

pub fn error(error: &Error, severity: Severity, out: &mut BytesMut) {
    let severity = match severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
    };
    message(b'E', out, |out| fields(error, severity, out));
}

pub fn notice(notice: &Notice, out: &mut BytesMut) {
    message(b'N', out, |out| fields(&notice.error, notice.severity.as_str(), out));
}

fn fields(error: &Error, severity: &str, out: &mut BytesMut) {
    let code = error.code();
    let position = error.position().map(|p| p.to_string());
    let fields = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(code.as_str())),
        (b'M', Some(error.message())),
        (b'D', error.detail()),
        (b'H', error.hint()),
        (b'P', position.as_deref()),
    ];
    for (kind, value) in fields {
        if let Some(value) = value {
            out.put_u8(kind);
            text(value, out);
        }
    }
    out.put_u8(0);
}

pub fn parameter_description(types: &[Type], out: &mut BytesMut) {
    message(b't', out, |out| {
        count(types.len(), out);
        for ty in types {
            out.put_u32(ty.oid());
        }
    });
}

/// `binary` says the format of each column; missing ones are text.
pub fn row_description(schema: &Schema, binary: &[bool], out: &mut BytesMut) {
    message(b'T', out, |out| {
        count(schema.fields().len(), out);
        for (index, field) in schema.fields().iter().enumerate() {
            let ty = pg_type(field);
            text(field.name(), out);
            // No table and no column number: clients use them to update result sets in place, which needs more.
            out.put_u32(0);
            out.put_u16(0);
            out.put_u32(ty.oid());
            out.put_i16(type_size(&ty));
            out.put_i32(type_modifier(field));
            out.put_u16(u16::from(binary.get(index).copied().unwrap_or(false)));
        }
    });
}

/// `pg_type.typlen`.
fn type_size(ty: &Type) -> i16 {
    match *ty {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID | Type::REGCLASS | Type::REGTYPE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => 8,
        Type::INTERVAL | Type::UUID => 16,
        Type::NAME => 64,
        _ => -1,
    }
}

/// Precision and scale of a declared numeric, as `numeric.c` packs them; -1 where there is none.
fn type_modifier(field: &Field) -> i32 {
    match field.data_type() {
        DataType::Decimal128(38, NUMERIC_SCALE) => -1,
        DataType::Decimal128(precision, scale) => (i32::from(*precision) << 16 | (i32::from(*scale) & 0x7ff)) + 4,
        _ => -1,
    }
}
