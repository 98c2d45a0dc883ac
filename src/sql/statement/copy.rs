//! COPY, in the syntax of today and of PostgreSQL before 9.0 (which psql's `\copy … csv header` still produces).

use super::tokens::Cursor;
use super::{Copy, CopyDirection, CopyTarget, Kind};
use crate::error::{Error, Result, codes};
use crate::sql::copy_options::{CopyFormat, CopyOptions};
use sqlparser::tokenizer::Token;

pub fn copy(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.expect_keyword("COPY")?;
    let mut given = Given::default();
    if cursor.at_keyword("BINARY") && !matches!(cursor.word_at(1).as_deref(), Some("FROM" | "TO") | None) {
        cursor.at += 1;
        given.format = Some(CopyFormat::Binary);
    }
    let target = if cursor.peek() == Some(&Token::LParen) {
        let inside = cursor.parenthesised()?;
        CopyTarget::Query(cursor.tokens.parse(&inside, |parser| parser.parse_query())?)
    } else {
        let name = cursor.object_name()?;
        let columns = if cursor.peek() == Some(&Token::LParen) { column_list(cursor)? } else { Vec::new() };
        CopyTarget::Table { name, columns }
    };
    let direction = if cursor.keyword("FROM") {
        if matches!(target, CopyTarget::Query(_)) {
            return Err(cursor.tokens.error_at(cursor.at - 1));
        }
        CopyDirection::FromStdin
    } else {
        cursor.expect_keyword("TO")?;
        CopyDirection::ToStdout
    };
    // PostgreSQL, too, takes either word in either direction.
    if !cursor.keyword("STDIN") && !cursor.keyword("STDOUT") {
        if cursor.at_keyword("PROGRAM") || matches!(cursor.peek(), Some(Token::SingleQuotedString(_))) {
            return Ok(Kind::Unsupported("COPY with a file or program on the server (use psql's \\copy)".into()));
        }
        return Err(cursor.error());
    }
    options(cursor, &mut given)?;
    if cursor.at_keyword("WHERE") {
        return Ok(Kind::Unsupported("COPY with a WHERE clause".into()));
    }
    cursor.finish()?;
    Ok(Kind::Copy(Copy { target, direction, options: given.resolve()? }))
}

fn column_list(cursor: &mut Cursor<'_, '_>) -> Result<Vec<String>> {
    cursor.expect_token(&Token::LParen)?;
    let mut columns = Vec::new();
    loop {
        columns.push(cursor.name()?);
        if cursor.token(&Token::RParen) {
            return Ok(columns);
        }
        cursor.expect_token(&Token::Comma)?;
    }
}

/// Options as written; `None` where the format's default holds.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<bool>,
    quote: Option<String>,
    escape: Option<String>,
}

fn options(cursor: &mut Cursor<'_, '_>, given: &mut Given) -> Result<()> {
    let _ = cursor.keyword("WITH");
    if cursor.token(&Token::LParen) {
        loop {
            new_option(cursor, given)?;
            if cursor.token(&Token::RParen) {
                return Ok(());
            }
            cursor.expect_token(&Token::Comma)?;
        }
    }
    while !cursor.finished() && !cursor.at_keyword("WHERE") {
        old_option(cursor, given)?;
    }
    Ok(())
}

fn new_option(cursor: &mut Cursor<'_, '_>, given: &mut Given) -> Result<()> {
    let name = cursor.name()?;
    match name.as_str() {
        "format" => given.format = Some(format_named(&word_or_string(cursor)?)?),
        "delimiter" => given.delimiter = Some(word_or_string(cursor)?),
        "null" => given.null = Some(word_or_string(cursor)?),
        "quote" => given.quote = Some(word_or_string(cursor)?),
        "escape" => given.escape = Some(word_or_string(cursor)?),
        "header" => given.header = Some(header_switch(cursor)?),
        "freeze" => {
            header_switch(cursor)?;
        }
        "encoding" => {
            let encoding = word_or_string(cursor)?;
            if !encoding.to_lowercase().replace('-', "").eq("utf8") {
                return Err(Error::unsupported(format!("COPY in encoding \"{encoding}\" is not supported"))
                    .with_hint("Only UTF8 is."));
            }
        }
        "force_quote" | "force_not_null" | "force_null" => {
            return Err(Error::unsupported(format!("COPY option \"{name}\" is not supported")));
        }
        _ => return Err(Error::new(codes::SYNTAX_ERROR, format!("option \"{name}\" not recognized"))),
    }
    Ok(())
}

fn old_option(cursor: &mut Cursor<'_, '_>, given: &mut Given) -> Result<()> {
    if cursor.keyword("BINARY") {
        given.format = Some(CopyFormat::Binary);
    } else if cursor.keyword("CSV") {
        given.format = Some(CopyFormat::Csv);
    } else if cursor.keyword("HEADER") {
        given.header = Some(true);
    } else if cursor.keyword("FREEZE") {
    } else if cursor.keyword("DELIMITER") {
        given.delimiter = Some(old_value(cursor)?);
    } else if cursor.keyword("NULL") {
        given.null = Some(old_value(cursor)?);
    } else if cursor.keyword("QUOTE") {
        given.quote = Some(old_value(cursor)?);
    } else if cursor.keyword("ESCAPE") {
        given.escape = Some(old_value(cursor)?);
    } else {
        return Err(cursor.error());
    }
    Ok(())
}

fn old_value(cursor: &mut Cursor<'_, '_>) -> Result<String> {
    let _ = cursor.keyword("AS");
    cursor.string()
}

fn word_or_string(cursor: &mut Cursor<'_, '_>) -> Result<String> {
    match cursor.peek() {
        Some(Token::Word(_)) => cursor.name(),
        _ => cursor.string(),
    }
}

fn header_switch(cursor: &mut Cursor<'_, '_>) -> Result<bool> {
    let value = match cursor.peek() {
        Some(Token::Comma | Token::RParen) | None => return Ok(true),
        Some(Token::Number(number, _)) => {
            cursor.at += 1;
            number.clone()
        }
        _ => word_or_string(cursor)?.to_lowercase(),
    };
    match value.as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        "match" => Err(Error::unsupported("COPY option HEADER MATCH is not supported")),
        _ => Err(Error::new(codes::SYNTAX_ERROR, "header requires a Boolean value or \"match\"")),
    }
}

fn format_named(name: &str) -> Result<CopyFormat> {
    match name {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        _ => Err(Error::new(codes::INVALID_PARAMETER_VALUE, format!("COPY format \"{name}\" not recognized"))),
    }
}

impl Given {
    /// The checks and messages are those of PostgreSQL's `ProcessCopyOptions`.
    fn resolve(self) -> Result<CopyOptions> {
        let format = self.format.unwrap_or_default();
        let mut options = CopyOptions::new(format);
        let syntax = |message: &str| Err(Error::new(codes::SYNTAX_ERROR, message));
        if format == CopyFormat::Binary {
            if self.delimiter.is_some() {
                return syntax("cannot specify DELIMITER in BINARY mode");
            }
            if self.null.is_some() {
                return syntax("cannot specify NULL in BINARY mode");
            }
            if self.header == Some(true) {
                return Err(Error::unsupported("cannot specify HEADER in BINARY mode"));
            }
        }
        if format != CopyFormat::Csv {
            if self.quote.is_some() {
                return Err(Error::unsupported("COPY quote available only in CSV mode"));
            }
            if self.escape.is_some() {
                return Err(Error::unsupported("COPY escape available only in CSV mode"));
            }
        }
        if let Some(delimiter) = self.delimiter {
            options.delimiter = single_byte("delimiter", &delimiter)?;
        }
        if let Some(quote) = self.quote {
            options.quote = single_byte("quote", &quote)?;
            options.escape = options.quote;
        }
        if let Some(escape) = self.escape {
            options.escape = single_byte("escape", &escape)?;
        }
        if let Some(null) = self.null {
            if null.contains(['\n', '\r']) {
                return Err(Error::new(
                    codes::INVALID_PARAMETER_VALUE,
                    "COPY null representation cannot use newline or carriage return",
                ));
            }
            options.null = null;
        }
        options.header = self.header.unwrap_or(false);
        let invalid = |message: &str| Err(Error::new(codes::INVALID_PARAMETER_VALUE, message));
        if matches!(options.delimiter, b'\n' | b'\r') {
            return invalid("COPY delimiter cannot be newline or carriage return");
        }
        if format == CopyFormat::Csv && options.delimiter == options.quote {
            return invalid("COPY delimiter and quote must be different");
        }
        if format == CopyFormat::Text && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&options.delimiter) {
            return invalid(&format!("COPY delimiter cannot be \"{}\"", char::from(options.delimiter)));
        }
        Ok(options)
    }
}

fn single_byte(what: &str, value: &str) -> Result<u8> {
    match value.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(Error::unsupported(format!("COPY {what} must be a single one-byte character"))),
    }
}
