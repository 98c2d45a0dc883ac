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

/// `512B`, `64kB`, `4MB`, of a thousand each. Errors say what was expected.
pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let form = || format!("bad size \"{text}\", expected for example 512B, 64kB or 4MB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
    let number: u64 = text[..digits].parse().map_err(|_| form())?;
    let (_, unit) = SIZES.iter().find(|(name, _)| *name == &text[digits..]).ok_or_else(form)?;
    number.checked_mul(*unit).ok_or_else(form)
}

const SIZES: [(&str, u64); 3] = [("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

/// As [`bytes`] reads it, in the largest unit that fits.
pub fn exact_bytes(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
    let (name, unit) = SIZES.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_they_were_written() {
        for text in ["0B", "512B", "64kB", "1500kB", "4MB"] {
            assert_eq!(exact_bytes(bytes(text).unwrap()), text);
        }
        assert_eq!(exact_bytes(bytes("4000kB").unwrap()), "4MB");
        assert!(bytes("5").unwrap_err().contains("expected for example 512B"));
        assert!(bytes("5KiB").is_err());
    }

    #[test]
    fn durations_read_back_as_they_were_written() {
        for text in ["0s", "1us", "1500ms", "90s", "5m", "2h", "30d"] {
            assert_eq!(exact(duration(text).unwrap()), text);
        }
        assert_eq!(exact(duration("60s").unwrap()), "1m");
        assert!(duration("5").unwrap_err().contains("expected for example 500ms"));
    }
}
