//! Intervals: months, days, microseconds. PostgreSQL documentation, 8.5.4 and 8.5.5.

use super::datetime::{MICROS_PER_DAY, MICROS_PER_SECOND, put_seconds};
use super::datetime_input::{clock_text_micros, fraction_of_second};
use super::{invalid_binary, trim};
use crate::error::{Error, Result, SqlState, codes};
use arrow::datatypes::IntervalMonthDayNano;
use bytes::{BufMut, BytesMut};
use std::fmt::Write;

const NANOS_PER_MICRO: i64 = 1_000;

/// As `IntervalStyle = postgres` prints: `1 year 2 mons 3 days 04:05:06.5`, zero as `00:00:00`.
pub fn write_interval(value: IntervalMonthDayNano, out: &mut BytesMut) {
    let micros = value.nanoseconds / NANOS_PER_MICRO;
    let (mut empty, mut after_negative) = (true, false);
    for (amount, unit) in [(value.months / 12, "year"), (value.months % 12, "mon"), (value.days, "day")] {
        if amount != 0 {
            let space = if empty { "" } else { " " };
            // A positive part after a negative one says so, or it would read as negative.
            let plus = if after_negative && amount > 0 { "+" } else { "" };
            let plural = if amount == 1 { "" } else { "s" };
            write!(out, "{space}{plus}{amount} {unit}{plural}").expect("a BytesMut takes any text");
            (empty, after_negative) = (false, amount < 0);
        }
    }
    if empty || micros != 0 {
        let space = if empty { "" } else { " " };
        let sign = match (micros < 0, after_negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let minutes = micros / (60 * MICROS_PER_SECOND);
        write!(out, "{space}{sign}{:02}:{:02}", (minutes / 60).abs(), (minutes % 60).abs())
            .expect("a BytesMut takes any text");
        put_seconds((micros % (60 * MICROS_PER_SECOND)).abs(), out);
    }
}

pub fn write_interval_binary(value: IntervalMonthDayNano, out: &mut BytesMut) {
    out.put_i64(value.nanoseconds / NANOS_PER_MICRO);
    out.put_i32(value.days);
    out.put_i32(value.months);
}

/// Errors: `22P03`, `22008` for more than 292 years of hours, which Arrow's nanoseconds cannot hold.
pub fn read_interval_binary(bytes: &[u8]) -> Result<IntervalMonthDayNano> {
    let (micros, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| invalid_binary("interval"))?;
    let (days, months) = rest.split_first_chunk::<4>().ok_or_else(|| invalid_binary("interval"))?;
    let months: &[u8; 4] = months.try_into().map_err(|_| invalid_binary("interval"))?;
    let nanoseconds = i64::from_be_bytes(*micros)
        .checked_mul(NANOS_PER_MICRO)
        .ok_or_else(|| Error::new(codes::DATETIME_OVERFLOW, "interval out of range"))?;
    Ok(IntervalMonthDayNano::new(i32::from_be_bytes(*months), i32::from_be_bytes(*days), nanoseconds))
}

enum Fault {
    Syntax,
    Range,
}

use Fault::{Range, Syntax};

/// Sums of parts, not yet narrowed.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
}

/// An amount as written: whole part, and the fraction with the same sign.
#[derive(Clone, Copy)]
struct Amount {
    whole: i64,
    fraction: f64,
    fraction_micros: i64,
}

#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Days(i64),
    Micros(i64),
}

impl Sum {
    fn add(&mut self, amount: Amount, unit: Unit) -> Result<(), Fault> {
        match unit {
            Unit::Micros(MICROS_PER_SECOND) => {
                self.add_micros(amount.whole, MICROS_PER_SECOND)?;
                self.add_micros(amount.fraction_micros, 1)
            }
            Unit::Micros(each) => {
                self.add_micros(amount.whole, each)?;
                self.add_fraction(amount.fraction, each)
            }
            Unit::Days(each) => {
                self.add_days(amount.whole, each)?;
                self.add_fractional_days(amount.fraction * whole(each))
            }
            Unit::Months(1) => {
                self.add_months(amount.whole, 1)?;
                // A month counts 30 days where it is broken up.
                self.add_fractional_days(amount.fraction * 30.0)
            }
            Unit::Months(each) => {
                self.add_months(amount.whole, each)?;
                self.add_months(rounded(amount.fraction * whole(each))?, 1)
            }
        }
    }

    fn add_months(&mut self, count: i64, each: i64) -> Result<(), Fault> {
        self.months = count.checked_mul(each).and_then(|v| v.checked_add(self.months)).ok_or(Range)?;
        Ok(())
    }

    fn add_days(&mut self, count: i64, each: i64) -> Result<(), Fault> {
        self.days = count.checked_mul(each).and_then(|v| v.checked_add(self.days)).ok_or(Range)?;
        Ok(())
    }

    fn add_micros(&mut self, count: i64, each: i64) -> Result<(), Fault> {
        self.micros = count.checked_mul(each).and_then(|v| v.checked_add(self.micros)).ok_or(Range)?;
        Ok(())
    }

    fn add_fraction(&mut self, fraction: f64, each: i64) -> Result<(), Fault> {
        self.add_micros(rounded(fraction * whole(each))?, 1)
    }

    fn add_fractional_days(&mut self, days: f64) -> Result<(), Fault> {
        self.add_days(rounded(days.trunc())?, 1)?;
        self.add_fraction(days.fract(), MICROS_PER_DAY)
    }

    fn negate(&mut self) {
        (self.months, self.days, self.micros) = (-self.months, -self.days, -self.micros);
    }

    fn finish(self) -> Result<IntervalMonthDayNano, Fault> {
        Ok(IntervalMonthDayNano::new(
            i32::try_from(self.months).map_err(|_| Range)?,
            i32::try_from(self.days).map_err(|_| Range)?,
            self.micros.checked_mul(NANOS_PER_MICRO).ok_or(Range)?,
        ))
    }
}

/// A unit's size as a factor; all are far below 2^53.
fn whole(each: i64) -> f64 {
    each as f64
}

fn rounded(value: f64) -> Result<i64, Fault> {
    const LIMIT: f64 = 9.0e18;
    if value.is_finite() && value.abs() < LIMIT { Ok(value.round_ties_even() as i64) } else { Err(Range) }
}

/// Errors: `22007`, `22015`.
pub fn parse_interval(text: &str) -> Result<IntervalMonthDayNano> {
    let trimmed = trim(text);
    let parsed = if trimmed.starts_with(['P', 'p']) { parse_iso(&trimmed[1..]) } else { parse_words(trimmed) };
    parsed.and_then(Sum::finish).map_err(|fault| match fault {
        Syntax => Error::new(codes::INVALID_DATETIME, format!("invalid input syntax for type interval: \"{text}\"")),
        Range => Error::new(SqlState::new("22015"), format!("interval field value out of range: \"{text}\"")),
    })
}

/// A sign, digits with an optional fraction; returns what follows.
fn take_amount(text: &str) -> Result<(bool, &str, &str), Fault> {
    let negative = text.starts_with('-');
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = body.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(body.len());
    if end == 0 { Err(Syntax) } else { Ok((negative, &body[..end], &body[end..])) }
}

fn amount(negative: bool, digits: &str) -> Result<Amount, Fault> {
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if integer.is_empty() && fraction.is_empty() {
        return Err(Syntax);
    }
    let whole: i64 = if integer.is_empty() { 0 } else { integer.parse().map_err(|_| Range)? };
    let fraction_micros = fraction_of_second(fraction).ok_or(Syntax)?;
    let fraction: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().map_err(|_| Syntax)? };
    Ok(if negative {
        Amount { whole: -whole, fraction: -fraction, fraction_micros: -fraction_micros }
    } else {
        Amount { whole, fraction, fraction_micros }
    })
}

/// `1Y2M3DT4H5M6.5S`, what follows the P.
fn parse_iso(mut rest: &str) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut in_time = false;
    if rest.is_empty() {
        return Err(Syntax);
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']) {
            in_time = true;
            rest = after;
            continue;
        }
        let (negative, digits, after) = take_amount(rest)?;
        let mut characters = after.chars();
        let unit = match (characters.next().map(|c| c.to_ascii_uppercase()), in_time) {
            (Some('Y'), false) => Unit::Months(12),
            (Some('M'), false) => Unit::Months(1),
            (Some('W'), false) => Unit::Days(7),
            (Some('D'), false) => Unit::Days(1),
            (Some('H'), true) => Unit::Micros(3600 * MICROS_PER_SECOND),
            (Some('M'), true) => Unit::Micros(60 * MICROS_PER_SECOND),
            (Some('S'), true) => Unit::Micros(MICROS_PER_SECOND),
            _ => return Err(Syntax),
        };
        sum.add(amount(negative, digits)?, unit)?;
        rest = characters.as_str();
    }
    Ok(sum)
}

/// `1 day 02:00:00`, `@ 3 hours ago`, `1-2`, `30`.
fn parse_words(text: &str) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut rest = text.trim_start_matches('@').trim_start();
    let mut found = false;
    while !rest.is_empty() {
        if found && rest.eq_ignore_ascii_case("ago") {
            sum.negate();
            return Ok(sum);
        }
        rest = parse_part(rest, &mut sum)?.trim_start();
        found = true;
    }
    if found { Ok(sum) } else { Err(Syntax) }
}

/// One amount with its unit, or a clock, or years-months; returns what follows.
fn parse_part<'a>(text: &'a str, sum: &mut Sum) -> Result<&'a str, Fault> {
    let (negative, digits, after) = take_amount(text)?;
    if after.starts_with(':') {
        return parse_clock(negative, text, sum);
    }
    if let Some(months) = after.strip_prefix('-').filter(|m| m.starts_with(|c: char| c.is_ascii_digit())) {
        let (_, months, after) = take_amount(months)?;
        sum.add(amount(negative, digits)?, Unit::Months(12))?;
        sum.add(amount(negative, months)?, Unit::Months(1))?;
        return Ok(after);
    }
    let unspaced = after.trim_start();
    let letters = unspaced.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unspaced.len());
    let word = &unspaced[..letters];
    if word.is_empty() {
        // A bare number: days before a clock (`1 02:03:04`), else seconds at the end.
        let unit = if unspaced.is_empty() { Unit::Micros(MICROS_PER_SECOND) } else { Unit::Days(1) };
        if !unspaced.is_empty() && !unspaced.contains(':') {
            return Err(Syntax);
        }
        sum.add(amount(negative, digits)?, unit)?;
        return Ok(after);
    }
    sum.add(amount(negative, digits)?, unit_of(&word.to_ascii_lowercase()).ok_or(Syntax)?)?;
    Ok(&unspaced[letters..])
}

fn parse_clock<'a>(negative: bool, text: &'a str, sum: &mut Sum) -> Result<&'a str, Fault> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = body.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.'))).unwrap_or(body.len());
    // Hours are not bound to a day here.
    let (hours, minutes) = body[..end].split_once(':').ok_or(Syntax)?;
    let hours: i64 = hours.parse().map_err(|_| Range)?;
    let micros = clock_text_micros(&format!("0:{minutes}"))
        .filter(|_| minutes.contains(':'))
        .or_else(|| clock_text_micros(&format!("0:{minutes}:0")))
        .ok_or(Syntax)?;
    let sign = if negative { -1 } else { 1 };
    sum.add_micros(sign * hours, 3600 * MICROS_PER_SECOND)?;
    sum.add_micros(sign * micros, 1)?;
    Ok(&body[end..])
}

fn unit_of(word: &str) -> Option<Unit> {
    Some(match word {
        "us" | "usec" | "usecs" | "useconds" | "microsecond" | "microseconds" | "microsecon" => Unit::Micros(1),
        "ms" | "msec" | "msecs" | "mseconds" | "millisecond" | "milliseconds" | "millisecon" => Unit::Micros(1_000),
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Micros(MICROS_PER_SECOND),
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Micros(60 * MICROS_PER_SECOND),
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Micros(3600 * MICROS_PER_SECOND),
        "d" | "day" | "days" => Unit::Days(1),
        "w" | "week" | "weeks" => Unit::Days(7),
        "mon" | "mons" | "month" | "months" => Unit::Months(1),
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Months(12),
        "dec" | "decs" | "decade" | "decades" => Unit::Months(120),
        "c" | "cent" | "century" | "centuries" => Unit::Months(1_200),
        "mil" | "mils" | "millennia" | "millennium" => Unit::Months(12_000),
        _ => return None,
    })
}
