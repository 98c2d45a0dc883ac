//! Rows of text and csv into values.

use super::lines::LineScanner;
use super::{Target, bad_format};
use crate::error::{Error, Result};
use crate::sql::copy_options::{CopyFormat, CopyOptions};
use crate::wire::values::utf8;
use bytes::BytesMut;

/// Reads rows that end with a newline.
pub struct LineRows {
    options: CopyOptions,
    scanner: LineScanner,
    /// Lines of the input up to and with the row last read.
    line: u64,
    skip_header: bool,
    /// `\.` has been seen: what follows is ignored.
    ended: bool,
    scratch: Vec<u8>,
}

impl LineRows {
    pub fn new(options: CopyOptions) -> LineRows {
        let scanner = LineScanner::new(&options);
        let skip_header = options.header;
        LineRows { options, scanner, line: 0, skip_header, ended: false, scratch: Vec::new() }
    }

    /// `partial` holds the beginning of the current row, if it came in earlier pieces.
    pub fn push(&mut self, data: &[u8], partial: &mut BytesMut, target: &mut Target) -> Result<()> {
        let mut rest = data;
        // Only a row cut by a piece's end is ever copied; all others are read where they lie.
        if !partial.is_empty() && !self.ended {
            let Some(end) = self.scanner.scan(rest) else {
                partial.extend_from_slice(rest);
                return Ok(());
            };
            partial.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
            let row = std::mem::take(partial);
            self.row(&row, target)?;
            *partial = row;
            partial.clear();
        }
        while !self.ended {
            let Some(end) = self.scanner.scan(rest) else {
                partial.extend_from_slice(rest);
                break;
            };
            self.row(&rest[..end], target)?;
            rest = &rest[end..];
        }
        Ok(())
    }

    /// A last row may lack its newline.
    pub fn finish(&mut self, partial: &mut BytesMut, target: &mut Target) -> Result<()> {
        if self.ended || partial.is_empty() {
            return Ok(());
        }
        if self.scanner.in_quotes() {
            return Err(target.row_error("unterminated CSV quoted field", self.line + 1, None));
        }
        let row = std::mem::take(partial);
        self.row(&row, target)
    }

    fn row(&mut self, raw: &[u8], target: &mut Target) -> Result<()> {
        self.line += 1;
        let first_line = self.line;
        self.line += self.scanner.lines_inside;
        self.scanner.next_row();
        let row = raw.strip_suffix(b"\n").unwrap_or(raw);
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        if std::mem::take(&mut self.skip_header) {
            return Ok(());
        }
        if row == b"\\." {
            self.ended = true;
            return Ok(());
        }
        let text = utf8(row).map_err(|e| e.with_detail(format!("COPY {}, line {first_line}", target.table)))?;
        let plain = self.options.format != CopyFormat::Csv && !row.iter().any(|b| matches!(b, b'\\' | b'\r'));
        Row { text, line: first_line, options: &self.options, plain }.read(&mut self.scratch, target)?;
        target.end_row()
    }
}

/// One row, without its end of line.
struct Row<'a> {
    text: &'a str,
    line: u64,
    options: &'a CopyOptions,
    /// Text format without a backslash: nothing can be escaped.
    plain: bool,
}

/// What one field holds.
enum Found {
    Null,
    /// The text up to the field's end, as it stands.
    Raw,
    /// The scratch buffer.
    Unescaped,
}

impl Row<'_> {
    fn read(&self, scratch: &mut Vec<u8>, target: &mut Target) -> Result<()> {
        let columns = target.columns();
        let mut start = if columns == 0 && self.text.is_empty() { None } else { Some(0) };
        for column in 0..columns {
            let from = start.ok_or_else(|| target.missing_column(self.line, column, self.text))?;
            let in_row = |e: Error| target.row_error(e.message().to_string(), self.line, Some(self.text));
            let (found, end) = match self.options.format {
                CopyFormat::Csv => self.csv_field(from, scratch).map_err(in_row)?,
                CopyFormat::Text | CopyFormat::Binary => self.text_field(from, scratch).map_err(in_row)?,
            };
            let value = match found {
                Found::Null => None,
                // Only a delimiter that is no ASCII character could cut one in two.
                Found::Raw => Some(
                    self.text
                        .get(from..end.unwrap_or(self.text.len()))
                        .ok_or_else(|| in_row(bad_format("the delimiter is not an ASCII character")))?,
                ),
                Found::Unescaped => Some(utf8(scratch).map_err(|e| target.at_value(e, self.line, column, None))?),
            };
            if let Err(error) = target.builder.push_text(column, value) {
                return Err(target.at_value(error, self.line, column, value));
            }
            start = end.map(|at| at + 1);
        }
        match start {
            None => Ok(()),
            Some(_) => Err(target.row_error("extra data after last expected column", self.line, Some(self.text))),
        }
    }

    /// Reads the field that begins at `from`; returns also where the delimiter behind it stands.
    fn text_field(&self, from: usize, scratch: &mut Vec<u8>) -> Result<(Found, Option<usize>)> {
        let bytes = self.text.as_bytes();
        let end = if self.plain {
            bytes[from..].iter().position(|b| *b == self.options.delimiter).map(|n| from + n)
        } else {
            self.escaped_field_end(from)?
        };
        let raw = &bytes[from..end.unwrap_or(bytes.len())];
        let found = if raw == self.options.null.as_bytes() {
            Found::Null
        } else if self.plain || !raw.contains(&b'\\') {
            Found::Raw
        } else {
            scratch.clear();
            unescape(raw, scratch);
            Found::Unescaped
        };
        Ok((found, end))
    }

    /// The position of the delimiter that ends the field, not counting escaped ones.
    fn escaped_field_end(&self, from: usize) -> Result<Option<usize>> {
        let bytes = self.text.as_bytes();
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            if byte == self.options.delimiter {
                return Ok(Some(at));
            }
            if byte == b'\r' {
                return Err(bad_format("literal carriage return found in data"));
            }
            at += if byte == b'\\' { 2 } else { 1 };
        }
        Ok(None)
    }

    fn csv_field(&self, from: usize, scratch: &mut Vec<u8>) -> Result<(Found, Option<usize>)> {
        let bytes = self.text.as_bytes();
        let (delimiter, quote) = (self.options.delimiter, self.options.quote);
        let first = bytes[from..].iter().position(|b| *b == delimiter || *b == quote).map(|n| from + n);
        if first.is_none_or(|at| bytes[at] == delimiter) {
            let raw = &bytes[from..first.unwrap_or(bytes.len())];
            let found = if raw == self.options.null.as_bytes() { Found::Null } else { Found::Raw };
            return Ok((found, first));
        }
        // A field with quotes anywhere in it is never NULL.
        scratch.clear();
        let end = unquote(&bytes[from..], self.options, scratch)?.map(|n| from + n);
        Ok((Found::Unescaped, end))
    }
}

/// Takes the backslash sequences of the text format out of `raw`.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let digit = |byte: Option<&u8>, radix: u32| byte.and_then(|b| char::from(*b).to_digit(radix));
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(&escaped) = raw.get(at) else {
            out.push(byte);
            break;
        };
        at += 1;
        let (radix, digits_max, mut value) = match escaped {
            b'b' => (0, 0, 8),
            b'f' => (0, 0, 12),
            b'n' => (0, 0, 10),
            b'r' => (0, 0, 13),
            b't' => (0, 0, 9),
            b'v' => (0, 0, 11),
            b'0'..=b'7' => (8, 2, u32::from(escaped - b'0')),
            b'x' if digit(raw.get(at), 16).is_some() => (16, 2, 0),
            other => (0, 0, u32::from(other)),
        };
        for _ in 0..digits_max {
            match digit(raw.get(at), radix) {
                Some(digit) => {
                    value = value * radix + digit;
                    at += 1;
                }
                None => break,
            }
        }
        // Three octal digits may say more than a byte holds: PostgreSQL keeps the low eight bits.
        out.push((value & 0xff) as u8);
    }
}

/// Reads a csv field with quotes in it; returns where the delimiter behind it stands.
fn unquote(bytes: &[u8], options: &CopyOptions, out: &mut Vec<u8>) -> Result<Option<usize>> {
    let mut in_quotes = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escapes_next = in_quotes
            && byte == options.escape
            && bytes.get(at + 1).is_some_and(|n| [options.quote, options.escape].contains(n));
        if escapes_next {
            out.push(bytes[at + 1]);
            at += 2;
            continue;
        }
        if byte == options.quote {
            in_quotes = !in_quotes;
        } else if byte == options.delimiter && !in_quotes {
            return Ok(Some(at));
        } else {
            out.push(byte);
        }
        at += 1;
    }
    if in_quotes { Err(bad_format("unterminated CSV quoted field")) } else { Ok(None) }
}
