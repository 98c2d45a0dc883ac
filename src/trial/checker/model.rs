//! Every answer to a dashboard equals that of a plain list of rows.
//!
//! While others write, an answer is judged by what is decidable: it must be the model's over all batches that had been
//! acknowledged before it was asked, and over some of those that were under way: each of them whole. All subsets of
//! these are tried while they are few. Where they are many, an answer must lie between the model's without them and the one
//! with all of them: no count smaller or larger, no row from nowhere.
//!
//! In the end nothing is under way, and the answer must be the model's over the very rows that the last read saw.

use super::{FinalState, Violation};
use crate::sim::history::Ending;
use crate::trial::history::{Answer, Batch, History, Row};
use crate::trial::question::{Cell, Question, matches, normal};
use std::collections::BTreeMap;

const NAME: &str = "model";

/// So many undecided batches are tried in all combinations.
const UNDECIDED_MAX: usize = 9;

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    for (table, answers) in &history.answers {
        let written = history.batches.get(table).map_or(&[][..], |batches| &batches.written);
        let stays = |batch: &&Batch| lasts(batch, state, table);
        let written: Vec<&Batch> = written.iter().filter(stays).collect();
        for answer in answers {
            if let Some(why) = contradiction(answer, &written) {
                violation(format!(
                    "\"{}\" of {table}, asked at {} us, was answered {:?}: {why}",
                    answer.question, answer.invoked, answer.rows
                ));
            }
        }
    }
    for (table, answers) in &state.answers {
        let rows = state.rows.get(table).map_or(&[][..], |rows| rows);
        for answer in answers {
            let expected = answer.question.answer(rows.iter());
            if !matches(&answer.rows, &expected) {
                violation(format!(
                    "\"{}\" of {table}, asked in the end, was answered {:?}; its {} rows say {}",
                    answer.question,
                    answer.rows,
                    rows.len(),
                    shown(&expected)
                ));
            }
        }
    }
    found
}

/// What nobody was told about, and is not there in the end, never was.
fn lasts(batch: &Batch, state: &FinalState, table: &str) -> bool {
    match batch.ending {
        Ending::Ok => true,
        Ending::Failed => false,
        Ending::Unknown => state.rows.get(table).is_none_or(|rows| {
            rows.iter().any(|row| row.writer == i64::from(batch.writer) && row.number == batch.number)
        }),
    }
}

fn contradiction(answer: &Answer, written: &[&Batch]) -> Option<String> {
    let question = &answer.question;
    let (mut certain, mut undecided): (Vec<&Row>, Vec<&Batch>) = (vec![], vec![]);
    for batch in written.iter().filter(|batch| batch.content.iter().any(|row| question.concerns(row))) {
        if batch.ending == Ending::Ok && batch.completed <= answer.invoked {
            certain.extend(&batch.content);
        } else if batch.invoked < answer.completed {
            undecided.push(batch);
        }
    }
    let rows = |chosen: &dyn Fn(usize) -> bool| -> Vec<&Row> {
        let more = undecided.iter().enumerate().filter(|(at, _)| chosen(*at)).flat_map(|(_, batch)| &batch.content);
        certain.iter().copied().chain(more).collect()
    };
    let model = |rows: Vec<&Row>| question.answer(rows.into_iter());
    if undecided.len() > UNDECIDED_MAX {
        let (least, most) = (model(rows(&|_| false)), rows(&|_| true));
        return out_of_bounds(question, &answer.rows, &least, &most);
    }
    let fits = |choice: usize| matches(&answer.rows, &model(rows(&|at| choice & (1 << at) != 0)));
    if (0..1_usize << undecided.len()).any(fits) {
        return None;
    }
    let names: Vec<String> = undecided.iter().map(|batch| format!("{}.{}", batch.writer, batch.number)).collect();
    let without = shown(&model(rows(&|_| false)));
    Some(format!(
        "without those under way ({}) the rows say {without}, with none of their combinations this",
        names.join(" ")
    ))
}

/// Of many undecided batches: what is wrong whichever of them are there.
fn out_of_bounds(question: &Question, came: &[Vec<String>], least: &[Vec<Cell>], rows: &[&Row]) -> Option<String> {
    let most = question.answer(rows.iter().copied());
    let Some((keys, count)) = question.counted() else {
        // Lists: every line is of some row; which lines a limit leaves depends on the others.
        let all = match question {
            Question::Top(_) => Question::Top(u32::MAX).answer(rows.iter().copied()),
            // The sum of a bucket hangs on which of the batches are there.
            Question::Peaks { .. } => return None,
            Question::Latest { device, .. } => {
                Question::Latest { device: *device, rows: u32::MAX }.answer(rows.iter().copied())
            }
            _ => most,
        };
        let stranger = came
            .iter()
            .find(|line| !all.iter().any(|known| matches(std::slice::from_ref(line), std::slice::from_ref(known))));
        return stranger.map(|line| format!("{line:?} is nobody's"));
    };
    let counts = |lines: &[Vec<Cell>]| -> BTreeMap<Vec<String>, i64> {
        let line = |line: &Vec<Cell>| (line[..keys].concat(), line[count][0].parse().unwrap_or(-1));
        lines.iter().map(line).collect()
    };
    let (least, most) = (counts(least), counts(&most));
    let mut seen = BTreeMap::new();
    for line in came {
        let key: Vec<String> = line.iter().take(keys).map(|cell| normal(cell)).collect();
        let number: i64 = line.get(count).and_then(|cell| cell.parse().ok()).unwrap_or(-1);
        let (low, high) = (least.get(&key).copied().unwrap_or(0), most.get(&key).copied().unwrap_or(0));
        if !(low..=high).contains(&number) {
            return Some(format!("{key:?} has {number} rows, which can be {low} to {high}"));
        }
        seen.insert(key, number);
    }
    let missing = least.keys().find(|key| !seen.contains_key(*key));
    missing.map(|key| format!("{key:?} is missing"))
}

fn shown(lines: &[Vec<Cell>]) -> String {
    let line = |line: &Vec<Cell>| line.iter().map(|cell| cell.join(" or ")).collect::<Vec<_>>().join(", ");
    format!("[{}]", lines.iter().map(line).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{batch, history, row, state};
    use super::*;

    /// The answer of `by-writer` over batches whose values are 0, 1, 10, 11, ….
    fn history_of(batches: Vec<Batch>, answered: Option<(i64, i64)>) -> History {
        let question = Question::parse(&["by-writer", "1970-01-01", "1970-02-01"]).unwrap();
        let rows = answered.map(|(count, sum)| totals(count, sum)).into_iter().collect();
        let answer = Answer { question, invoked: 100, completed: 200, rows };
        History { answers: [("t".to_string(), vec![answer])].into(), ..history(batches) }
    }

    fn totals(count: i64, sum: i64) -> Vec<String> {
        let max = if count == 4 { 11 } else { 1 };
        let average = sum as f64 / count as f64;
        vec!["0".into(), count.to_string(), sum.to_string(), "0".into(), max.to_string(), average.to_string()]
    }

    fn found(batches: Vec<Batch>, answered: Option<(i64, i64)>) -> usize {
        check(&history_of(batches, answered), &FinalState::default()).len()
    }

    #[test]
    fn what_was_acknowledged_is_in_and_what_comes_later_is_not() {
        let early = || batch(0, Ending::Ok, 0, 10);
        assert_eq!(found(vec![early()], Some((2, 1))), 0);
        assert_eq!(found(vec![early()], None), 1, "the answer misses it");
        assert_eq!(found(vec![early()], Some((2, 2))), 1, "the sum is wrong");
        assert_eq!(found(vec![early(), batch(1, Ending::Ok, 300, 400)], Some((4, 22))), 1, "not yet sent");
        assert_eq!(found(vec![batch(0, Ending::Failed, 0, 10)], Some((2, 1))), 1, "refused");
    }

    #[test]
    fn what_is_under_way_may_be_in_but_only_whole() {
        let batches = || vec![batch(0, Ending::Ok, 0, 10), batch(1, Ending::Ok, 50, 150)];
        assert_eq!(found(batches(), Some((2, 1))), 0);
        assert_eq!(found(batches(), Some((4, 22))), 0);
        assert_eq!(found(batches(), Some((3, 11))), 1, "half of it");
    }

    #[test]
    fn where_much_is_under_way_counts_have_bounds() {
        let many: Vec<Batch> = (0..20).map(|number| batch(number, Ending::Unknown, 50, 150)).collect();
        assert_eq!(found(many.clone(), Some((4, 22))), 0);
        assert_eq!(found(many, Some((41, 22))), 1, "there are but forty rows");
    }

    #[test]
    fn in_the_end_the_answer_is_that_of_the_rows_that_are_there() {
        let question = Question::parse(&["by-writer", "1970-01-01", "1970-02-01"]).unwrap();
        let with = |rows: Vec<Vec<String>>| {
            let answer = Answer { question: question.clone(), invoked: 0, completed: 1, rows };
            let answers = [("t".to_string(), vec![answer])].into();
            check(&History::default(), &FinalState { answers, ..state(&[row(0, 0), row(0, 1)]) }).len()
        };
        assert_eq!(with(vec![totals(2, 1)]), 0);
        assert_eq!(with(vec![totals(2, 3)]), 1);
    }
}
