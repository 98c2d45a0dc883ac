//! PostgreSQL's patterns as regular expressions of the `regex` crate, which DataFusion matches with.

/// A POSIX pattern (`~`): there `.` matches a newline, too.
pub fn posix(pattern: &str) -> String {
    // DataFusion makes LIKE patterns of simple expressions and forgets to escape their backslashes; an empty
    // alternative keeps it from that.
    let guard = if pattern.contains(r"\\") { r"(?:|\A)" } else { "" };
    format!("(?s){guard}{pattern}")
}

/// A `SIMILAR TO` pattern: `%` and `_` as in LIKE, groups and repetitions as in POSIX, all of the text must match.
/// `None`: it ends in the middle of an escape.
pub fn similar(pattern: &str, escape: Option<char>) -> Option<String> {
    let mut regex = String::from("^(?:");
    let mut characters = pattern.chars();
    let mut in_class = false;
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            push_literal(characters.next()?, &mut regex);
        } else if in_class {
            in_class = character != ']';
            match character {
                '\\' | '[' | '&' | '~' => regex.extend(['\\', character]),
                other => regex.push(other),
            }
        } else {
            match character {
                '%' => regex.push_str(".*"),
                '_' => regex.push('.'),
                '[' => {
                    in_class = true;
                    regex.push('[');
                }
                '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' => regex.push(character),
                other => push_literal(other, &mut regex),
            }
        }
    }
    regex.push_str(")$");
    Some(posix(&regex))
}

fn push_literal(character: char, regex: &mut String) {
    if character.is_ascii_punctuation() {
        regex.push('\\');
    }
    regex.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_to_takes_like_wildcards_and_posix_groups() {
        let regex = |pattern| similar(pattern, Some('\\')).unwrap();
        assert_eq!(regex("(a|b)%"), "(?s)^(?:(a|b).*)$");
        assert_eq!(regex("a_c+"), "(?s)^(?:a.c+)$");
        assert_eq!(regex("a.c^$"), r"(?s)^(?:a\.c\^\$)$");
        assert_eq!(regex(r"100\%"), r"(?s)^(?:100\%)$");
        assert_eq!(regex("[%_a-c]x"), "(?s)^(?:[%_a-c]x)$");
        assert_eq!(similar("a!%", Some('!')).unwrap(), r"(?s)^(?:a\%)$");
        assert_eq!(similar(r"a\", Some('\\')), None);
    }

    #[test]
    fn posix_patterns_match_newlines_and_keep_their_backslashes() {
        assert_eq!(posix("a.b"), "(?s)a.b");
        assert_eq!(posix(r"a\\b"), r"(?s)(?:|\A)a\\b");
    }
}
