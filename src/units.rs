//! Quantities as people write them on command lines and in scenario files.

use std::time::Duration;

/// `500ms`, `10s`, `5m`, `2h`, `1d`. Errors say what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let form = || format!("bad duration \"{text}\", expected for example 500ms, 10s, 5m, 2h or 1d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
    let number: u64 = text[..digits].parse().map_err(|_| form())?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(form()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(form)
}
