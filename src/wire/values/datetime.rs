//! Calendar arithmetic, and dates and times as text and binary.
//!
//! The calendar is the proleptic Gregorian one, years counted astronomically (0 is 1 BC). Own arithmetic rather than
//! chrono's because PostgreSQL's range (4713 BC to 294276 AD) is wider; time zone rules are chrono-tz's.

use super::fixed;
use crate::error::{Error, Result, codes};
use bytes::{BufMut, BytesMut};
use chrono::{NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const SECONDS_PER_DAY: i64 = 86_400;
pub const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;

/// 2000-01-01, from which PostgreSQL's binary formats count, in days since 1970.
pub const POSTGRES_EPOCH_DAYS: i32 = 10_957;
const POSTGRES_EPOCH_MICROS: i64 = POSTGRES_EPOCH_DAYS as i64 * MICROS_PER_DAY;

/// Julian day 0 (4714-11-24 BC) to 294246-12-31, in days since 1970. PostgreSQL, which counts from 2000, goes on for
/// 30 years more than 64 bits of microseconds since 1970 do.
const TIMESTAMP_DAYS: std::ops::Range<i64> = -2_440_588..106_751_982;

/// Days since 1970 of a date. `month` 1 to 12, `day` 1 to 31.
pub fn days_of(year: i64, month: u32, day: u32) -> i64 {
    // Years begin in March here, so that the leap day comes last. Howard Hinnant, "chrono-compatible low-level
    // date algorithms".
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i64::from((month + 9) % 12);
    let day_of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day since 1970.
pub fn date_of(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = u32::try_from(day_of_year - (153 * march_month + 2) / 5 + 1).expect("1 to 31");
    let month = u32::try_from((march_month + 2) % 12 + 1).expect("1 to 12");
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

pub fn month_days(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Microseconds since 1970 of a local date and time; `None` outside PostgreSQL's range.
pub fn micros_of(days: i64, micros_of_day: i64) -> Option<i64> {
    let days = days.checked_add(micros_of_day.div_euclid(MICROS_PER_DAY))?;
    if !TIMESTAMP_DAYS.contains(&days) {
        return None;
    }
    days.checked_mul(MICROS_PER_DAY)?.checked_add(micros_of_day.rem_euclid(MICROS_PER_DAY))
}

/// chrono's view of a moment, for its time zone rules only: beyond chrono's years the nearest year's rules hold.
fn naive(micros: i64) -> NaiveDateTime {
    chrono::DateTime::from_timestamp_micros(micros).map(|moment| moment.naive_utc()).unwrap_or(if micros < 0 {
        NaiveDateTime::MIN
    } else {
        NaiveDateTime::MAX
    })
}

/// Seconds east of UTC that hold in `zone` at a moment in UTC.
pub fn offset_at(micros: i64, zone: Tz) -> i32 {
    if zone == Tz::UTC {
        return 0;
    }
    zone.offset_from_utc_datetime(&naive(micros)).fix().local_minus_utc()
}

/// Seconds east of UTC that a local time has in `zone`. As in PostgreSQL, a time that the clocks skip is read with
/// the offset from before the gap, and one that comes twice as standard time, the later one.
pub fn offset_of_local(local_micros: i64, zone: Tz) -> i32 {
    use chrono::LocalResult::{Ambiguous, None, Single};
    if zone == Tz::UTC {
        return 0;
    }
    match zone.offset_from_local_datetime(&naive(local_micros)) {
        Single(offset) => offset.fix().local_minus_utc(),
        Ambiguous(a, b) => a.fix().local_minus_utc().min(b.fix().local_minus_utc()),
        // No gap was ever longer than a day.
        None => offset_at(local_micros.saturating_sub(2 * MICROS_PER_DAY), zone),
    }
}

/// Appends `value` in decimal with at least `width` digits.
fn put_padded(mut value: u64, width: usize, out: &mut BytesMut) {
    let mut buffer = [b'0'; 20];
    let mut start = buffer.len();
    while value > 0 {
        start -= 1;
        buffer[start] = b'0' + u8::try_from(value % 10).expect("a digit");
        value /= 10;
    }
    out.put_slice(&buffer[start.min(buffer.len() - width)..]);
}

fn put_two(value: i64, out: &mut BytesMut) {
    let value = u8::try_from(value).expect("a two-digit part of a date or time");
    out.put_slice(&[b'0' + value / 10, b'0' + value % 10]);
}

/// The date without its era; returns whether ` BC` must follow at the end.
fn put_date(days: i64, out: &mut BytesMut) -> bool {
    let (year, month, day) = date_of(days);
    let before_christ = year <= 0;
    put_padded(if before_christ { 1 - year } else { year }.unsigned_abs(), 4, out);
    out.put_u8(b'-');
    put_two(i64::from(month), out);
    out.put_u8(b'-');
    put_two(i64::from(day), out);
    before_christ
}

fn put_era(before_christ: bool, out: &mut BytesMut) {
    if before_christ {
        out.put_slice(b" BC");
    }
}

pub fn write_date(days: i32, out: &mut BytesMut) {
    match days {
        i32::MAX => out.put_slice(b"infinity"),
        i32::MIN => out.put_slice(b"-infinity"),
        days => {
            let before_christ = put_date(i64::from(days), out);
            put_era(before_christ, out);
        }
    }
}

/// Appends `:SS` or `:SS.ffffff` without trailing zeros.
pub fn put_seconds(micros_of_minute: i64, out: &mut BytesMut) {
    out.put_u8(b':');
    put_two(micros_of_minute / MICROS_PER_SECOND, out);
    let mut fraction = (micros_of_minute % MICROS_PER_SECOND).unsigned_abs();
    if fraction > 0 {
        let mut width = 6;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width -= 1;
        }
        out.put_u8(b'.');
        put_padded(fraction, width, out);
    }
}

/// `micros` since midnight; 24:00:00 is a time of its own.
pub fn write_time(micros: i64, out: &mut BytesMut) {
    let micros = micros.clamp(0, MICROS_PER_DAY);
    let minutes = micros / (60 * MICROS_PER_SECOND);
    put_two(minutes / 60, out);
    out.put_u8(b':');
    put_two(minutes % 60, out);
    put_seconds(micros % (60 * MICROS_PER_SECOND), out);
}

/// A timestamp (`zone` `None`), or a timestamptz as it reads in `zone`.
pub fn write_timestamp(micros: i64, zone: Option<Tz>, out: &mut BytesMut) {
    match micros {
        i64::MAX => return out.put_slice(b"infinity"),
        i64::MIN => return out.put_slice(b"-infinity"),
        _ => {}
    }
    let offset = zone.map(|zone| offset_at(micros, zone));
    let local = micros.saturating_add(i64::from(offset.unwrap_or(0)) * MICROS_PER_SECOND);
    let before_christ = put_date(local.div_euclid(MICROS_PER_DAY), out);
    out.put_u8(b' ');
    write_time(local.rem_euclid(MICROS_PER_DAY), out);
    if let Some(offset) = offset {
        put_offset(offset, out);
    }
    put_era(before_christ, out);
}

fn put_offset(seconds: i32, out: &mut BytesMut) {
    out.put_u8(if seconds < 0 { b'-' } else { b'+' });
    let seconds = i64::from(seconds).abs();
    put_two(seconds / 3600, out);
    for part in [(seconds / 60 % 60, seconds % 3600), (seconds % 60, seconds % 60)] {
        let (value, rest) = part;
        if rest != 0 {
            out.put_u8(b':');
            put_two(value, out);
        }
    }
}

/// Errors: `22008` outside the range of the binary format.
pub fn write_timestamp_binary(micros: i64, out: &mut BytesMut) -> Result<()> {
    out.put_i64(match micros {
        i64::MAX | i64::MIN => micros,
        _ => micros.checked_sub(POSTGRES_EPOCH_MICROS).ok_or_else(timestamp_out_of_range)?,
    });
    Ok(())
}

/// Errors: `22P03`, `22008`.
pub fn read_timestamp_binary(bytes: &[u8], type_name: &str) -> Result<i64> {
    match i64::from_be_bytes(fixed(bytes, type_name)?) {
        infinite @ (i64::MAX | i64::MIN) => Ok(infinite),
        micros => micros.checked_add(POSTGRES_EPOCH_MICROS).ok_or_else(timestamp_out_of_range),
    }
}

pub fn timestamp_out_of_range() -> Error {
    Error::new(codes::DATETIME_OVERFLOW, "timestamp out of range")
}

/// Errors: `22008` outside the range of the binary format.
pub fn write_date_binary(days: i32, out: &mut BytesMut) -> Result<()> {
    out.put_i32(match days {
        i32::MAX | i32::MIN => days,
        _ => days.checked_sub(POSTGRES_EPOCH_DAYS).ok_or_else(date_out_of_range)?,
    });
    Ok(())
}

/// Errors: `22P03`, `22008`.
pub fn read_date_binary(bytes: &[u8]) -> Result<i32> {
    match i32::from_be_bytes(fixed(bytes, "date")?) {
        infinite @ (i32::MAX | i32::MIN) => Ok(infinite),
        days => days.checked_add(POSTGRES_EPOCH_DAYS).ok_or_else(date_out_of_range),
    }
}

fn date_out_of_range() -> Error {
    Error::new(codes::DATETIME_OVERFLOW, "date out of range")
}

/// Errors: `22P03`, `22008` outside a day.
pub fn read_time_binary(bytes: &[u8]) -> Result<i64> {
    let micros = i64::from_be_bytes(fixed(bytes, "time")?);
    if (0..=MICROS_PER_DAY).contains(&micros) {
        Ok(micros)
    } else {
        Err(Error::new(codes::DATETIME_OVERFLOW, "time out of range"))
    }
}
