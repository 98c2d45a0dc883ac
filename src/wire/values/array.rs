//! Array literals: `{a,"b c",NULL}`. PostgreSQL documentation, 8.15.2 and 8.15.6. One dimension only, the lower
//! bound is 1: Arrow lists know no others.

use super::is_space;
use crate::error::{Error, Result, codes};
use bytes::{BufMut, BytesMut};

fn malformed(text: &str) -> Error {
    Error::new(codes::INVALID_TEXT, format!("malformed array literal: \"{text}\""))
}

/// Calls `element` with each element in order, `None` for an unquoted NULL.
/// Errors: `22P02` malformed, `0A000` for more than one dimension.
pub fn parse_elements(text: &str, mut element: impl FnMut(Option<&str>) -> Result<()>) -> Result<()> {
    let trimmed = text.trim_matches(is_space);
    if trimmed.starts_with('[') {
        return Err(Error::unsupported("array literals with explicit bounds are not supported"));
    }
    let inner = trimmed
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .ok_or_else(|| malformed(text).with_detail("Array value must start with \"{\" and end with \"}\"."))?;
    if inner.trim_matches(is_space).is_empty() {
        return Ok(());
    }
    let mut scratch = String::new();
    let mut rest = inner;
    loop {
        let (quoted, after) = parse_element(rest, &mut scratch, text)?;
        let null = !quoted && scratch.eq_ignore_ascii_case("null");
        element(if null { None } else { Some(&scratch) })?;
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(()),
            None => return Err(malformed(text)),
        }
    }
}

/// Reads one element into `scratch`; returns whether it was quoted and what follows it.
fn parse_element<'a>(rest: &'a str, scratch: &mut String, whole: &str) -> Result<(bool, &'a str)> {
    scratch.clear();
    let rest = rest.trim_start_matches(is_space);
    let quoted = rest.starts_with('"');
    let body = if quoted { &rest[1..] } else { rest };
    // Spaces at the end of an unquoted element do not count, unless escaped.
    let mut keep = 0;
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                let (_, escaped) = characters.next().ok_or_else(|| malformed(whole))?;
                scratch.push(escaped);
                keep = scratch.len();
            }
            '"' if quoted => return Ok((true, body[at + 1..].trim_start_matches(is_space))),
            '{' if !quoted => return Err(Error::unsupported("multidimensional arrays are not supported")),
            '"' | '}' if !quoted => return Err(malformed(whole)),
            ',' if !quoted => {
                scratch.truncate(keep);
                return finish_unquoted(scratch, &body[at..], whole);
            }
            c => {
                scratch.push(c);
                if quoted || !is_space(c) {
                    keep = scratch.len();
                }
            }
        }
    }
    if quoted {
        return Err(malformed(whole));
    }
    scratch.truncate(keep);
    finish_unquoted(scratch, "", whole)
}

fn finish_unquoted<'a>(scratch: &str, after: &'a str, whole: &str) -> Result<(bool, &'a str)> {
    if scratch.is_empty() { Err(malformed(whole)) } else { Ok((false, after)) }
}

/// Appends one element's text, quoted where it would otherwise read as something else.
pub fn write_element(text: &[u8], out: &mut BytesMut) {
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r');
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(special) {
        return out.put_slice(text);
    }
    out.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

/// Header of an array's binary form: one dimension of `count` elements (none for an empty array).
pub fn write_binary_header(count: usize, has_null: bool, element_oid: u32, out: &mut BytesMut) -> Result<()> {
    let count = i32::try_from(count).map_err(|_| Error::new(codes::NUMERIC_OUT_OF_RANGE, "array is too long"))?;
    out.put_i32(i32::from(count > 0));
    out.put_i32(i32::from(has_null));
    out.put_u32(element_oid);
    if count > 0 {
        out.put_i32(count);
        out.put_i32(1);
    }
    Ok(())
}

/// Calls `element` with each element's binary form. Errors: `22P03`, `0A000`.
pub fn read_binary_elements(bytes: &[u8], mut element: impl FnMut(Option<&[u8]>) -> Result<()>) -> Result<()> {
    let mut rest = bytes;
    let dimensions = take_i32(&mut rest)?;
    take_i32(&mut rest)?;
    take_i32(&mut rest)?;
    match dimensions {
        0 => return Ok(()),
        1 => {}
        _ => return Err(Error::unsupported("multidimensional arrays are not supported")),
    }
    let count = take_i32(&mut rest)?;
    take_i32(&mut rest)?;
    for _ in 0..count {
        let length = take_i32(&mut rest)?;
        let Ok(length) = usize::try_from(length) else {
            element(None)?;
            continue;
        };
        let (value, after) = rest.split_at_checked(length).ok_or_else(|| super::invalid_binary("array"))?;
        element(Some(value))?;
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(super::invalid_binary("array")) }
}

fn take_i32(rest: &mut &[u8]) -> Result<i32> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| super::invalid_binary("array"))?;
    *rest = tail;
    Ok(i32::from_be_bytes(*head))
}
