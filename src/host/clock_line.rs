//! A clock that is wrong in an orderly way: what it shows is a line over true time.
//!
//! As text it is one line of three whole numbers, which is how the real worlds tell a server's clock what to show.

use std::fmt;
use std::str::FromStr;

/// The line goes through the point where the clock was last changed, so that no change makes it jump that was not asked
/// to. The default is a true clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockLine {
    /// True time of the last change, in microseconds since 1970-01-01 UTC.
    pub changed_at_micros: i64,
    /// What the clock showed then.
    pub shown_then_micros: i64,
    /// Microseconds gained for each second of true time; negative loses.
    pub drift_ppm: i64,
}

const MILLION: i128 = 1_000_000;

impl ClockLine {
    /// Microseconds since 1970 that this clock shows at the true time `true_micros`; saturates.
    pub fn read(&self, true_micros: i64) -> i64 {
        let passed = i128::from(true_micros) - i128::from(self.changed_at_micros);
        let gained = passed * i128::from(self.drift_ppm) / MILLION;
        let shown = i128::from(self.shown_then_micros) + passed + gained;
        i64::try_from(shown).unwrap_or(if shown < 0 { i64::MIN } else { i64::MAX })
    }
}

impl fmt::Display for ClockLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.changed_at_micros, self.shown_then_micros, self.drift_ppm)
    }
}

impl FromStr for ClockLine {
    type Err = String;

    fn from_str(text: &str) -> Result<ClockLine, String> {
        let numbers: Option<Vec<i64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[changed_at_micros, shown_then_micros, drift_ppm]) => {
                Ok(ClockLine { changed_at_micros, shown_then_micros, drift_ppm })
            }
            _ => Err(format!("bad clock \"{}\", expected: CHANGED_AT_MICROS SHOWN_THEN_MICROS DRIFT_PPM", text.trim())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_shows_what_it_says() {
        let line: ClockLine = "1000000 5000000 500\n".parse().unwrap();
        assert_eq!(line.to_string().parse(), Ok(line));
        assert_eq!(line.read(3_000_000), 7_001_000);
        assert_eq!(ClockLine::default().read(42), 42);
        for bad in ["", "1 2", "1 2 3 4", "now 2 3"] {
            assert!(bad.parse::<ClockLine>().unwrap_err().contains("expected: CHANGED_AT_MICROS"), "{bad}");
        }
    }
}
