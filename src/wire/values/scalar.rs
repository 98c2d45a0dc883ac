//! boolean, bytea, uuid, json, text.

use super::number::CHARACTER_NOT_IN_REPERTOIRE;
use super::{invalid_text, trim};
use crate::error::{Error, Result, codes};
use bytes::{BufMut, BytesMut};

/// Any unique beginning of true, false, yes, no, on, off; 1 and 0. Errors: `22P02`.
pub fn parse_bool(text: &str) -> Result<bool> {
    let word = trim(text);
    let begins = |whole: &str, shortest: usize| {
        word.len() >= shortest
            && word.len() <= whole.len()
            && whole.as_bytes()[..word.len()].eq_ignore_ascii_case(word.as_bytes())
    };
    if begins("true", 1) || begins("yes", 1) || begins("on", 2) || word == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid_text("boolean", text))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

pub fn write_bytea(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(2 + bytes.len() * 2);
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Both the hex (`\x6869`) and the escape (`hi\000`) form. Errors: `22P02`, `22023` for bad hex.
pub fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escaped(text.as_bytes())
            .ok_or_else(|| Error::new(codes::INVALID_TEXT, "invalid input syntax for type bytea")),
    }
}

fn parse_hex(hex: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(hex.len() / 2);
    let mut high = None;
    for c in hex.chars() {
        let Some(digit) = c.to_digit(16).and_then(|d| u8::try_from(d).ok()) else {
            // Spaces are allowed between bytes, not inside one.
            if high.is_none() && c.is_ascii_whitespace() {
                continue;
            }
            return Err(Error::new(codes::INVALID_PARAMETER_VALUE, format!("invalid hexadecimal digit: \"{c}\"")));
        };
        match high.take() {
            None => high = Some(digit),
            Some(first) => bytes.push(first << 4 | digit),
        }
    }
    match high {
        None => Ok(bytes),
        Some(_) => Err(Error::new(codes::INVALID_PARAMETER_VALUE, "invalid hexadecimal data: odd number of digits")),
    }
}

fn parse_escaped(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    loop {
        text = match text {
            [] => return Some(bytes),
            [b'\\', b'\\', rest @ ..] => {
                bytes.push(b'\\');
                rest
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            [b'\\', ..] => return None,
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

/// The canonical form (lower case, hyphens); braces and other groupings are taken. Errors: `22P02`.
pub fn parse_uuid(text: &str) -> Result<uuid::Uuid> {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let mut digits = [0_u8; 32];
    let mut count = 0;
    for byte in inner.bytes() {
        match byte {
            // A hyphen may follow each group of four digits.
            b'-' if count > 0 && count % 4 == 0 && count < 32 => {}
            _ if byte.is_ascii_hexdigit() && count < 32 => {
                digits[count] = byte;
                count += 1;
            }
            _ => return Err(invalid_text("uuid", text)),
        }
    }
    if count < 32 {
        return Err(invalid_text("uuid", text));
    }
    uuid::Uuid::try_parse_ascii(&digits).map_err(|_| invalid_text("uuid", text))
}

/// Errors: `22P02` with serde's reason as DETAIL.
pub fn check_json(text: &str) -> Result<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(|_| ())
        .map_err(|e| Error::new(codes::INVALID_TEXT, "invalid input syntax for type json").with_detail(e.to_string()))
}

/// Errors: `22021` for a NUL, which no text type can hold.
pub fn check_text(text: &str) -> Result<&str> {
    if text.as_bytes().contains(&0) {
        return Err(Error::new(CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\": 0x00"));
    }
    Ok(text)
}

/// Errors: `22021` naming the first bad byte.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let bad = bytes.get(e.valid_up_to()).copied().unwrap_or_default();
        Error::new(CHARACTER_NOT_IN_REPERTOIRE, format!("invalid byte sequence for encoding \"UTF8\": {bad:#04x}"))
    })
}
