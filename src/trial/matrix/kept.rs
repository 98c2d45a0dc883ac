//! The matrix as it is kept in `snapshots/`, and how much another build may differ from it.
//!
//! Seeds are only worth something to the build that ran them, so the golden does not hold numbers but magnitudes. A bug is as
//! before if one of those who found it finds it again, at most one magnitude later. That more find it, or sooner, is fine.

use super::Row;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where it is, from the project's root.
pub const FILE: &str = "snapshots/sabotage_matrix.txt";

/// Upper ends of the magnitudes of seeds.
const MAGNITUDES: [u64; 4] = [1, 5, 20, 100];

/// Stands for the finders of a bug that nobody finds.
const OPEN: &str = "OPEN";

/// What is kept of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    /// Index into [`MAGNITUDES`]; one past it for more, or for tries that mostly found nothing.
    magnitude: usize,
    /// Most frequent first; none if it is open.
    finders: Vec<String>,
}

impl Kept {
    fn of(row: &Row) -> Kept {
        let seeds = row.median_seeds().unwrap_or(u64::MAX);
        let mut finders: Vec<(&str, usize)> = row.finders().into_iter().collect();
        finders.sort_by_key(|(_, tries)| std::cmp::Reverse(*tries));
        let finders = finders.into_iter().map(|(name, _)| name.to_string()).collect();
        Kept { magnitude: MAGNITUDES.iter().filter(|end| **end < seeds).count(), finders }
    }

    fn parse(line: &str) -> Option<(String, Kept)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [bug, seeds, finders @ ..] = &words[..] else { return None };
        let magnitude = (0..=MAGNITUDES.len()).find(|at| magnitude(*at) == *seeds)?;
        let finders = finders.iter().filter(|name| **name != OPEN).map(ToString::to_string).collect();
        Some((bug.to_string(), Kept { magnitude, finders }))
    }
}

/// `1`, `2-5`, …, `>100`.
fn magnitude(at: usize) -> String {
    match (at.checked_sub(1).map(|below| MAGNITUDES[below]), MAGNITUDES.get(at)) {
        (None, Some(end)) => end.to_string(),
        (Some(below), Some(end)) => format!("{}-{end}", below + 1),
        (below, None) => format!(">{}", below.unwrap_or_default()),
    }
}

/// The golden once `rows` are accepted: a line for each bug, those of `before` that `rows` do not have as they were. Errors: a
/// line of `before` that cannot be read.
pub fn accepted(before: &str, rows: &[Row]) -> Result<String, String> {
    let mut kept = parse(before)?;
    kept.extend(rows.iter().map(|row| (row.bug.clone(), Kept::of(row))));
    let mut text =
        "# Planted bugs, the seeds that finding each takes, and who finds it: `hypertile sabotage --accept`.\n"
            .to_string();
    for (bug, kept) in kept {
        let finders = if kept.finders.is_empty() { OPEN.to_string() } else { kept.finders.join(" ") };
        let _ = writeln!(text, "{bug:<26}{:<8}{finders}", magnitude(kept.magnitude));
    }
    Ok(text)
}

fn parse(golden: &str) -> Result<BTreeMap<String, Kept>, String> {
    let lines = golden.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let read =
        |line: &str| Kept::parse(line).ok_or_else(|| format!("cannot read \"{line}\", expected: BUG SEEDS FINDER…"));
    lines.map(read).collect()
}

/// How `rows`, which need not be all, differ from the golden for the worse; a line each. Errors: a line of the golden that
/// cannot be read.
pub fn differences(golden: &str, rows: &[Row]) -> Result<Vec<String>, String> {
    let kept = parse(golden)?;
    let difference = |row: &Row| {
        let now = Kept::of(row);
        let Some(before) = kept.get(&row.bug) else { return Some("is not in the golden".to_string()) };
        if before.finders.is_empty() {
            return None;
        }
        let by = before.finders.join(" ");
        if now.finders.is_empty() {
            return Some(format!("was found by {by}, and nobody finds it any more"));
        }
        if !now.finders.iter().any(|finder| before.finders.contains(finder)) {
            return Some(format!("was found by {by}, now by {} only", now.finders.join(" ")));
        }
        let (early, late) = (magnitude(before.magnitude), magnitude(now.magnitude));
        (now.magnitude > before.magnitude + 1).then(|| format!("was found after {early} seeds, now after {late}"))
    };
    Ok(rows.iter().filter_map(|row| difference(row).map(|why| format!("{} {why}", row.bug))).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    #[test]
    fn a_matrix_agrees_with_its_own_golden() {
        let rows = [
            row("commit.gate", &[Some((3, &["atomicity"])), Some((5, &["atomicity", "durability"])), None]),
            row("route.edge", &[None, None]),
        ];
        let golden = accepted("", &rows).unwrap();
        assert!(golden.contains("commit.gate               2-5     atomicity durability\n"), "{golden}");
        assert!(golden.contains("route.edge                >100    OPEN\n"), "{golden}");
        assert_eq!(differences(&golden, &rows), Ok(vec![]));
    }

    #[test]
    fn what_is_accepted_leaves_other_rows_as_they_were() {
        let before = "b 2-5 durability\na >100 OPEN\n";
        let text = accepted(before, &[row("a", &[Some((1, &["model"]))])]).unwrap();
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(rows, ["a                         1       model", "b                         2-5     durability"]);
        assert!(accepted("a", &[]).is_err());
    }

    #[test]
    fn only_what_is_worse_is_a_difference() {
        let golden = "# x\na 1 atomicity\nb 2-5 durability agreement\nc >100 OPEN\n";
        let fine = [
            row("a", &[Some((4, &["atomicity", "panic"]))]),
            row("b", &[Some((1, &["agreement"]))]),
            row("c", &[Some((1, &["panic"]))]),
        ];
        assert_eq!(differences(golden, &fine), Ok(vec![]));
        let worse = [row("a", &[Some((9, &["atomicity"]))]), row("b", &[Some((1, &["panic"]))]), row("d", &[None])];
        assert_eq!(
            differences(golden, &worse).unwrap(),
            [
                "a was found after 1 seeds, now after 6-20",
                "b was found by durability agreement, now by panic only",
                "d is not in the golden"
            ]
        );
        let lost = [row("a", &[None])];
        assert_eq!(differences(golden, &lost).unwrap(), ["a was found by atomicity, and nobody finds it any more"]);
        assert!(differences("a many atomicity", &lost).unwrap_err().contains("expected: BUG SEEDS FINDER"));
    }
}
