//! PostgreSQL's hash support functions: the coordinate of a value in a *closed* dimension.
//!
//! Source: `src/common/hashfn.c` (Bob Jenkins' lookup3, 2006) and the `hash*` functions of `src/backend/utils/adt` and
//! `src/backend/access/hash/hashfunc.c`. Stock PostgreSQL offers them as SQL functions, so a data node can CHECK by
//! itself that a row lies in its chunk; the access node must therefore get the very same number. The values are those
//! of a little-endian server (x86-64, ARM64), wherever this runs.
//!
//! A partition hash is `hash & 0x7fffffff`, as in TimescaleDB's `get_partition_hash`; NULL hashes to 0.

use crate::error::{Error, Result, codes};
use arrow::array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use postgres_types::Type;

/// Largest partition hash: hashes lie in `0..=PARTITION_HASH_MAX`.
pub const PARTITION_HASH_MAX: i32 = i32::MAX;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Days from the Unix epoch to PostgreSQL's.
const POSTGRES_EPOCH_DAYS: i32 = 10_957;

const DAY_MICROS: i128 = 86_400_000_000;

/// Clears the sign bit: the coordinate that belongs to a hash.
pub fn partition_of(hash: u32) -> i32 {
    (hash & PARTITION_HASH_MAX as u32) as i32
}

/// Partition hashes of a column whose PostgreSQL type follows from the Arrow field (its type, and its `pg.type`
/// metadata where strings stand for another type). Errors: as [`partition_hash_as`].
pub fn partition_hash(column: &ArrayRef, field: &Field) -> Result<Vec<i32>> {
    partition_hash_as(column, &column_type(field))
}

/// Partition hashes of a column that holds values of PostgreSQL type `ty`, one a row, NULL as 0.
/// Errors: `42883` when the type has no hash function here, `22P02` when a value is not of that type.
pub fn partition_hash_as(column: &ArrayRef, ty: &Type) -> Result<Vec<i32>> {
    Ok(type_hash(column, ty)?.into_iter().map(|hash| hash.map_or(0, partition_of)).collect())
}

/// What PostgreSQL's hash support function of `ty` gives for each row; NULL stays NULL. Errors: as
/// [`partition_hash_as`].
pub fn type_hash(column: &ArrayRef, ty: &Type) -> Result<Vec<Option<u32>>> {
    let column = canonical(column, ty)?;
    Ok(match *ty {
        Type::BOOL => collect(column.as_boolean().iter(), hash_bool),
        Type::INT2 => primitive::<Int16Type>(&column, hash_int2),
        Type::INT4 => primitive::<Int32Type>(&column, hash_int4),
        Type::INT8 => primitive::<Int64Type>(&column, hash_int8),
        Type::OID => primitive::<UInt32Type>(&column, hash_oid),
        Type::FLOAT4 => primitive::<Float32Type>(&column, hash_float4),
        Type::FLOAT8 => primitive::<Float64Type>(&column, hash_float8),
        Type::NUMERIC => numeric(&column),
        Type::TEXT | Type::VARCHAR | Type::NAME => collect(column.as_string::<i32>().iter(), hash_text),
        Type::BPCHAR => collect(column.as_string::<i32>().iter(), hash_bpchar),
        Type::UUID => uuids(&column)?,
        Type::BYTEA => collect(column.as_binary::<i32>().iter(), hash_bytes),
        Type::DATE => primitive::<Date32Type>(&column, hash_date),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => primitive::<TimestampMicrosecondType>(&column, hash_timestamp),
        Type::TIME => primitive::<Time64MicrosecondType>(&column, hash_int8),
        Type::INTERVAL => primitive::<IntervalMonthDayNanoType>(&column, |value| {
            hash_interval(value.months, value.days, value.nanoseconds)
        }),
        _ => return Err(no_hash_function(ty)),
    })
}

/// Whether a column of this type can be a closed dimension. Errors: `42883`, as TimescaleDB words it.
pub fn check_hashable(ty: &Type) -> Result<()> {
    match storage(ty) {
        Some(_) => Ok(()),
        None => Err(no_hash_function(ty)),
    }
}

/// The function that stock PostgreSQL (14 or newer) offers in SQL for the hash of a value of this type, so that
/// `(name(column) & 2147483647) >= …` reads the same on every data node.
///
/// `None` where the hash exists only inside the server (`hashvarlena` of bytea takes no SQL value) or takes another SQL
/// type (boolean, date and timestamptz reuse those of `"char"`, integer and timestamp): such a chunk gets no CHECK
/// on that column.
pub fn hash_function_name(type_oid: u32) -> Option<&'static str> {
    Some(match Type::from_oid(type_oid)? {
        Type::INT2 => "hashint2",
        Type::INT4 => "hashint4",
        Type::INT8 => "hashint8",
        Type::OID => "hashoid",
        Type::FLOAT4 => "hashfloat4",
        Type::FLOAT8 => "hashfloat8",
        Type::NUMERIC => "hash_numeric",
        // There is no hashvarchar: varchar is binary compatible with text, and PostgreSQL casts it without being asked.
        Type::TEXT | Type::VARCHAR => "hashtext",
        Type::BPCHAR => "hashbpchar",
        Type::NAME => "hashname",
        Type::UUID => "uuid_hash",
        Type::TIMESTAMP => "timestamp_hash",
        Type::TIME => "time_hash",
        Type::INTERVAL => "interval_hash",
        _ => return None,
    })
}

fn no_hash_function(ty: &Type) -> Error {
    Error::new(codes::UNDEFINED_FUNCTION, format!("could not find hash function for type {}", ty.name()))
        .with_hint("Partition by a column of another type, such as text, integer or uuid.")
}

/// The PostgreSQL type of an Arrow column, as far as hashing tells types apart.
fn column_type(field: &Field) -> Type {
    // The key is `sql::types::PG_TYPE`; this module sits below `sql` and cannot name it.
    match field.metadata().get("pg.type").map(String::as_str) {
        Some("bpchar") => return Type::BPCHAR,
        Some("uuid") => return Type::UUID,
        Some("json") => return Type::JSON,
        Some("jsonb") => return Type::JSONB,
        _ => {}
    }
    match field.data_type() {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Type::INT2,
        DataType::UInt16 | DataType::Int32 => Type::INT4,
        DataType::Int64 | DataType::UInt64 => Type::INT8,
        DataType::UInt32 => Type::OID,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => Type::NUMERIC,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::TEXT,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Interval(_) => Type::INTERVAL,
        DataType::Dictionary(_, value) => column_type(&Field::new("", (**value).clone(), true)),
        _ => Type::UNKNOWN,
    }
}

/// The Arrow type in which the values of a hashable PostgreSQL type are hashed.
fn storage(ty: &Type) -> Option<DataType> {
    Some(match *ty {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::OID => DataType::UInt32,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::BPCHAR | Type::UUID => DataType::Utf8,
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return None,
    })
}

/// The column in the Arrow type that its hash function reads; columns as clients send them pass through untouched.
fn canonical(column: &ArrayRef, ty: &Type) -> Result<ArrayRef> {
    let target = storage(ty).ok_or_else(|| no_hash_function(ty))?;
    let fits = match (column.data_type(), &target) {
        // A declared numeric(p,s) keeps its scale, a timestamp its zone's spelling: neither changes the hash.
        (DataType::Decimal128(..), DataType::Decimal128(..)) => true,
        (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(..)) => true,
        (have, want) => have == want,
    };
    if fits {
        return Ok(column.clone());
    }
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(arrow::compute::cast_with_options(column, &target, &options)?)
}

fn collect<T>(values: impl Iterator<Item = Option<T>>, hash: impl Fn(T) -> u32) -> Vec<Option<u32>> {
    values.map(|value| value.map(&hash)).collect()
}

fn primitive<T: ArrowPrimitiveType>(column: &ArrayRef, hash: impl Fn(T::Native) -> u32) -> Vec<Option<u32>> {
    collect(column.as_primitive::<T>().iter(), hash)
}

fn numeric(column: &ArrayRef) -> Vec<Option<u32>> {
    let array = column.as_primitive::<Decimal128Type>();
    let scale = array.scale();
    collect(array.iter(), |unscaled| hash_numeric(unscaled, scale))
}

fn uuids(column: &ArrayRef) -> Result<Vec<Option<u32>>> {
    let hash = |text: &str| {
        let uuid = uuid::Uuid::parse_str(text)
            .map_err(|_| Error::new(codes::INVALID_TEXT, format!("invalid input syntax for type uuid: \"{text}\"")))?;
        Ok(hash_bytes(uuid.as_bytes()))
    };
    column.as_string::<i32>().iter().map(|value| value.map(hash).transpose()).collect()
}

/// `hashtext`, `hashname`; also varchar. For the deterministic collations, the only ones we have.
pub fn hash_text(text: &str) -> u32 {
    hash_bytes(text.as_bytes())
}

/// `hashbpchar`: trailing blanks of `char(n)` do not count.
pub fn hash_bpchar(text: &str) -> u32 {
    hash_bytes(text.trim_end_matches(' ').as_bytes())
}

/// `hashchar`, as PostgreSQL's hash operator class applies it to boolean.
pub fn hash_bool(value: bool) -> u32 {
    hash_u32(u32::from(value))
}

pub fn hash_int2(value: i16) -> u32 {
    hash_int4(i32::from(value))
}

pub fn hash_int4(value: i32) -> u32 {
    hash_u32(value as u32)
}

/// Folds the high half into the low one so that a bigint in integer's range hashes like the integer.
pub fn hash_int8(value: i64) -> u32 {
    let high = (value >> 32) as u32;
    hash_u32(value as u32 ^ if value >= 0 { high } else { !high })
}

pub fn hash_oid(value: u32) -> u32 {
    hash_u32(value)
}

/// A real hashes like the double precision of the same value.
pub fn hash_float4(value: f32) -> u32 {
    hash_float8(f64::from(value))
}

/// Both zeros hash alike, and so do all NaN.
pub fn hash_float8(value: f64) -> u32 {
    if value == 0.0 {
        return 0;
    }
    // The positive quiet NaN; `f64::NAN` leaves its bits open.
    let bits = if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() };
    hash_bytes(&bits.to_le_bytes())
}

/// `timestamp_hash`, from microseconds since 1970. The extremes stand for `infinity` and `-infinity` and stay put.
pub fn hash_timestamp(unix_micros: i64) -> u32 {
    match unix_micros {
        i64::MIN | i64::MAX => hash_int8(unix_micros),
        finite => hash_int8(finite.wrapping_sub(POSTGRES_EPOCH_MICROS)),
    }
}

/// `hashint4` of PostgreSQL's day number, from days since 1970.
pub fn hash_date(unix_days: i32) -> u32 {
    match unix_days {
        i32::MIN | i32::MAX => hash_int4(unix_days),
        finite => hash_int4(finite.wrapping_sub(POSTGRES_EPOCH_DAYS)),
    }
}

/// `interval_hash`: equal intervals (24 hours, 1 day; 30 days, 1 month) hash alike.
pub fn hash_interval(months: i32, days: i32, nanoseconds: i64) -> u32 {
    let days = i128::from(months) * 30 + i128::from(days);
    let span_micros = i128::from(nanoseconds / 1_000) + days * DAY_MICROS;
    // PostgreSQL, too, keeps the low 64 bits only.
    hash_int8(span_micros as i64)
}

/// `hash_numeric` of `unscaled / 10^scale`: its base-10000 digits, most significant first, without zeros at either end,
/// and the weight of the first one mixed in.
pub fn hash_numeric(unscaled: i128, scale: i8) -> u32 {
    let mut rest = unscaled.unsigned_abs();
    let scale = i32::from(scale);
    let mut lowest_weight = -(scale + 3).div_euclid(4);
    let mut digits: Vec<u16> = Vec::with_capacity(12);
    // The decimal point must fall between two digits, so the last one may have fewer decimal places to fill.
    let last_places = scale.rem_euclid(4) as u32;
    if last_places != 0 {
        let divisor = 10u128.pow(last_places);
        digits.push(((rest % divisor) * 10u128.pow(4 - last_places)) as u16);
        rest /= divisor;
    }
    while rest != 0 {
        digits.push((rest % 10_000) as u16);
        rest /= 10_000;
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let trailing_zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..trailing_zeros);
    lowest_weight += trailing_zeros as i32;
    if digits.is_empty() {
        return u32::MAX;
    }
    let weight = lowest_weight + digits.len() as i32 - 1;
    let bytes: Vec<u8> = digits.iter().rev().flat_map(|digit| digit.to_le_bytes()).collect();
    hash_bytes(&bytes) ^ weight as u32
}

/// `hash_bytes_uint32`: the same as [`hash_bytes`] of the four bytes, faster.
pub fn hash_u32(value: u32) -> u32 {
    let mut state = State::for_length(4);
    state.0 = state.0.wrapping_add(value);
    state.last()
}

/// `hash_bytes` (SQL: `hashvarlena`, the hash of bytea).
pub fn hash_bytes(bytes: &[u8]) -> u32 {
    let mut state = State::for_length(bytes.len());
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        state.absorb(word(&block[0..4]), word(&block[4..8]), word(&block[8..12]));
        state.mix();
    }
    let rest = blocks.remainder();
    let part = |from: usize| word(rest.get(from..rest.len().min(from + 4)).unwrap_or(&[]));
    // The lowest byte of the third word belongs to the length, so the last bytes move up by one.
    state.absorb(part(0), part(4), part(8) << 8);
    state.last()
}

/// Up to four bytes as a little-endian number.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The three words of lookup3.
struct State(u32, u32, u32);

impl State {
    fn for_length(bytes: usize) -> State {
        let start = 0x9e37_79b9_u32.wrapping_add(bytes as u32).wrapping_add(3_923_095);
        State(start, start, start)
    }

    fn absorb(&mut self, a: u32, b: u32, c: u32) {
        self.0 = self.0.wrapping_add(a);
        self.1 = self.1.wrapping_add(b);
        self.2 = self.2.wrapping_add(c);
    }

    fn mix(&mut self) {
        let State(mut a, mut b, mut c) = *self;
        for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
            a = a.wrapping_sub(c) ^ c.rotate_left(first);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(second);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(third);
            b = b.wrapping_add(a);
        }
        *self = State(a, b, c);
    }

    fn last(self) -> u32 {
        let State(mut a, mut b, mut c) = self;
        c = (c ^ b).wrapping_sub(b.rotate_left(14));
        a = (a ^ c).wrapping_sub(c.rotate_left(11));
        b = (b ^ a).wrapping_sub(a.rotate_left(25));
        c = (c ^ b).wrapping_sub(b.rotate_left(16));
        a = (a ^ c).wrapping_sub(c.rotate_left(4));
        b = (b ^ a).wrapping_sub(a.rotate_left(14));
        (c ^ b).wrapping_sub(b.rotate_left(24))
    }
}

#[cfg(test)]
mod tests;
