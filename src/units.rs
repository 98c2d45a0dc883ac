//! Quantities as people write them on command lines and in scenario files.

use std::time::Duration;

/// `250us`, `500ms`, `10s`, `5m`, `2h`, `1d`. Errors say what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let form = || format!("bad duration \"{text}\", expected for example 500ms, 10s, 5m, 2h or 1d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
    let number: u64 = text[..digits].parse().map_err(|_| form())?;
    let (_, micros) = UNITS.iter().find(|(unit, _)| *unit == &text[digits..]).ok_or_else(form)?;
    number.checked_mul(*micros).map(Duration::from_micros).ok_or_else(form)
}

/// Units of time and their microseconds, longest first.
const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// As [`duration`] reads it, to the microsecond, in the longest unit that fits: `90s`, `1500ms`, `0s`.
pub fn exact(duration: Duration) -> String {
    let micros = duration.as_micros() as u64;
    let fits = |(_, unit): &&(&str, u64)| micros > 0 && micros.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().find(fits).unwrap_or(&("s", 1_000_000));
    format!("{}{name}", micros / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_they_were_written() {
        for text in ["0s", "1us", "1500ms", "90s", "5m", "2h", "30d"] {
            assert_eq!(exact(duration(text).unwrap()), text);
        }
        assert_eq!(exact(duration("60s").unwrap()), "1m");
        assert!(duration("5").unwrap_err().contains("expected for example 500ms"));
    }
}
