//! Dates and times as people write them. PostgreSQL documentation, appendix B.1; month-day-year where that is open.
//!
//! Words that mean the moment of reading (`now`, `today`) are not taken: text is read where no clock is at hand.

use super::datetime::{
    MICROS_PER_DAY, MICROS_PER_SECOND, days_of, micros_of, month_days, offset_of_local, timestamp_out_of_range,
};
use super::{is_space, trim};
use crate::error::{Error, Result, codes};
use chrono_tz::Tz;

/// What keeps a text from being a moment.
enum Fault {
    Syntax,
    /// A well-formed field with an impossible value, as month 13.
    Range,
    UnknownZone(String),
}

use Fault::{Range, Syntax};

impl Fault {
    fn into_error(self, type_name: &str, text: &str) -> Error {
        match self {
            Syntax => {
                Error::new(codes::INVALID_DATETIME, format!("invalid input syntax for type {type_name}: \"{text}\""))
            }
            Range => Error::new(codes::DATETIME_OVERFLOW, format!("date/time field value out of range: \"{text}\"")),
            Fault::UnknownZone(zone) => {
                Error::new(codes::INVALID_PARAMETER_VALUE, format!("time zone \"{zone}\" not recognized"))
            }
        }
    }
}

enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    Named(Tz),
}

/// What was found in a text, before it is put together.
#[derive(Default)]
struct Parts {
    date: Option<(i64, u32, u32)>,
    /// Microseconds since midnight.
    time: Option<i64>,
    zone: Option<Zone>,
    before_christ: bool,
    /// Noon to midnight (`true`) or midnight to noon.
    afternoon: Option<bool>,
    /// Day and year of a date whose month is written as a word, in the order found.
    loose_numbers: Vec<(i64, usize)>,
    month_word: Option<u32>,
}

enum Moment {
    Infinite { future: bool },
    Parts(Parts),
}

/// Microseconds since 1970, zone (if written) ignored. `i64::MAX` and `MIN` are infinity and -infinity.
/// Errors: `22007`, `22008`.
pub fn parse_timestamp(text: &str) -> Result<i64> {
    if let Some((local, _)) = parse_iso(text) {
        return Ok(local);
    }
    match scan(text).map_err(|f| f.into_error("timestamp", text))? {
        Moment::Infinite { future } => Ok(if future { i64::MAX } else { i64::MIN }),
        Moment::Parts(parts) => {
            let days = parts.days().map_err(|f| f.into_error("timestamp", text))?;
            micros_of(days, parts.time.unwrap_or(0)).ok_or_else(|| out_of_range(text))
        }
    }
}

/// Microseconds since 1970 UTC; a text without zone is local time in `zone`. Errors: `22007`, `22008`.
pub fn parse_timestamptz(text: &str, zone: Tz) -> Result<i64> {
    const NAME: &str = "timestamp with time zone";
    let (local, written) = match parse_iso(text) {
        Some((local, offset)) => (local, offset.map(Zone::Fixed)),
        None => match scan(text).map_err(|f| f.into_error(NAME, text))? {
            Moment::Infinite { future } => return Ok(if future { i64::MAX } else { i64::MIN }),
            Moment::Parts(parts) => {
                let days = parts.days().map_err(|f| f.into_error(NAME, text))?;
                (micros_of(days, parts.time.unwrap_or(0)).ok_or_else(|| out_of_range(text))?, parts.zone)
            }
        },
    };
    let offset = match written {
        Some(Zone::Fixed(seconds)) => seconds,
        Some(Zone::Named(named)) => offset_of_local(local, named),
        None => offset_of_local(local, zone),
    };
    local.checked_sub(i64::from(offset) * MICROS_PER_SECOND).ok_or_else(timestamp_out_of_range)
}

/// Days since 1970; time and zone, if written, are ignored. Errors: `22007`, `22008`.
pub fn parse_date(text: &str) -> Result<i32> {
    if let Some(days) = parse_iso_date(text) {
        return Ok(days);
    }
    match scan(text).map_err(|f| f.into_error("date", text))? {
        Moment::Infinite { future } => Ok(if future { i32::MAX } else { i32::MIN }),
        Moment::Parts(parts) => {
            let days = parts.days().map_err(|f| f.into_error("date", text))?;
            match i32::try_from(days) {
                // PostgreSQL's last date is 5874897-12-31; its first is Julian day 0.
                Ok(days) if (-2_440_588..2_145_042_906).contains(&days) => Ok(days),
                _ => Err(Error::new(codes::DATETIME_OVERFLOW, format!("date out of range: \"{text}\""))),
            }
        }
    }
}

/// Microseconds since midnight, 24:00:00 included; a date, if written, is ignored. Errors: `22007`, `22008`.
pub fn parse_time(text: &str) -> Result<i64> {
    // Also where bare digits mean a time and not a day or a year.
    if let Some(micros) = clock_text_micros(trim(text)) {
        return Ok(micros);
    }
    let found = scan(text).and_then(|moment| match moment {
        Moment::Parts(Parts { time: Some(time), .. }) => Ok(time),
        _ => Err(Syntax),
    });
    found.map_err(|f| f.into_error("time", text))
}

fn out_of_range(text: &str) -> Error {
    Error::new(codes::DATETIME_OVERFLOW, format!("timestamp out of range: \"{text}\""))
}

/// `YYYY-MM-DD` without a detour; `None` says nothing but that the long way must be taken.
fn parse_iso_date(text: &str) -> Option<i32> {
    let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().try_fold(0_u32, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
    };
    let (year, month, day) = (i64::from(number(0..4)?), number(5..7)?, number(8..10)?);
    let valid = year > 0 && (1..=12).contains(&month) && day >= 1 && day <= month_days(year, month);
    if valid { i32::try_from(days_of(year, month, day)).ok() } else { None }
}

/// The one form that bulk loads consist of, read without a detour: `YYYY-MM-DD HH:MM:SS[.ffffff][+HH[:MM]|Z]`.
/// `None` says nothing but that the long way must be taken. Returns local microseconds and the offset.
fn parse_iso(text: &str) -> Option<(i64, Option<i32>)> {
    let bytes = text.as_bytes();
    let (head, mut rest) = bytes.split_first_chunk::<19>()?;
    let two = |at: usize| match (head[at], head[at + 1]) {
        (a @ b'0'..=b'9', b @ b'0'..=b'9') => Some(u32::from(a - b'0') * 10 + u32::from(b - b'0')),
        _ => None,
    };
    let separators = [head[4], head[7], head[13], head[16]];
    if separators != *b"--::" || !matches!(head[10], b' ' | b'T') {
        return None;
    }
    let (year, month, day) = (i64::from(two(0)? * 100 + two(2)?), two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    let valid = year > 0 && (1..=12).contains(&month) && day >= 1 && day <= month_days(year, month);
    if !valid || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut fraction = 0_i64;
    if let [b'.', digits @ ..] = rest {
        let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 || count > 6 {
            return None;
        }
        for digit in &digits[..count] {
            fraction = fraction * 10 + i64::from(digit - b'0');
        }
        fraction *= 10_i64.pow(u32::try_from(6 - count).ok()?);
        rest = &digits[count..];
    }
    let offset = match rest {
        [] => None,
        [b'Z'] => Some(0),
        [sign @ (b'+' | b'-'), a @ b'0'..=b'1', b @ b'0'..=b'9', tail @ ..] => {
            let hours = i32::from(a - b'0') * 10 + i32::from(b - b'0');
            let minutes = match tail {
                [] => 0,
                [b':', c @ b'0'..=b'5', d @ b'0'..=b'9'] => i32::from(c - b'0') * 10 + i32::from(d - b'0'),
                _ => return None,
            };
            let seconds = (hours * 60 + minutes) * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    let micros = days_of(year, month, day) * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + fraction;
    Some((micros, offset))
}

impl Parts {
    fn days(&self) -> Result<i64, Fault> {
        let (year, month, day) = self.date.ok_or(Syntax)?;
        if !(1..=12).contains(&month) || day == 0 || year.abs() > 6_000_000 {
            return Err(Range);
        }
        let year = if self.before_christ {
            if year <= 0 {
                return Err(Range);
            }
            1 - year
        } else {
            year
        };
        if day > month_days(year, month) || (year == 0 && !self.before_christ) {
            return Err(Range);
        }
        Ok(days_of(year, month, day))
    }

    fn set_date(&mut self, date: (i64, u32, u32)) -> Result<(), Fault> {
        if self.date.replace(date).is_some() { Err(Syntax) } else { Ok(()) }
    }

    fn set_zone(&mut self, zone: Zone) -> Result<(), Fault> {
        if self.zone.replace(zone).is_some() { Err(Syntax) } else { Ok(()) }
    }

    fn set_time(&mut self, micros: i64) -> Result<(), Fault> {
        if self.time.replace(micros).is_some() { Err(Syntax) } else { Ok(()) }
    }

    /// Puts together a date with a month word, and applies AM or PM.
    fn finish(mut self) -> Result<Parts, Fault> {
        match (self.month_word, self.loose_numbers.as_slice()) {
            (None, []) => {}
            (Some(month), [first, second]) => {
                let (day, year) = if first.1 > 2 { (second, first) } else { (first, second) };
                let date = (full_year(year.0, year.1), month, u32::try_from(day.0).map_err(|_| Range)?);
                self.set_date(date)?;
            }
            _ => return Err(Syntax),
        }
        if let Some(afternoon) = self.afternoon {
            const HOUR: i64 = 3600 * MICROS_PER_SECOND;
            let time = self.time.ok_or(Syntax)?;
            if time >= 13 * HOUR {
                return Err(Range);
            }
            let morning = if time >= 12 * HOUR { time - 12 * HOUR } else { time };
            self.time = Some(if afternoon { morning + 12 * HOUR } else { morning });
        }
        Ok(self)
    }
}

/// Two digits mean 1970 to 2069.
fn full_year(value: i64, digits: usize) -> i64 {
    match (digits, value) {
        (1 | 2, 0..=69) => 2000 + value,
        (1 | 2, _) => 1900 + value,
        _ => value,
    }
}

fn scan(text: &str) -> Result<Moment, Fault> {
    let trimmed = trim(text);
    match trimmed.to_ascii_lowercase().as_str() {
        "epoch" => {
            let zone = Some(Zone::Fixed(0));
            return Ok(Moment::Parts(Parts { date: Some((1970, 1, 1)), time: Some(0), zone, ..Parts::default() }));
        }
        "infinity" | "+infinity" => return Ok(Moment::Infinite { future: true }),
        "-infinity" => return Ok(Moment::Infinite { future: false }),
        _ => {}
    }
    let mut parts = Parts::default();
    for word in trimmed.split(|c| is_space(c) || c == ',').filter(|w| !w.is_empty()) {
        scan_word(word, &mut parts)?;
    }
    parts.finish().map(Moment::Parts)
}

fn scan_word(word: &str, parts: &mut Parts) -> Result<(), Fault> {
    let first = word.as_bytes()[0];
    match first {
        b'0'..=b'9' => scan_number_word(word, parts),
        b'+' | b'-' => parts.set_zone(Zone::Fixed(parse_offset(word)?)),
        _ if first.is_ascii_alphabetic() => {
            // `T12:00` after a date, and dates that begin with a month: Jan-08-1999.
            if matches!(first, b'T' | b't') && word[1..].starts_with(|c: char| c.is_ascii_digit()) {
                return scan_time(&word[1..], parts);
            }
            let letters = word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len());
            if letters < word.len() && month_of(&word[..letters]).is_some() {
                return scan_date(word, parts);
            }
            scan_name(word, parts)
        }
        _ => Err(Syntax),
    }
}

fn scan_name(word: &str, parts: &mut Parts) -> Result<(), Fault> {
    let lower = word.trim_end_matches('.').to_ascii_lowercase();
    match lower.as_str() {
        "bc" | "b.c" => parts.before_christ = true,
        "ad" | "a.d" => {}
        "am" | "pm" => parts.afternoon = Some(lower == "pm"),
        _ if is_weekday(&lower) => {}
        _ => match month_of(&lower) {
            Some(month) if parts.month_word.replace(month).is_none() => {}
            Some(_) => return Err(Syntax),
            None => parts.set_zone(zone_of(word)?)?,
        },
    }
    Ok(())
}

fn is_weekday(lower: &str) -> bool {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    lower.len() >= 3 && DAYS.iter().any(|day| day.starts_with(lower))
}

fn month_of(word: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let lower = word.to_ascii_lowercase();
    let matches = |month: &&str| {
        lower == **month
            || (lower.len() == 3 && month.starts_with(&lower))
            || (lower == "sept" && month.starts_with("sept"))
    };
    MONTHS.iter().position(matches).and_then(|index| u32::try_from(index + 1).ok())
}

/// IANA names, and the abbreviations that mean one offset everywhere.
fn zone_of(word: &str) -> Result<Zone, Fault> {
    let hours = match word.to_ascii_lowercase().as_str() {
        "z" | "utc" | "gmt" | "ut" | "zulu" | "wet" => Some(0),
        "cet" | "met" | "west" => Some(1),
        "cest" | "eet" => Some(2),
        "eest" | "msk" => Some(3),
        "edt" => Some(-4),
        "est" | "cdt" => Some(-5),
        "cst" | "mdt" => Some(-6),
        "mst" | "pdt" => Some(-7),
        "pst" => Some(-8),
        "jst" => Some(9),
        _ => None,
    };
    match hours {
        Some(hours) => Ok(Zone::Fixed(hours * 3600)),
        None => match word.parse::<Tz>() {
            Ok(zone) => Ok(Zone::Named(zone)),
            Err(_) if word.contains('/') => Err(Fault::UnknownZone(word.to_string())),
            Err(_) => Err(Syntax),
        },
    }
}

/// `+HH`, `+HHMM`, `+HH:MM`, `+HH:MM:SS` as seconds east.
fn parse_offset(word: &str) -> Result<i32, Fault> {
    let (sign, body) = word.split_at(1);
    let fields: Vec<&str> = if body.contains(':') || body.len() <= 2 {
        body.split(':').collect()
    } else if body.is_ascii() && body.len() <= 4 {
        let (hours, minutes) = body.split_at(body.len() - 2);
        vec![hours, minutes]
    } else {
        return Err(Syntax);
    };
    if fields.len() > 3 {
        return Err(Syntax);
    }
    let mut seconds = 0;
    for (index, field) in fields.iter().enumerate() {
        let value = digits(field)?;
        if value > if index == 0 { 15 } else { 59 } {
            return Err(Range);
        }
        seconds += i32::try_from(value).map_err(|_| Range)? * [3600, 60, 1][index];
    }
    Ok(if sign == "-" { -seconds } else { seconds })
}

/// A field of digits only, of a length that cannot overflow.
fn digits(field: &str) -> Result<i64, Fault> {
    if field.is_empty() || !field.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Syntax);
    }
    if field.len() > 9 { Err(Range) } else { field.parse().map_err(|_| Syntax) }
}

fn scan_number_word(word: &str, parts: &mut Parts) -> Result<(), Fault> {
    if let Some(at) = word.find(['T', 't']).filter(|at| word[..*at].ends_with(|c: char| c.is_ascii_digit())) {
        let time = &word[at + 1..];
        if time.starts_with(|c: char| c.is_ascii_digit()) && scan_date(&word[..at], parts).is_ok() {
            return scan_time(time, parts);
        }
    }
    let colon = word.find(':');
    if colon.is_some_and(|at| word[..at].bytes().all(|b| b.is_ascii_digit())) {
        return scan_time(word, parts);
    }
    if word.contains(['-', '/', '.']) {
        return scan_date(word, parts);
    }
    let letters = word.find(|c: char| !c.is_ascii_digit());
    if let Some(at) = letters {
        // 4th, 8PM and the like: only the latter is a time.
        let hour = digits(&word[..at])?;
        parts.set_time(hour * 3600 * MICROS_PER_SECOND)?;
        return scan_name(&word[at..], parts);
    }
    match word.len() {
        8 => scan_date(word, parts),
        6 if parts.date.is_some() => scan_time(word, parts),
        1..=7 => {
            parts.loose_numbers.push((digits(word)?, word.len()));
            Ok(())
        }
        _ => Err(Range),
    }
}

/// `1999-01-08`, `1/8/1999`, `19990108`, `08-Jan-1999`, `Jan-08-1999`.
fn scan_date(word: &str, parts: &mut Parts) -> Result<(), Fault> {
    if word.len() == 8 && word.bytes().all(|b| b.is_ascii_digit()) {
        let month = u32::try_from(digits(&word[4..6])?).map_err(|_| Range)?;
        let day = u32::try_from(digits(&word[6..])?).map_err(|_| Range)?;
        return parts.set_date((digits(&word[..4])?, month, day));
    }
    let mut fields = word.split(['-', '/', '.']);
    let (Some(a), Some(b), Some(c), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
        return Err(Syntax);
    };
    let small = |field: &str| u32::try_from(digits(field)?).map_err(|_| Range);
    let date = match (month_of(a), month_of(b)) {
        (Some(month), _) => (full_year(digits(c)?, c.len()), month, small(b)?),
        (_, Some(month)) if a.len() > 2 => (digits(a)?, month, small(c)?),
        (_, Some(month)) => (full_year(digits(c)?, c.len()), month, small(a)?),
        _ if a.len() > 2 => (digits(a)?, small(b)?, small(c)?),
        _ => (full_year(digits(c)?, c.len()), small(a)?, small(b)?),
    };
    parts.set_date(date)
}

/// `HH:MM[:SS[.f]]` or `HHMM[SS]`, with a zone or AM/PM at its end.
fn scan_time(word: &str, parts: &mut Parts) -> Result<(), Fault> {
    let end = word.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(word.len());
    let (clock, suffix) = word.split_at(end);
    parts.set_time(clock_micros(clock)?)?;
    match suffix.as_bytes().first() {
        None => Ok(()),
        Some(b'+' | b'-') => parts.set_zone(Zone::Fixed(parse_offset(suffix)?)),
        Some(_) if suffix.starts_with(|c: char| c.is_ascii_alphabetic()) => scan_name(suffix, parts),
        Some(_) => Err(Syntax),
    }
}

/// Microseconds since midnight. 60 seconds are taken and carried over, hour 24 only as the day's very end.
pub fn clock_text_micros(clock: &str) -> Option<i64> {
    clock_micros(clock).ok()
}

fn clock_micros(clock: &str) -> Result<i64, Fault> {
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut fields = [0_i64; 3];
    if whole.contains(':') {
        let mut count = 0;
        for field in whole.split(':') {
            *fields.get_mut(count).ok_or(Syntax)? = digits(field)?;
            count += 1;
        }
        if count < 2 || (count == 2 && !fraction.is_empty()) {
            return Err(Syntax);
        }
    } else {
        if !whole.is_ascii() || (whole.len() != 4 && whole.len() != 6) {
            return Err(Syntax);
        }
        for (index, field) in fields.iter_mut().enumerate().take(whole.len() / 2) {
            *field = digits(&whole[index * 2..index * 2 + 2])?;
        }
    }
    let [hour, minute, second] = fields;
    if minute > 59 || second > 60 || hour > 24 {
        return Err(Range);
    }
    let micros = (hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + fraction_micros(fraction)?;
    if micros > MICROS_PER_DAY { Err(Range) } else { Ok(micros) }
}

/// The digits after a decimal point as microseconds, rounded.
pub fn fraction_of_second(fraction: &str) -> Option<i64> {
    fraction_micros(fraction).ok()
}

fn fraction_micros(fraction: &str) -> Result<i64, Fault> {
    let mut micros = 0;
    let mut unit = 100_000;
    for (index, byte) in fraction.bytes().enumerate() {
        if !byte.is_ascii_digit() {
            return Err(Syntax);
        }
        let digit = i64::from(byte - b'0');
        micros += digit * unit + i64::from(index == 6 && digit >= 5);
        unit /= 10;
    }
    Ok(micros)
}
