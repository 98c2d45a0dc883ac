//! Where a row of text or csv ends, found across pieces.

use crate::sql::copy_options::{CopyFormat, CopyOptions};

/// Finds ends of lines and remembers, between pieces, whether it stands in quotes or behind a backslash.
pub struct LineScanner {
    mode: Mode,
    /// The next byte is data whatever it is.
    escaped: bool,
    in_quotes: bool,
    /// Ends of lines inside quotes of the current row: they count as lines in error messages.
    pub lines_inside: u64,
}

#[derive(Clone, Copy)]
enum Mode {
    Text,
    /// `escape` is `None` where it is the quote itself: a doubled quote leaves and enters quotes, which comes to
    /// the same.
    Csv {
        quote: u8,
        escape: Option<u8>,
    },
}

impl LineScanner {
    pub fn new(options: &CopyOptions) -> LineScanner {
        let mode = match options.format {
            CopyFormat::Csv => {
                let escape = (options.escape != options.quote).then_some(options.escape);
                Mode::Csv { quote: options.quote, escape }
            }
            CopyFormat::Text | CopyFormat::Binary => Mode::Text,
        };
        LineScanner { mode, escaped: false, in_quotes: false, lines_inside: 0 }
    }

    pub fn in_quotes(&self) -> bool {
        self.in_quotes
    }

    /// Continues with `bytes`; the position just past the newline that ends the row, if it is among them.
    /// Call [`LineScanner::next_row`] before going on.
    pub fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.mode {
            Mode::Text => self.scan_text(bytes),
            Mode::Csv { quote, escape } => self.scan_csv(bytes, quote, escape),
        }
    }

    pub fn next_row(&mut self) {
        (self.escaped, self.in_quotes, self.lines_inside) = (false, false, 0);
    }

    fn scan_text(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.escaped && !bytes.is_empty() {
            // A backslash ended the last piece; a newline right behind one is data.
            self.escaped = false;
            self.lines_inside += u64::from(bytes[0] == b'\n');
            at = 1;
        }
        while let Some(found) = bytes[at..].iter().position(|b| matches!(b, b'\n' | b'\\')) {
            at += found + 1;
            if bytes[at - 1] == b'\n' {
                return Some(at);
            }
            match bytes.get(at) {
                Some(next) => {
                    self.lines_inside += u64::from(*next == b'\n');
                    at += 1;
                }
                None => self.escaped = true,
            }
        }
        None
    }

    fn scan_csv(&mut self, bytes: &[u8], quote: u8, escape: Option<u8>) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.escaped {
                self.escaped = false;
                // Only a quote or the escape itself can be escaped; anything else stands for itself.
                if byte == quote || Some(byte) == escape {
                    continue;
                }
            }
            if byte == quote {
                self.in_quotes = !self.in_quotes;
            } else if self.in_quotes && Some(byte) == escape {
                self.escaped = true;
            } else if byte == b'\n' {
                if !self.in_quotes {
                    return Some(at + 1);
                }
                self.lines_inside += 1;
            }
        }
        None
    }
}
