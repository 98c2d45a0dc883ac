//! Type names: from SQL text to a PostgreSQL type, and back to the name that PostgreSQL prints.

use super::types::array_type;
use crate::error::{Error, Result, codes};
use postgres_types::{Kind, Type};
use sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

/// A type as declared for a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub ty: Type,
    /// Precision and scale of `numeric(p, s)`.
    pub numeric: Option<(u8, i8)>,
    /// Length of `varchar(n)` and `char(n)`.
    pub length: Option<u32>,
}

/// Errors: `42704` for an unknown name, `22023` for a bad precision, `0A000` for what Hypertile does not have.
pub fn declared(sql: &DataType) -> Result<Declared> {
    let plain = |ty: Type| Ok(Declared { ty, numeric: None, length: None });
    match sql {
        DataType::Boolean | DataType::Bool => plain(Type::BOOL),
        DataType::SmallInt(_) | DataType::Int2(_) => plain(Type::INT2),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => plain(Type::INT4),
        DataType::BigInt(_) | DataType::Int8(_) => plain(Type::INT8),
        DataType::Real | DataType::Float4 => plain(Type::FLOAT4),
        DataType::DoublePrecision | DataType::Double(_) | DataType::Float8 => plain(Type::FLOAT8),
        DataType::Float(ExactNumberInfo::Precision(digits)) if *digits <= 24 => plain(Type::FLOAT4),
        DataType::Float(_) => plain(Type::FLOAT8),
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info),
        DataType::Text | DataType::String(_) => plain(Type::TEXT),
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            Ok(Declared { ty: Type::VARCHAR, numeric: None, length: character_length(length.as_ref())? })
        }
        DataType::Char(length) | DataType::Character(length) => {
            let length = character_length(length.as_ref())?.or(Some(1));
            Ok(Declared { ty: Type::BPCHAR, numeric: None, length })
        }
        DataType::Bytea => plain(Type::BYTEA),
        DataType::Date => plain(Type::DATE),
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => plain(Type::TIMESTAMP),
        DataType::Timestamp(..) => plain(Type::TIMESTAMPTZ),
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => plain(Type::TIME),
        DataType::Interval { .. } => plain(Type::INTERVAL),
        DataType::Uuid => plain(Type::UUID),
        DataType::JSON => plain(Type::JSON),
        DataType::JSONB => plain(Type::JSONB),
        DataType::Regclass => plain(Type::REGCLASS),
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element)) => {
            array(declared(element)?.ty)
        }
        DataType::Custom(name, _) => {
            let last = name.0.last().and_then(|part| part.as_ident()).map(super::statement::fold);
            custom(&last.unwrap_or_default(), sql)
        }
        other => Err(Error::unsupported(format!("type {} is not supported", other.to_string().to_lowercase()))),
    }
}

fn custom(name: &str, sql: &DataType) -> Result<Declared> {
    let ty = match name {
        "timestamptz" => Type::TIMESTAMPTZ,
        "name" => Type::NAME,
        "oid" => Type::OID,
        "regtype" => Type::REGTYPE,
        "regproc" => Type::TEXT,
        "bpchar" => Type::BPCHAR,
        "bool" => Type::BOOL,
        "int2" => Type::INT2,
        "int4" => Type::INT4,
        "int8" => Type::INT8,
        "float4" => Type::FLOAT4,
        "float8" => Type::FLOAT8,
        "numeric" => Type::NUMERIC,
        "text" => Type::TEXT,
        "varchar" => Type::VARCHAR,
        "bytea" => Type::BYTEA,
        "date" => Type::DATE,
        "time" => Type::TIME,
        "timestamp" => Type::TIMESTAMP,
        "interval" => Type::INTERVAL,
        "uuid" => Type::UUID,
        "json" => Type::JSON,
        "jsonb" => Type::JSONB,
        "regclass" => Type::REGCLASS,
        "serial" | "bigserial" | "smallserial" | "serial4" | "serial8" | "timetz" | "money" | "inet" | "xml" => {
            return Err(Error::unsupported(format!("type {name} is not supported")));
        }
        _ => {
            let shown = sql.to_string();
            return Err(Error::new(
                codes::UNDEFINED_OBJECT,
                format!("type \"{}\" does not exist", shown.to_lowercase()),
            ));
        }
    };
    Ok(Declared { ty, numeric: None, length: None })
}

fn array(element: Type) -> Result<Declared> {
    let ty = array_type(&element)
        .ok_or_else(|| Error::unsupported(format!("type {}[] is not supported", display(&element))))?;
    Ok(Declared { ty, numeric: None, length: None })
}

fn numeric(info: &ExactNumberInfo) -> Result<Declared> {
    let invalid = |message: String| Err(Error::new(codes::INVALID_PARAMETER_VALUE, message));
    let (precision, scale) = match *info {
        ExactNumberInfo::None => return Ok(Declared { ty: Type::NUMERIC, numeric: None, length: None }),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if !(1..=38).contains(&precision) {
        return invalid(format!("NUMERIC precision {precision} must be between 1 and 38"));
    }
    if scale < 0 || scale > i64::try_from(precision).unwrap_or(38) {
        return invalid(format!("NUMERIC scale {scale} must be between 0 and precision {precision}"));
    }
    let both = (u8::try_from(precision).unwrap_or(38), i8::try_from(scale).unwrap_or(38));
    Ok(Declared { ty: Type::NUMERIC, numeric: Some(both), length: None })
}

fn character_length(length: Option<&CharacterLength>) -> Result<Option<u32>> {
    match length {
        None | Some(CharacterLength::Max) => Ok(None),
        Some(CharacterLength::IntegerLength { length, .. }) => match u32::try_from(*length) {
            Ok(length) if (1..=10_485_760).contains(&length) => Ok(Some(length)),
            _ => Err(Error::new(
                codes::INVALID_PARAMETER_VALUE,
                "length for type varchar must be between 1 and 10485760",
            )),
        },
    }
}

/// The name as `pg_typeof` and error messages print it.
pub fn display(ty: &Type) -> String {
    let name = match *ty {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::VARCHAR => "character varying",
        Type::BPCHAR => "character",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::TIME => "time without time zone",
        _ => match ty.kind() {
            Kind::Array(element) => return format!("{}[]", display(element)),
            _ => ty.name(),
        },
    };
    name.to_string()
}
