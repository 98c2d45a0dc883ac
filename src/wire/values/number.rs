//! Integers, floating point, numeric.

use super::{fixed, invalid_binary, invalid_text, trim};
use crate::error::{Error, Result, SqlState, codes};
use crate::sql::types::NUMERIC_SCALE;
use bytes::{BufMut, BytesMut};
use std::fmt::{Display, LowerExp, Write};

/// Digits that any `u128` has at most.
const U128_DIGITS_MAX: usize = 39;

/// Reads a decimal integer with optional sign and surrounding spaces.
/// Errors: `22P02`, and `22003` outside `min..=max`.
pub fn parse_integer(text: &str, min: i64, max: i64, type_name: &str) -> Result<i64> {
    let (negative, digits) = match trim(text).as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return Err(invalid_text(type_name, text));
    }
    // Summed below zero, where i64 reaches one further than above.
    let mut value = 0_i64;
    let mut overflow = false;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return Err(invalid_text(type_name, text));
        }
        match value.checked_mul(10).and_then(|v| v.checked_sub(i64::from(byte - b'0'))) {
            Some(next) => value = next,
            None => overflow = true,
        }
    }
    let value = if negative { Some(value) } else { value.checked_neg() };
    match value {
        Some(value) if !overflow && (min..=max).contains(&value) => Ok(value),
        _ => Err(out_of_range(text, type_name)),
    }
}

fn out_of_range(text: &str, type_name: &str) -> Error {
    Error::new(codes::NUMERIC_OUT_OF_RANGE, format!("value \"{text}\" is out of range for type {type_name}"))
}

pub fn write_display(value: impl Display, out: &mut BytesMut) {
    write!(out, "{value}").expect("a BytesMut takes any text");
}

/// The two widths of floating point, as far as reading and printing tell them apart.
pub trait Float: Copy + LowerExp + std::str::FromStr + PartialEq + Default {
    const NAME: &'static str;
    /// Decimal exponent from which the scientific form is used (`FLT_DIG`, `DBL_DIG`).
    const FIXED_BELOW: i32;
    fn class(self) -> std::num::FpCategory;
    fn negative(self) -> bool;
}

impl Float for f32 {
    const NAME: &'static str = "real";
    const FIXED_BELOW: i32 = 6;
    fn class(self) -> std::num::FpCategory {
        self.classify()
    }
    fn negative(self) -> bool {
        self.is_sign_negative()
    }
}

impl Float for f64 {
    const NAME: &'static str = "double precision";
    const FIXED_BELOW: i32 = 15;
    fn class(self) -> std::num::FpCategory {
        self.classify()
    }
    fn negative(self) -> bool {
        self.is_sign_negative()
    }
}

/// Errors: `22P02`, and `22003` for what is too large or, though not zero, would be read as zero.
pub fn parse_float<F: Float>(text: &str) -> Result<F> {
    let trimmed = trim(text);
    let value = trimmed.parse::<F>().map_err(|_| invalid_text(F::NAME, text))?;
    let range_error =
        || Error::new(codes::NUMERIC_OUT_OF_RANGE, format!("\"{trimmed}\" is out of range for type {}", F::NAME));
    match value.class() {
        std::num::FpCategory::Infinite if trimmed.bytes().any(|b| b.is_ascii_digit()) => Err(range_error()),
        std::num::FpCategory::Zero => {
            let mantissa = trimmed.split(['e', 'E']).next().unwrap_or_default();
            if mantissa.bytes().any(|b| matches!(b, b'1'..=b'9')) { Err(range_error()) } else { Ok(value) }
        }
        _ => Ok(value),
    }
}

/// The shortest digits that read back as the same value; `e` notation where C's `%g` would use it.
pub fn write_float<F: Float>(value: F, out: &mut BytesMut) {
    match value.class() {
        std::num::FpCategory::Nan => return out.put_slice(b"NaN"),
        std::num::FpCategory::Infinite if value.negative() => return out.put_slice(b"-Infinity"),
        std::num::FpCategory::Infinite => return out.put_slice(b"Infinity"),
        _ => {}
    }
    let mut buffer = SmallText::default();
    write!(buffer, "{value:e}").expect("at most 17 digits, point, sign and exponent");
    let text = buffer.as_str();
    let (mantissa, exponent) = text.split_once('e').expect("LowerExp prints an exponent");
    let exponent: i32 = exponent.parse().expect("LowerExp prints a number after the e");
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.put_u8(b'-');
            rest
        }
        None => mantissa,
    };
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if (-4..F::FIXED_BELOW).contains(&exponent) {
        write_fixed(first, rest, exponent, out);
    } else {
        write_scientific(first, rest, exponent, out);
    }
}

/// `first` is one digit, `rest` those after the point.
fn write_fixed(first: &str, rest: &str, exponent: i32, out: &mut BytesMut) {
    if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', usize::try_from(-exponent - 1).expect("exponent is negative"));
        out.put_slice(first.as_bytes());
        out.put_slice(rest.as_bytes());
        return;
    }
    let integer_digits = usize::try_from(exponent).expect("not negative here");
    out.put_slice(first.as_bytes());
    if rest.len() <= integer_digits {
        out.put_slice(rest.as_bytes());
        out.put_bytes(b'0', integer_digits - rest.len());
    } else {
        out.put_slice(&rest.as_bytes()[..integer_digits]);
        out.put_u8(b'.');
        out.put_slice(&rest.as_bytes()[integer_digits..]);
    }
}

fn write_scientific(first: &str, rest: &str, exponent: i32, out: &mut BytesMut) {
    out.put_slice(first.as_bytes());
    if !rest.is_empty() {
        out.put_u8(b'.');
        out.put_slice(rest.as_bytes());
    }
    write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
        .expect("a BytesMut takes any text");
}

/// A number's text on the stack.
#[derive(Default)]
struct SmallText {
    bytes: [u8; 32],
    used: usize,
}

impl SmallText {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.used]).expect("written from whole strings")
    }
}

impl Write for SmallText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.used + text.len();
        self.bytes.get_mut(self.used..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

/// The declared shape of a numeric column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub precision: u8,
    pub scale: i8,
}

impl Shape {
    /// `numeric` without precision is kept as (38, 10) and prints no trailing zeros.
    fn undeclared(self) -> bool {
        self.precision == 38 && self.scale == NUMERIC_SCALE
    }

    fn scale_digits(self) -> usize {
        usize::try_from(self.scale).unwrap_or(0)
    }
}

/// Digits read so far: `value * 10^exponent`. What no longer fits into 38 digits only moves the exponent.
#[derive(Default)]
struct Coefficient {
    value: u128,
    exponent: i32,
    full: bool,
}

impl Coefficient {
    /// Appends one decimal digit.
    fn push(&mut self, digit: u32) {
        match self.value.checked_mul(10).and_then(|v| v.checked_add(u128::from(digit))) {
            Some(value) if !self.full => self.value = value,
            _ => {
                self.full = true;
                self.exponent = self.exponent.saturating_add(1);
            }
        }
    }

    /// Rounds half away from zero to `shape`; `None` where it does not fit.
    fn to_shape(&self, negative: bool, shape: Shape) -> Option<i128> {
        let shift = self.exponent.saturating_add(i32::from(shape.scale));
        let magnitude = if self.value == 0 {
            0
        } else if shift >= 0 {
            self.value.checked_mul(10_u128.checked_pow(shift.unsigned_abs())?)?
        } else {
            match 10_u128.checked_pow(shift.unsigned_abs()) {
                Some(divisor) => self.value / divisor + u128::from(self.value % divisor >= divisor.div_ceil(2)),
                None => 0,
            }
        };
        if magnitude >= 10_u128.checked_pow(u32::from(shape.precision))? {
            return None;
        }
        let magnitude = i128::try_from(magnitude).ok()?;
        Some(if negative { -magnitude } else { magnitude })
    }
}

fn overflow(shape: Shape) -> Error {
    let integer_digits = i32::from(shape.precision) - i32::from(shape.scale);
    let error = Error::new(codes::NUMERIC_OUT_OF_RANGE, "numeric field overflow");
    if shape.undeclared() {
        error.with_detail("A numeric without declared precision has 28 digits before and 10 after the point.")
    } else {
        error.with_detail(format!(
            "A field with precision {}, scale {} must round to an absolute value less than 10^{integer_digits}.",
            shape.precision, shape.scale
        ))
    }
}

fn not_finite() -> Error {
    Error::unsupported("numeric NaN and infinity are not supported")
        .with_hint("Use double precision for values that may be NaN or infinite.")
}

/// Errors: `22P02`, `22003` where it does not fit the column, `0A000` for NaN and infinities.
pub fn parse_numeric(text: &str, shape: Shape) -> Result<i128> {
    let trimmed = trim(text);
    let (negative, rest) = match trimmed.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let word = trimmed.trim_start_matches(['+', '-']);
    if ["nan", "inf", "infinity"].iter().any(|w| word.eq_ignore_ascii_case(w)) {
        return Err(not_finite());
    }
    let coefficient = scan_decimal(rest).ok_or_else(|| invalid_text("numeric", text))?;
    coefficient.to_shape(negative, shape).ok_or_else(|| overflow(shape))
}

/// `digits[.digits][e[+-]digits]`
fn scan_decimal(bytes: &[u8]) -> Option<Coefficient> {
    let mut coefficient = Coefficient::default();
    let (mut digits, mut after_point) = (0_usize, false);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                coefficient.push(u32::from(byte - b'0'));
                if after_point {
                    coefficient.exponent = coefficient.exponent.saturating_sub(1);
                }
            }
            b'.' if !after_point => after_point = true,
            b'e' | b'E' if digits > 0 => {
                let exponent = std::str::from_utf8(&bytes[at + 1..]).ok()?.parse::<i32>().ok()?;
                coefficient.exponent = coefficient.exponent.saturating_add(exponent);
                return Some(coefficient);
            }
            _ => return None,
        }
        at += 1;
    }
    (digits > 0).then_some(coefficient)
}

/// The decimal digits of a magnitude, at least `min` of them, right-aligned in the buffer returned.
fn digits_of(mut magnitude: u128, min: usize) -> ([u8; 64], usize) {
    let mut buffer = [b'0'; 64];
    let mut start = buffer.len();
    while magnitude > 0 {
        start -= 1;
        buffer[start] = b'0' + u8::try_from(magnitude % 10).expect("a digit");
        magnitude /= 10;
    }
    (buffer, start.min(buffer.len() - min.min(U128_DIGITS_MAX)))
}

/// Drops trailing zeros after the point where the column has no declared scale.
fn trimmed(mut magnitude: u128, shape: Shape) -> (u128, usize) {
    let mut scale = shape.scale_digits();
    if shape.undeclared() {
        while scale > 0 && magnitude.is_multiple_of(10) {
            magnitude /= 10;
            scale -= 1;
        }
    }
    (magnitude, scale)
}

pub fn write_numeric(value: i128, shape: Shape, out: &mut BytesMut) {
    let (magnitude, scale) = trimmed(value.unsigned_abs(), shape);
    let (buffer, start) = digits_of(magnitude, scale + 1);
    let point = buffer.len() - scale;
    if value < 0 {
        out.put_u8(b'-');
    }
    out.put_slice(&buffer[start..point]);
    if shape.scale < 0 && magnitude != 0 {
        out.put_bytes(b'0', usize::from(shape.scale.unsigned_abs()));
    }
    if scale > 0 {
        out.put_u8(b'.');
        out.put_slice(&buffer[point..]);
    }
}

const NUMERIC_NEGATIVE: u16 = 0x4000;

/// `numeric_send`: count, weight, sign, display scale, then base-10,000 digits aligned at the decimal point.
pub fn write_numeric_binary(value: i128, shape: Shape, out: &mut BytesMut) {
    let (magnitude, scale) = trimmed(value.unsigned_abs(), shape);
    let (buffer, start) = digits_of(magnitude, 0);
    // Decimal digits before the point, zeros of a negative scale included; may be negative for 0.00001.
    let before_point = i32::try_from(buffer.len() - start).expect("at most 64")
        - i32::try_from(scale).expect("at most 38")
        - i32::from(shape.scale.min(0));
    let groups_before = before_point.div_euclid(4) + i32::from(before_point.rem_euclid(4) > 0);
    let lead = usize::try_from(groups_before * 4 - before_point).expect("rounded up");
    let mut groups = [0_u16; 20];
    let mut count = 0;
    for (index, digit) in buffer[start..].iter().enumerate() {
        let position = lead + index;
        count = position / 4 + 1;
        let unit = [1000, 100, 10, 1][position % 4];
        groups[position / 4] += u16::from(digit - b'0') * unit;
    }
    while count > 0 && groups[count - 1] == 0 {
        count -= 1;
    }
    out.put_u16(u16::try_from(count).expect("at most 20"));
    out.put_i16(if count == 0 { 0 } else { i16::try_from(groups_before - 1).expect("at most 20") });
    out.put_u16(if value < 0 { NUMERIC_NEGATIVE } else { 0 });
    out.put_u16(u16::try_from(scale).expect("at most 38"));
    for group in &groups[..count] {
        out.put_u16(*group);
    }
}

/// Errors: `22P03`, `22003`, `0A000`, as [`parse_numeric`].
pub fn read_numeric_binary(bytes: &[u8], shape: Shape) -> Result<i128> {
    let invalid = || invalid_binary("numeric");
    let (header, digits) = bytes.split_at_checked(8).ok_or_else(invalid)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (count, sign) = (usize::from(word(0)), word(4));
    let weight = i32::from(i16::from_be_bytes([header[2], header[3]]));
    let negative = match sign {
        0 => false,
        NUMERIC_NEGATIVE => true,
        0xC000 | 0xD000 | 0xF000 => return Err(not_finite()),
        _ => return Err(invalid()),
    };
    if digits.len() != count * 2 {
        return Err(invalid());
    }
    let mut coefficient = Coefficient::default();
    for pair in digits.chunks_exact(2) {
        let digit = u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        if digit > 9999 {
            return Err(invalid());
        }
        // One by one: a whole group may not fit where all of its digits that count do.
        for unit in [1000, 100, 10, 1] {
            coefficient.push(digit / unit % 10);
        }
    }
    let count = i32::try_from(count).expect("came from a u16");
    coefficient.exponent = coefficient.exponent.saturating_add(4 * (weight - count + 1));
    coefficient.to_shape(negative, shape).ok_or_else(|| overflow(shape))
}

pub fn read_f32(bytes: &[u8]) -> Result<f32> {
    Ok(f32::from_be_bytes(fixed(bytes, f32::NAME)?))
}

pub fn read_f64(bytes: &[u8]) -> Result<f64> {
    Ok(f64::from_be_bytes(fixed(bytes, f64::NAME)?))
}

/// A text value with a byte that PostgreSQL's server encoding does not have.
pub const CHARACTER_NOT_IN_REPERTOIRE: SqlState = SqlState::new("22021");
