//! Time zones: names to zones, and instants to what the clock on the wall shows.

use crate::error::{Error, Result, codes};
use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// A zone by IANA name in any case, or by whole hours east of Greenwich (`-5`, `+02:00`). Errors: `22023`.
pub fn named(name: &str) -> Result<Tz> {
    let trimmed = name.trim();
    if let Some(zone) = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(trimmed)) {
        return Ok(*zone);
    }
    hours_east(trimmed)
        .and_then(fixed)
        .ok_or_else(|| Error::new(codes::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized")))
}

fn hours_east(text: &str) -> Option<i32> {
    let whole = text.strip_suffix(":00").unwrap_or(text);
    let whole = whole.strip_suffix(".0").unwrap_or(whole);
    whole.parse().ok()
}

/// The POSIX-style zones count west as positive: `Etc/GMT+5` is five hours behind Greenwich.
fn fixed(hours_east: i32) -> Option<Tz> {
    if hours_east == 0 {
        return Some(Tz::UTC);
    }
    format!("Etc/GMT{:+}", -hours_east).parse().ok()
}

pub fn out_of_range() -> Error {
    Error::new(codes::DATETIME_OVERFLOW, "timestamp out of range")
}

/// Microseconds since 1970 as a date and time. Errors: `22008`.
pub fn naive(micros: i64) -> Result<NaiveDateTime> {
    Ok(DateTime::from_timestamp_micros(micros).ok_or_else(out_of_range)?.naive_utc())
}

/// What the clock on the wall shows in `zone`. Microseconds.
pub fn to_local(micros: i64, zone: Tz) -> Result<i64> {
    Ok(zone.from_utc_datetime(&naive(micros)?).naive_local().and_utc().timestamp_micros())
}

/// The instant at which the wall clock shows `micros`. Where the clock goes back, the later of the two (PostgreSQL
/// takes standard time); where it skips, the skipped time is read as if the clock had not been put forward.
pub fn from_local(micros: i64, zone: Tz) -> Result<i64> {
    let local = naive(micros)?;
    match zone.from_local_datetime(&local) {
        chrono::LocalResult::Single(instant) => Ok(instant.timestamp_micros()),
        chrono::LocalResult::Ambiguous(_, later) => Ok(later.timestamp_micros()),
        chrono::LocalResult::None => {
            let before = local.checked_sub_signed(TimeDelta::hours(12)).ok_or_else(out_of_range)?;
            let offset = zone.offset_from_utc_datetime(&before);
            Ok(micros - i64::from(chrono::Offset::fix(&offset).local_minus_utc()) * 1_000_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zones_have_names_and_offsets() {
        assert_eq!(named("america/new_york").unwrap(), chrono_tz::America::New_York);
        assert_eq!(named("utc").unwrap().name(), "UTC");
        assert_eq!(named("-5").unwrap(), chrono_tz::Etc::GMTPlus5);
        assert_eq!(named("+02:00").unwrap(), chrono_tz::Etc::GMTMinus2);
        assert_eq!(named("Mars/Base").unwrap_err().message(), "time zone \"Mars/Base\" not recognized");
    }

    proptest! {
        #[test]
        fn local_time_goes_there_and_back(value in 0i64..4_000_000_000_000_000) {
            let zone = chrono_tz::America::New_York;
            let back = from_local(to_local(value, zone).unwrap(), zone).unwrap();
            // One hour a year is told twice; the later telling wins.
            prop_assert!(back == value || back - value == 3_600_000_000);
        }
    }
}
