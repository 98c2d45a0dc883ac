//! A query string as tokens that know where they stand.
//!
//! Every token's span is rewritten to "line 1, column = character in the whole string": errors and syntax-tree
//! spans then carry PostgreSQL's positions without further arithmetic.

use crate::error::{Error, Result, codes};
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

/// The tokens of a query string, white space and comments left out.
pub struct Tokens<'a> {
    source: &'a str,
    tokens: Vec<TokenWithSpan>,
    /// Byte range of each token in `source`.
    bytes: Vec<(usize, usize)>,
}

static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

impl<'a> Tokens<'a> {
    pub fn new(source: &'a str) -> Result<Tokens<'a>> {
        let raw = Tokenizer::new(&DIALECT, source).tokenize_with_location().map_err(|e| {
            let (character, byte) = Walker::new(source).advance(e.location);
            let rest: String = source[byte..].chars().take(40).collect();
            let what = if e.message.contains("Unterminated") {
                if rest.starts_with('"') { "unterminated quoted identifier" } else { "unterminated quoted string" }
            } else {
                "syntax error"
            };
            Error::new(codes::SYNTAX_ERROR, format!("{what} at or near \"{rest}\"")).with_position(character + 1)
        })?;
        let mut walker = Walker::new(source);
        let mut tokens = Vec::with_capacity(raw.len());
        let mut bytes: Vec<(usize, usize)> = Vec::with_capacity(raw.len());
        // Tokens lie side by side, white space included: one's end is the next one's start.
        let mut open: Option<usize> = None;
        for token in raw {
            let (character, byte) = walker.advance(token.span.start);
            if let Some(index) = open.take() {
                bytes[index].1 = byte;
            }
            if matches!(token.token, Token::Whitespace(_) | Token::EOF) {
                continue;
            }
            open = Some(bytes.len());
            bytes.push((byte, source.len()));
            let start = Location { line: 1, column: u64::from(character) + 1 };
            tokens.push(TokenWithSpan::new(token.token, Span { start, end: start }));
        }
        Ok(Tokens { source, tokens, bytes })
    }

    /// Ranges of tokens between top-level semicolons. Ranges without tokens are left out.
    pub fn statements(&self) -> Vec<std::ops::Range<usize>> {
        let mut ranges = Vec::new();
        let mut start = 0;
        for (index, token) in self.tokens.iter().enumerate() {
            if token.token == Token::SemiColon {
                ranges.push(start..index);
                start = index + 1;
            }
        }
        ranges.push(start..self.tokens.len());
        ranges.retain(|range| !range.is_empty());
        ranges
    }

    /// The source text of a range of tokens.
    pub fn text(&self, range: &std::ops::Range<usize>) -> &'a str {
        if range.is_empty() {
            return "";
        }
        &self.source[self.bytes[range.start].0..self.bytes[range.end - 1].1]
    }

    /// `syntax error at or near …` for the token at `index`.
    pub fn error_at(&self, index: usize) -> Error {
        match self.tokens.get(index) {
            Some(token) => {
                let (start, end) = self.bytes[index];
                let position = u32::try_from(token.span.start.column).unwrap_or(u32::MAX);
                Error::new(codes::SYNTAX_ERROR, format!("syntax error at or near \"{}\"", &self.source[start..end]))
                    .with_position(position)
            }
            None => {
                let end = self.source.trim_end().chars().count();
                Error::new(codes::SYNTAX_ERROR, "syntax error at end of input")
                    .with_position(u32::try_from(end + 1).unwrap_or(u32::MAX))
            }
        }
    }

    /// Runs sqlparser over `range`, which it must use up.
    pub fn parse<T>(
        &self,
        range: &std::ops::Range<usize>,
        parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<T> {
        let tokens = self.tokens[range.clone()].to_vec();
        let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
        let parsed = parse(&mut parser).map_err(|e| self.parser_error(&e, range))?;
        let rest = parser.peek_token();
        if rest.token == Token::EOF {
            return Ok(parsed);
        }
        Err(self.error_at(self.index_of(rest.span.start.column, range)))
    }

    fn index_of(&self, column: u64, range: &std::ops::Range<usize>) -> usize {
        let found = self.tokens[range.clone()].partition_point(|token| token.span.start.column < column);
        range.start + found
    }

    /// sqlparser tells the place only in its message's tail: `… at Line: 1, Column: 8`.
    fn parser_error(&self, error: &ParserError, range: &std::ops::Range<usize>) -> Error {
        let message = match error {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
            ParserError::RecursionLimitExceeded => {
                return Error::new(crate::error::SqlState::new("54001"), "stack depth limit exceeded")
                    .with_hint("Nest expressions and subqueries less deeply.");
            }
        };
        let column = message.rsplit_once("Column: ").and_then(|(_, column)| column.trim().parse::<u64>().ok());
        match column {
            Some(0) | None if message.contains("found: EOF") => self.error_at(range.end),
            Some(column) if column > 0 => self.error_at(self.index_of(column, range)),
            _ => Error::new(codes::SYNTAX_ERROR, message.clone()),
        }
    }
}

/// Turns tokenizer locations, which only grow, into character and byte offsets in one pass.
struct Walker<'a> {
    chars: std::iter::Peekable<std::str::CharIndices<'a>>,
    length: usize,
    line: u64,
    column: u64,
    character: u32,
}

impl<'a> Walker<'a> {
    fn new(source: &'a str) -> Walker<'a> {
        Walker { chars: source.char_indices().peekable(), length: source.len(), line: 1, column: 1, character: 0 }
    }

    fn advance(&mut self, to: Location) -> (u32, usize) {
        while (self.line, self.column) < (to.line, to.column) {
            let Some((_, c)) = self.chars.next() else { break };
            self.character += 1;
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        (self.character, self.chars.peek().map_or(self.length, |(byte, _)| *byte))
    }
}

/// Reads the tokens of one statement by hand, where sqlparser's grammar falls short of PostgreSQL's.
pub struct Cursor<'t, 'a> {
    pub tokens: &'t Tokens<'a>,
    pub at: usize,
    pub end: usize,
}

impl<'t, 'a> Cursor<'t, 'a> {
    pub fn new(tokens: &'t Tokens<'a>, range: std::ops::Range<usize>) -> Cursor<'t, 'a> {
        Cursor { tokens, at: range.start, end: range.end }
    }

    pub fn rest(&self) -> std::ops::Range<usize> {
        self.at..self.end
    }

    pub fn peek(&self) -> Option<&'t Token> {
        self.peek_at(0)
    }

    pub fn peek_at(&self, offset: usize) -> Option<&'t Token> {
        let index = self.at + offset;
        (index < self.end).then(|| &self.tokens.tokens[index].token)
    }

    /// The word at `offset` in upper case, if it is one without quotes.
    pub fn word_at(&self, offset: usize) -> Option<String> {
        match self.peek_at(offset) {
            Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
            _ => None,
        }
    }

    pub fn at_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword))
    }

    /// Takes `keyword` if it stands here.
    pub fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.at_keyword(keyword);
        self.at += usize::from(found);
        found
    }

    /// Takes all of `keywords` or none.
    pub fn keywords(&mut self, keywords: &[&str]) -> bool {
        let before = self.at;
        let found = keywords.iter().all(|keyword| self.keyword(keyword));
        if !found {
            self.at = before;
        }
        found
    }

    pub fn expect_keyword(&mut self, keyword: &str) -> Result<()> {
        if self.keyword(keyword) { Ok(()) } else { Err(self.error()) }
    }

    pub fn token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    pub fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.token(token) { Ok(()) } else { Err(self.error()) }
    }

    /// An identifier as written.
    pub fn ident(&mut self) -> Result<Ident> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let span = self.tokens.tokens[self.at].span;
                self.at += 1;
                Ok(word.clone().into_ident(span))
            }
            _ => Err(self.error()),
        }
    }

    /// An identifier, folded.
    pub fn name(&mut self) -> Result<String> {
        Ok(super::fold(&self.ident()?))
    }

    pub fn object_name(&mut self) -> Result<ObjectName> {
        let mut parts = vec![ObjectNamePart::Identifier(self.ident()?)];
        while self.token(&Token::Period) {
            parts.push(ObjectNamePart::Identifier(self.ident()?));
        }
        Ok(ObjectName(parts))
    }

    pub fn string(&mut self) -> Result<String> {
        let text = match self.peek() {
            Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) => text.clone(),
            Some(Token::DollarQuotedString(text)) => text.value.clone(),
            _ => return Err(self.error()),
        };
        self.at += 1;
        Ok(text)
    }

    /// Skips `( … )` or up to the next `)`: returns the range inside. The cursor stands behind the `)` then.
    pub fn parenthesised(&mut self) -> Result<std::ops::Range<usize>> {
        self.expect_token(&Token::LParen)?;
        let start = self.at;
        let mut depth = 1;
        while let Some(token) = self.peek() {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(start..self.at - 1);
            }
        }
        Err(self.error())
    }

    pub fn finished(&self) -> bool {
        self.at >= self.end
    }

    pub fn finish(&self) -> Result<()> {
        if self.finished() { Ok(()) } else { Err(self.error()) }
    }

    /// A syntax error at the token here.
    pub fn error(&self) -> Error {
        self.tokens.error_at(self.at.min(self.end))
    }
}
