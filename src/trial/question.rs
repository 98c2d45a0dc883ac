//! What dashboards ask, and what a plain list of rows would answer.
//!
//! A [`Question`] is a line of text in a scenario, a query for the database ([`Question::sql`]), and a function over rows
//! ([`Question::answer`]): the model that the database is compared with. All of them leave out the rows of nobody
//! (writer -1), which the story itself writes.
//!
//! Values are whole numbers in a floating-point column, so sums are exact in whatever order they are added up.

use super::history::Row;
use crate::units::duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where `time_bucket` begins to count: Monday, 2000-01-03 (TimescaleDB's default origin).
const BUCKET_ORIGIN: i64 = 946_857_600_000_000;

const HOUR_MICROS: i64 = 3_600_000_000;

/// Labels of devices, in the small local table that questions join with.
pub const LABELS: [&str; 3] = ["blue", "green", "red"];

/// Devices with numbers below this have a label.
pub const LABELLED: u32 = 30;

/// From and before: dates, or dates and times, of UTC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub from: String,
    pub before: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    Total(Span),
    Buckets { hours: u32, span: Span },
    DeviceBuckets { hours: u32, device: u32 },
    Top(u32),
    Peaks { hours: u32, rows: u32 },
    Latest { device: u32, rows: u32 },
    ByDevice,
    ByWriter(Span),
    Devices(Span),
    ByLabel,
}

pub const FORMS: &str = "total FROM BEFORE | buckets WIDTH FROM BEFORE | device-buckets WIDTH DEVICE | top ROWS | \
     peaks WIDTH ROWS | latest DEVICE ROWS | by-device | by-writer FROM BEFORE | devices FROM BEFORE | by-label";

/// A value that an answer must hold: any of these, where rows tie.
pub type Cell = Vec<String>;

impl Question {
    /// Errors say what was expected.
    pub fn parse(words: &[&str]) -> Result<Question, String> {
        let number = |text: &str| text.parse::<u32>().ok();
        let hours = |text: &str| {
            let hours = duration(text).ok()?.as_secs() / 3600;
            (hours > 0).then_some(hours as u32)
        };
        let span = |from: &str, before: &str| {
            (micros(from).is_some() && micros(before).is_some())
                .then(|| Span { from: from.to_string(), before: before.to_string() })
        };
        let read = || {
            Some(match words {
                ["total", from, before] => Question::Total(span(from, before)?),
                ["buckets", width, from, before] => {
                    Question::Buckets { hours: hours(width)?, span: span(from, before)? }
                }
                ["device-buckets", width, device] => {
                    Question::DeviceBuckets { hours: hours(width)?, device: number(device)? }
                }
                ["top", rows] => Question::Top(number(rows)?),
                ["peaks", width, rows] => Question::Peaks { hours: hours(width)?, rows: number(rows)? },
                ["latest", device, rows] => Question::Latest { device: number(device)?, rows: number(rows)? },
                ["by-device"] => Question::ByDevice,
                ["by-writer", from, before] => Question::ByWriter(span(from, before)?),
                ["devices", from, before] => Question::Devices(span(from, before)?),
                ["by-label"] => Question::ByLabel,
                _ => return None,
            })
        };
        read().ok_or_else(|| format!("expected: {FORMS}, as buckets 6h 2023-01-02 2023-01-09"))
    }

    /// The kind, without what it is about.
    pub fn kind(&self) -> String {
        self.to_string().split(' ').next().unwrap_or_default().to_string()
    }

    pub fn sql(&self, table: &str) -> String {
        const AGGREGATES: &str = "count(*), sum(value), min(value), max(value), avg(value)";
        let within = |span: &Span| {
            format!("writer >= 0 AND time >= '{}' AND time < '{}'", literal(&span.from), literal(&span.before))
        };
        match self {
            Question::Total(span) => {
                format!("SELECT {AGGREGATES}, count(DISTINCT device) FROM {table} WHERE {}", within(span))
            }
            Question::Buckets { hours, span } => format!(
                "SELECT time_bucket(INTERVAL '{hours} hours', time) AS bucket, {AGGREGATES} FROM {table} WHERE {} GROUP BY 1 ORDER BY 1",
                within(span)
            ),
            Question::DeviceBuckets { hours, device } => format!(
                "SELECT time_bucket(INTERVAL '{hours} hours', time) AS bucket, {AGGREGATES} FROM {table} \
                 WHERE writer >= 0 AND device = 'device {device}' GROUP BY 1 ORDER BY 1"
            ),
            Question::Top(rows) => format!(
                "SELECT device, value, writer, batch, row FROM {table} WHERE writer >= 0 \
                 ORDER BY value DESC, time, writer, batch, row LIMIT {rows}"
            ),
            Question::Peaks { hours, rows } => format!(
                "SELECT time_bucket(INTERVAL '{hours} hours', time) AS bucket, count(*), sum(value) FROM {table} \
                 WHERE writer >= 0 GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {rows}"
            ),
            Question::Latest { device, rows } => format!(
                "SELECT time, value, writer, batch, row FROM {table} WHERE writer >= 0 AND device = 'device {device}' \
                 ORDER BY time DESC, writer, batch, row LIMIT {rows}"
            ),
            Question::ByDevice => format!(
                "SELECT device, {AGGREGATES}, first(value, time), last(value, time) FROM {table} WHERE writer >= 0 \
                 GROUP BY device ORDER BY device"
            ),
            Question::ByWriter(span) => format!(
                "SELECT writer, {AGGREGATES} FROM {table} WHERE {} GROUP BY writer ORDER BY writer",
                within(span)
            ),
            Question::Devices(span) => {
                format!("SELECT DISTINCT device FROM {table} WHERE {} ORDER BY device", within(span))
            }
            Question::ByLabel => format!(
                "SELECT l.label, count(*), sum(d.value) FROM {table} d JOIN {table}_labels l ON l.device = d.device \
                 WHERE d.writer >= 0 GROUP BY l.label ORDER BY l.label"
            ),
        }
    }

    /// Whether the row can have any influence on the answer.
    pub fn concerns(&self, row: &Row) -> bool {
        let within = |span: &Span| (micros(&span.from)..micros(&span.before)).contains(&Some(row.time));
        match self {
            _ if row.writer < 0 => false,
            Question::Total(span)
            | Question::Buckets { span, .. }
            | Question::ByWriter(span)
            | Question::Devices(span) => within(span),
            Question::DeviceBuckets { device, .. } | Question::Latest { device, .. } => {
                row.place == format!("device {device}")
            }
            Question::ByLabel => label(&row.place).is_some(),
            Question::Top(_) | Question::Peaks { .. } | Question::ByDevice => true,
        }
    }

    /// What these rows answer.
    pub fn answer<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<Vec<Cell>> {
        let rows: Vec<&Row> = rows.filter(|row| self.concerns(row)).collect();
        match self {
            Question::Total(_) => {
                let mut line = aggregates(&rows);
                let devices: BTreeSet<&str> = rows.iter().map(|row| row.place.as_str()).collect();
                line.push(one(devices.len()));
                vec![line]
            }
            Question::Buckets { hours, .. } | Question::DeviceBuckets { hours, .. } => {
                grouped(&rows, |row| bucket(row.time, i64::from(*hours) * HOUR_MICROS), |_, rows| aggregates(rows))
            }
            Question::ByWriter(_) => grouped(&rows, |row| row.writer, |_, rows| aggregates(rows)),
            Question::ByDevice => {
                grouped(&rows, |row| row.place.clone(), |_, rows| [aggregates(rows), ends(rows)].concat())
            }
            Question::Devices(_) => grouped(&rows, |row| row.place.clone(), |_, _| vec![]),
            Question::ByLabel => grouped(
                &rows,
                |row| label(&row.place).unwrap_or_default().to_string(),
                |_, rows| aggregates(rows)[..2].to_vec(),
            ),
            Question::Top(count) => {
                listed(rows, *count, |row| (-row.value, row.time), |row| row.place.clone(), |row| row.value.to_string())
            }
            Question::Peaks { hours, rows: count } => {
                let width = i64::from(*hours) * HOUR_MICROS;
                let mut buckets =
                    grouped(&rows, |row| bucket(row.time, width), |_, rows| aggregates(rows)[..2].to_vec());
                // Stable: of two with the same sum the earlier one comes first.
                buckets.sort_by_key(|line| std::cmp::Reverse(line[2][0].parse::<i64>().unwrap_or_default()));
                buckets.truncate(*count as usize);
                buckets
            }
            Question::Latest { rows: count, .. } => {
                listed(rows, *count, |row| (-row.time, 0), |row| row.time.to_string(), |row| row.value.to_string())
            }
        }
    }

    /// The columns that name a line of the answer, and the one that counts its rows: more rows never make it smaller.
    /// `None` where the answer is a list of rows.
    pub fn counted(&self) -> Option<(usize, usize)> {
        match self {
            Question::Total(_) => Some((0, 0)),
            Question::Top(_) | Question::Peaks { .. } | Question::Latest { .. } | Question::Devices(_) => None,
            _ => Some((1, 1)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.from, self.before)
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Total(span) => write!(f, "total {span}"),
            Question::Buckets { hours, span } => write!(f, "buckets {hours}h {span}"),
            Question::DeviceBuckets { hours, device } => write!(f, "device-buckets {hours}h {device}"),
            Question::Top(rows) => write!(f, "top {rows}"),
            Question::Peaks { hours, rows } => write!(f, "peaks {hours}h {rows}"),
            Question::Latest { device, rows } => write!(f, "latest {device} {rows}"),
            Question::ByDevice => f.write_str("by-device"),
            Question::ByWriter(span) => write!(f, "by-writer {span}"),
            Question::Devices(span) => write!(f, "devices {span}"),
            Question::ByLabel => f.write_str("by-label"),
        }
    }
}

/// Whether an answer that came as text is the expected one.
pub fn matches(answer: &[Vec<String>], expected: &[Vec<Cell>]) -> bool {
    let cell = |(came, expected): (&String, &Cell)| {
        let came = normal(came);
        expected.iter().any(|value| same(&came, value))
    };
    answer.len() == expected.len()
        && answer
            .iter()
            .zip(expected)
            .all(|(came, expected)| came.len() == expected.len() && came.iter().zip(expected).all(cell))
}

/// Times as microseconds, all else as it is.
pub fn normal(text: &str) -> String {
    match instant(text) {
        Some(micros) => micros.to_string(),
        None => text.to_string(),
    }
}

/// An average is a quotient, whose last digits are nobody's promise.
fn same(one: &str, two: &str) -> bool {
    const RELATIVE: f64 = 1e-12;
    if one == two {
        return true;
    }
    match (one.parse::<f64>(), two.parse::<f64>()) {
        (Ok(one), Ok(two)) => (one - two).abs() <= RELATIVE * one.abs().max(two.abs()),
        _ => false,
    }
}

/// `2023-01-05` or `2023-01-05T12:00:00`, of UTC, as microseconds since 1970.
pub fn micros(text: &str) -> Option<i64> {
    let midnight = || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").ok().or_else(midnight)?;
    Some(time.and_utc().timestamp_micros())
}

/// The same as a literal of SQL, without its quotes.
pub fn literal(text: &str) -> String {
    match text.split_once('T') {
        Some((date, time)) => format!("{date} {time}+00"),
        None => format!("{text} 00:00:00+00"),
    }
}

/// A timestamp with its zone as PostgreSQL prints it, as microseconds since 1970.
pub fn instant(text: &str) -> Option<i64> {
    if !text.contains(':') {
        return None;
    }
    Some(chrono::DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?.timestamp_micros())
}

fn bucket(time: i64, width: i64) -> i64 {
    (time - BUCKET_ORIGIN).div_euclid(width) * width + BUCKET_ORIGIN
}

/// The label of a device; see [`LABELLED`].
pub fn label(place: &str) -> Option<&'static str> {
    let device: u32 = place.strip_prefix("device ")?.parse().ok()?;
    (device < LABELLED).then_some(LABELS[device as usize % LABELS.len()])
}

fn one(value: impl ToString) -> Cell {
    vec![value.to_string()]
}

/// count, sum, min, max, avg.
fn aggregates(rows: &[&Row]) -> Vec<Cell> {
    let null = || "NULL".to_string();
    let values: Vec<i64> = rows.iter().map(|row| row.value).collect();
    let sum: i64 = values.iter().sum();
    let some = |value: String| if values.is_empty() { null() } else { value };
    vec![
        one(values.len()),
        one(some(sum.to_string())),
        one(values.iter().min().map_or_else(null, i64::to_string)),
        one(values.iter().max().map_or_else(null, i64::to_string)),
        one(some((sum as f64 / values.len() as f64).to_string())),
    ]
}

/// first, last: any of the values at the first and at the last time.
fn ends(rows: &[&Row]) -> Vec<Cell> {
    let at = |time: Option<i64>| {
        rows.iter().filter(|row| Some(row.time) == time).map(|row| row.value.to_string()).collect::<Cell>()
    };
    vec![at(rows.iter().map(|row| row.time).min()), at(rows.iter().map(|row| row.time).max())]
}

/// A line for each key: the key, then what its rows come to.
fn grouped<K: Ord + ToString>(
    rows: &[&Row],
    key: impl Fn(&Row) -> K,
    line: impl Fn(&K, &[&Row]) -> Vec<Cell>,
) -> Vec<Vec<Cell>> {
    let mut groups: BTreeMap<K, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(key(row)).or_default().push(row);
    }
    groups.iter().map(|(key, rows)| [vec![one(key.to_string())], line(key, rows)].concat()).collect()
}

fn listed(
    mut rows: Vec<&Row>,
    count: u32,
    order: impl Fn(&Row) -> (i64, i64),
    first: impl Fn(&Row) -> String,
    second: impl Fn(&Row) -> String,
) -> Vec<Vec<Cell>> {
    rows.sort_by_key(|row| (order(row), row.writer, row.number, row.row));
    let line = |row: &Row| vec![one(first(row)), one(second(row)), one(row.writer), one(row.number), one(row.row)];
    rows.into_iter().take(count as usize).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32, time: &str, device: u32, value: i64) -> Row {
        Row { number, rows: 1, time: micros(time).unwrap(), place: format!("device {device}"), value, ..Row::default() }
    }

    fn answer(question: &str, rows: &[Row]) -> Vec<String> {
        let question = Question::parse(&question.split(' ').collect::<Vec<_>>()).unwrap();
        let line = |line: &Vec<Cell>| line.iter().map(|cell| cell.join("|")).collect::<Vec<_>>().join(" ");
        question.answer(rows.iter()).iter().map(line).collect()
    }

    #[test]
    fn questions_read_back_as_they_were_written() {
        for text in [
            "total 2023-01-02 2023-01-09T12:00:00",
            "buckets 6h 2023-01-02 2023-01-09",
            "device-buckets 24h 7",
            "top 5",
            "peaks 6h 3",
            "latest 7 3",
            "by-device",
            "by-writer 2023-01-02 2023-01-09",
            "devices 2023-01-02 2023-01-09",
            "by-label",
        ] {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(Question::parse(&words).unwrap().to_string(), text);
        }
        for text in ["total", "buckets 0h 2023-01-02 2023-01-09", "top x", "why"] {
            let words: Vec<&str> = text.split(' ').collect();
            assert!(Question::parse(&words).unwrap_err().starts_with("expected: "), "{text}");
        }
    }

    #[test]
    fn a_plain_list_of_rows_answers() {
        let rows = [
            row(0, "2023-01-02T05:00:00", 1, 4),
            row(1, "2023-01-02T06:00:00", 2, -1),
            row(2, "2023-01-02T07:00:00", 1, 9),
            Row { writer: -1, ..row(3, "2023-01-02", 1, 100) },
        ];
        assert_eq!(answer("total 2023-01-02 2023-01-03", &rows), ["3 12 -1 9 4 2"]);
        assert_eq!(answer("total 2022-01-02 2022-01-03", &rows), ["0 NULL NULL NULL NULL 0"]);
        let six = micros("2023-01-02T06:00:00").unwrap();
        let midnight = micros("2023-01-02").unwrap();
        assert_eq!(
            answer("buckets 6h 2023-01-02 2023-01-03", &rows),
            [format!("{midnight} 1 4 4 4 4"), format!("{six} 2 8 -1 9 4")]
        );
        assert_eq!(answer("top 2", &rows), ["device 1 9 0 2 0", "device 1 4 0 0 0"]);
        assert_eq!(answer("peaks 6h 1", &rows), [format!("{six} 2 8")]);
        assert_eq!(answer("peaks 1h 2", &rows)[1], format!("{} 1 4", six - HOUR_MICROS));
        assert_eq!(answer("by-device", &rows), ["device 1 2 13 4 9 6.5 4 9", "device 2 1 -1 -1 -1 -1 -1 -1"]);
        assert_eq!(answer("devices 2023-01-02T06:00:00 2023-01-03", &rows), ["device 1", "device 2"]);
        assert_eq!(answer("by-label", &rows), ["green 2 13", "red 1 -1"]);
    }

    #[test]
    fn answers_are_compared_as_values_and_ties_may_go_either_way() {
        let tied = [row(0, "2023-01-02", 1, 4), row(1, "2023-01-02", 1, 9)];
        let expected = Question::ByDevice.answer(tied.iter());
        let came = |first: &str| {
            let line = ["device 1", "2", "13", "4", "9", "6.5", first, "9"];
            vec![line.map(str::to_string).to_vec()]
        };
        assert!(matches(&came("4"), &expected) && matches(&came("9"), &expected));
        assert!(!matches(&came("5"), &expected) && !matches(&[], &expected));
        assert_eq!(normal("2023-01-02 00:00:00+00"), micros("2023-01-02").unwrap().to_string());
        assert!(same("0.33333333333333331", "0.3333333333333333") && !same("1", "2"));
    }
}
