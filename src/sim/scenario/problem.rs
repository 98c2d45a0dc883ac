//! What is wrong with a line of a scenario or a mix, and where in it.

use std::fmt;

/// A file that could not be read as what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub file: String,
    /// Both from 1; columns count characters.
    pub line: u32,
    pub column: u32,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// A complaint about a part of a line. Remembers where the part lies by its address, so that the functions that take
/// lines apart need not carry positions along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    address: Option<usize>,
    pub message: String,
}

impl Problem {
    /// About `part`, which must be a slice of the line.
    pub fn at(part: &str, message: impl Into<String>) -> Problem {
        Problem { address: Some(part.as_ptr() as usize), message: message.into() }
    }

    /// The same, unless the place is known better already.
    pub fn or_at(self, part: &str) -> Problem {
        Problem { address: self.address.or(Some(part.as_ptr() as usize)), ..self }
    }

    /// With the place in `line`, number `number` of `file`.
    pub fn in_line(self, file: &str, number: u32, line: &str) -> ParseError {
        let start = line.as_ptr() as usize;
        let first_word = line.len() - line.trim_start().len();
        let offset = self.address.and_then(|address| address.checked_sub(start)).filter(|at| *at <= line.len());
        let before = line.get(..offset.unwrap_or(first_word)).unwrap_or(line);
        let column = before.chars().count() as u32 + 1;
        ParseError { file: file.to_string(), line: number, column, message: self.message }
    }
}

/// A complaint about the line as a whole.
impl From<String> for Problem {
    fn from(message: String) -> Problem {
        Problem { address: None, message }
    }
}

/// `unknown WHAT "word", expected one of: …`, at the word.
pub fn unknown(what: &str, word: &str, allowed: &[&str]) -> Problem {
    Problem::at(word, format!("unknown {what} \"{word}\", expected one of: {}", allowed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_counts_characters_up_to_the_part() {
        let line = "  größe=drei rest";
        let part = &line[line.find("drei").unwrap()..];
        let error = Problem::at(part, "no number").in_line("x.slt", 7, line);
        assert_eq!(error.to_string(), "x.slt:7:9: no number");
        assert_eq!(Problem::from("bad".to_string()).in_line("x.slt", 7, line).column, 3);
        assert_eq!(Problem::at("elsewhere", "bad").in_line("x.slt", 7, line).column, 3);
    }
}
