//! Goldens: what a scenario's `snapshot` lines saw, kept in `snapshots/` in insta's file format.

use super::report::Report;
use std::path::{Path, PathBuf};

/// Compares a run's goldens with the kept ones; a difference fails the run. With `accept` they are kept instead.
#[expect(clippy::disallowed_methods, reason = "reads what stands beside the scenario, outside of all worlds")]
pub fn judge(report: &mut Report, accept: bool) {
    for (name, text) in report.goldens.clone() {
        let Some(folder) = folder_of(&report.file) else {
            fail(report, format!("no folder snapshots beside the folder of {}", report.file));
            return;
        };
        let path = folder.join(format!("{}__{name}.snap", report.scenario));
        if accept {
            if let Err(error) = write(&path, &report.file, &name, &text) {
                fail(report, format!("cannot write {}: {error}", path.display()));
            }
            continue;
        }
        match std::fs::read_to_string(&path) {
            Err(_) => fail(
                report,
                format!(
                    "there is no golden {} yet: look at the text below, then run with --accept\n{text}",
                    path.display()
                ),
            ),
            Ok(kept) if body(&kept).trim_end() != text.trim_end() => {
                let difference = difference(body(&kept), &text);
                fail(report, format!("differs from the golden {}\n{difference}", path.display()));
            }
            Ok(_) => {}
        }
    }
}

fn fail(report: &mut Report, reason: String) {
    if !report.failed() {
        report.verdict = "failed".to_string();
        report.class = Some("expectation".to_string());
        report.reason = Some(reason);
    }
}

/// The `snapshots` folder beside the topmost folder of the scenario's path that has one.
fn folder_of(file: &str) -> Option<PathBuf> {
    let path = Path::new(file);
    path.ancestors().skip(1).map(|folder| folder.join("../snapshots")).find(|folder| folder.is_dir())
}

#[expect(clippy::disallowed_methods, reason = "keeps goldens where the user asked for it")]
fn write(path: &Path, file: &str, name: &str, text: &str) -> std::io::Result<()> {
    let source = file.rfind("scenarios/").map_or(file, |at| &file[at..]);
    std::fs::write(path, format!("---\nsource: {source}\nexpression: {name}\n---\n{}\n", text.trim_end()))
}

/// The text after insta's header.
fn body(kept: &str) -> &str {
    kept.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")).map_or(kept, |(_, body)| body)
}

fn difference(kept: &str, seen: &str) -> String {
    let (kept, seen): (Vec<&str>, Vec<&str>) = (kept.trim_end().lines().collect(), seen.trim_end().lines().collect());
    let gone = kept.iter().filter(|line| !seen.contains(line)).map(|line| format!("  -{line}"));
    let new = seen.iter().filter(|line| !kept.contains(line)).map(|line| format!("  +{line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_not_part_of_the_golden() {
        assert_eq!(body("---\nsource: x\nexpression: y\n---\n a | b\n"), " a | b\n");
    }

    #[test]
    fn a_difference_shows_both_sides() {
        assert_eq!(difference("a\nb", "a\nc"), "  -b\n  +c");
    }
}
