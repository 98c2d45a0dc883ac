//! Mix files: what the plans of a swarm are drawn from.
//!
//! `docs/swarm.md` is the grammar for people. Errors name file, line, column and the allowed words.

use crate::buggify;
use crate::sim::chance;
use crate::sim::scenario::WorkloadSpec;
use crate::sim::scenario::problem::{ParseError, Problem, unknown};
use crate::sim::scenario::run::ALL;
use crate::sim::scenario::stage::Vocabulary;
use crate::units::{bytes, duration};
use std::ops::RangeInclusive;
use std::time::Duration;

/// One mix file, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Where it came from.
    pub file: String,
    pub data: RangeInclusive<u64>,
    pub spare: RangeInclusive<u64>,
    /// Of every hypertable: milliseconds of a chunk, slices of the second dimension, copies of a chunk.
    pub interval_ms: RangeInclusive<u64>,
    pub partitions: RangeInclusive<u64>,
    pub replication: RangeInclusive<u64>,
    /// For so many milliseconds clients work and faults strike.
    pub during_ms: RangeInclusive<u64>,
    pub workloads: Vec<WorkloadMix>,
    pub faults: Vec<FaultMix>,
    /// How many of a hundred runs are wild.
    pub wild_percent: u64,
    /// How many of a hundred runs have points that fire now and then.
    pub buggify_percent: u64,
    /// Those points; all are drawn from if there is none.
    pub buggify_points: Vec<&'static str>,
    pub checkers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadMix {
    pub name: String,
    pub chance_percent: u64,
    /// Handed on to the workload, each drawn from its range.
    pub options: Vec<(String, RangeInclusive<u64>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultMix {
    pub kind: FaultKind,
    pub chance_percent: u64,
    pub count: RangeInclusive<u64>,
    pub lasts_ms: RangeInclusive<u64>,
    /// Milliseconds for `clock`, `slow`, `tail` and `slow-disk`, parts per million for `drift`, percent for `lose` and
    /// `failing-disk`, bytes for `bandwidth` and `full-disk`.
    pub by: RangeInclusive<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Crash,
    CrashAtProbe,
    Partition,
    OneWay,
    Clock,
    Drift,
    Pause,
    Kill,
    CrashAll,
    Slow,
    Lose,
    Tail,
    Bandwidth,
    FullDisk,
    SlowDisk,
    FailingDisk,
}

impl FaultKind {
    /// What `by` is measured in.
    fn unit(self) -> Unit {
        match self {
            FaultKind::Clock | FaultKind::Slow | FaultKind::Tail | FaultKind::SlowDisk => Unit::Milliseconds,
            FaultKind::Lose | FaultKind::FailingDisk => Unit::Percent,
            FaultKind::Bandwidth | FaultKind::FullDisk => Unit::Bytes,
            _ => Unit::Number,
        }
    }

    /// What `by` is where the mix does not say it, in that unit.
    fn by(self) -> RangeInclusive<u64> {
        match self {
            FaultKind::Slow | FaultKind::SlowDisk => 1..=200,
            FaultKind::Tail => 10..=2_000,
            FaultKind::Lose => 1..=30,
            FaultKind::FailingDisk => 1..=20,
            FaultKind::Bandwidth => 10_000..=1_000_000,
            FaultKind::FullDisk => 0..=500_000,
            _ => 1_000..=60_000,
        }
    }
}

const FAULTS: [(&str, FaultKind); 16] = [
    ("crash", FaultKind::Crash),
    ("crash-at-probe", FaultKind::CrashAtProbe),
    ("partition", FaultKind::Partition),
    ("one-way", FaultKind::OneWay),
    ("clock", FaultKind::Clock),
    ("drift", FaultKind::Drift),
    ("pause", FaultKind::Pause),
    ("kill", FaultKind::Kill),
    ("crash-all", FaultKind::CrashAll),
    ("slow", FaultKind::Slow),
    ("lose", FaultKind::Lose),
    ("tail", FaultKind::Tail),
    ("bandwidth", FaultKind::Bandwidth),
    ("full-disk", FaultKind::FullDisk),
    ("slow-disk", FaultKind::SlowDisk),
    ("failing-disk", FaultKind::FailingDisk),
];

const DIRECTIVES: [&str; 8] = ["cluster", "table", "during", "workload", "fault", "wild", "buggify", "check"];

/// What a value is measured in.
#[derive(Clone, Copy)]
enum Unit {
    Number,
    Percent,
    Milliseconds,
    Bytes,
}

impl Unit {
    /// A value as a mix may say it.
    fn show(self, value: u64) -> String {
        const TIMES: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        match self {
            Unit::Number => value.to_string(),
            Unit::Percent => format!("{value}%"),
            Unit::Bytes => format!("{value}B"),
            Unit::Milliseconds => {
                let (size, name) =
                    TIMES.into_iter().find(|(size, _)| value > 0 && value.is_multiple_of(*size)).unwrap_or((1, "ms"));
                format!("{}{name}", value / size)
            }
        }
    }
}

impl Mix {
    /// Parses a mix. `workloads` are the names of those that can be drawn, `vocabulary` knows the checkers.
    pub fn parse(file: &str, text: &str, workloads: &[&str], vocabulary: &dyn Vocabulary) -> Result<Mix, ParseError> {
        let mut mix = Mix::empty(file);
        for (index, line) in text.lines().enumerate() {
            let meant = line.split('#').next().unwrap_or_default().trim();
            if !meant.is_empty() {
                let read = mix.line(meant, workloads, vocabulary);
                read.map_err(|problem| problem.or_at(meant).in_line(file, index as u32 + 1, line))?;
            }
        }
        if mix.workloads.is_empty() {
            let number = text.lines().count() as u32;
            return Err(Problem::from("expected at least one `workload` line".to_string()).in_line(file, number, ""));
        }
        Ok(mix)
    }

    fn empty(file: &str) -> Mix {
        Mix {
            file: file.to_string(),
            data: 1..=3,
            spare: 0..=0,
            interval_ms: 604_800_000..=604_800_000,
            partitions: 1..=4,
            replication: 1..=1,
            during_ms: 10_000..=10_000,
            workloads: vec![],
            faults: vec![],
            wild_percent: 0,
            buggify_percent: 0,
            buggify_points: vec![],
            checkers: vec![ALL.to_string()],
        }
    }

    fn line(&mut self, line: &str, workloads: &[&str], vocabulary: &dyn Vocabulary) -> Result<(), Problem> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (directive, rest) = words.split_first().expect("the line is not empty");
        match *directive {
            "cluster" => {
                for (key, value) in options(rest)? {
                    match key {
                        "data" => self.data = within(value, Unit::Number, 1..=64)?,
                        "spare" => self.spare = within(value, Unit::Number, 0..=64)?,
                        _ => return Err(unknown("option", key, &["data", "spare"])),
                    }
                }
            }
            "table" => {
                for (key, value) in options(rest)? {
                    match key {
                        "interval" => self.interval_ms = within(value, Unit::Milliseconds, 3_600_000..=31_536_000_000)?,
                        "partitions" => self.partitions = within(value, Unit::Number, 1..=1_000)?,
                        "replication" => self.replication = within(value, Unit::Number, 1..=64)?,
                        _ => return Err(unknown("option", key, &["interval", "partitions", "replication"])),
                    }
                }
            }
            "during" => self.during_ms = within(one("during TIME", line, rest)?, Unit::Milliseconds, 1..=86_400_000)?,
            "wild" => self.wild_percent = *within(one("wild CHANCE", line, rest)?, Unit::Percent, 0..=100)?.start(),
            "buggify" => {
                let (chance, points) = rest.split_at(rest.len().min(1));
                self.buggify_percent =
                    *within(one("buggify CHANCE [POINT]…", line, chance)?, Unit::Percent, 0..=100)?.start();
                self.buggify_points = points.iter().map(|name| point(name)).collect::<Result<_, _>>()?;
            }
            "workload" => self.workloads.push(workload(rest, line, workloads, vocabulary)?),
            "fault" => self.faults.push(fault(rest, line)?),
            "check" => {
                let mut allowed = vec![ALL];
                allowed.extend(vocabulary.checkers());
                if rest.is_empty() {
                    return Err(Problem::at(line, format!("expected: check NAME…, of: {}", allowed.join(", "))));
                }
                if let Some(word) = rest.iter().find(|word| !allowed.contains(word)) {
                    return Err(unknown("checker", word, &allowed));
                }
                self.checkers = rest.iter().map(ToString::to_string).collect();
            }
            other => return Err(unknown("directive", other, &DIRECTIVES)),
        }
        Ok(())
    }
}

fn workload(
    rest: &[&str],
    line: &str,
    workloads: &[&str],
    vocabulary: &dyn Vocabulary,
) -> Result<WorkloadMix, Problem> {
    let form = || {
        Problem::at(
            line,
            format!("expected: workload NAME chance=P% [key=N..M]…, NAME one of: {}", workloads.join(", ")),
        )
    };
    let (name, rest) = rest.split_first().ok_or_else(form)?;
    if !workloads.contains(name) {
        return Err(unknown("workload", name, workloads));
    }
    let mut mix = WorkloadMix { name: name.to_string(), chance_percent: 100, options: vec![] };
    for (key, value) in options(rest)? {
        match key {
            "chance" => mix.chance_percent = *within(value, Unit::Percent, 0..=100)?.start(),
            key => {
                let range = within(value, Unit::Number, 0..=1_000_000)?;
                // Drawn only to see that it can be.
                for end in [range.start(), range.end()] {
                    let options = vec![(key.to_string(), end.to_string())];
                    let spec = WorkloadSpec { name: name.to_string(), options };
                    let drawn = vocabulary.workload(&spec, &mut chance::stream(0, ""));
                    drawn.map_err(|why| Problem::at(key, why))?;
                }
                mix.options.push((key.to_string(), range));
            }
        }
    }
    Ok(mix)
}

fn fault(rest: &[&str], line: &str) -> Result<FaultMix, Problem> {
    let names = FAULTS.map(|(name, _)| name);
    let form = || Problem::at(line, format!("expected: fault KIND chance=P% …, KIND one of: {}", names.join(", ")));
    let (name, rest) = rest.split_first().ok_or_else(form)?;
    let (_, kind) = FAULTS.iter().find(|(known, _)| known == name).ok_or_else(|| unknown("fault", name, &names))?;
    let mut mix = FaultMix { kind: *kind, chance_percent: 100, count: 1..=1, lasts_ms: 1_000..=5_000, by: kind.by() };
    let most = if matches!(kind.unit(), Unit::Percent) { 100 } else { 31_536_000_000 };
    for (key, value) in options(rest)? {
        match key {
            "chance" => mix.chance_percent = *within(value, Unit::Percent, 0..=100)?.start(),
            "count" => mix.count = within(value, Unit::Number, 0..=1_000)?,
            "lasts" => mix.lasts_ms = within(value, Unit::Milliseconds, 1..=86_400_000)?,
            // Less than a byte a second would be a cut, and one that lasts.
            "by" if *kind == FaultKind::Bandwidth => mix.by = within(value, kind.unit(), 1_000..=most)?,
            "by" => mix.by = within(value, kind.unit(), 0..=most)?,
            _ => return Err(unknown("option", key, &["chance", "count", "lasts", "by"])),
        }
    }
    Ok(mix)
}

fn point(name: &str) -> Result<&'static str, Problem> {
    buggify::find(name).ok_or_else(|| unknown("point", name, &buggify::ALL.map(|point| point.name)))
}

fn one<'a>(form: &str, line: &'a str, rest: &[&'a str]) -> Result<&'a str, Problem> {
    match rest {
        [word] => Ok(word),
        _ => Err(Problem::at(line, format!("expected: {form}"))),
    }
}

/// `key=value` words as slices of the line.
fn options<'a>(words: &[&'a str]) -> Result<Vec<(&'a str, &'a str)>, Problem> {
    let split = |word: &&'a str| word.split_once('=').ok_or_else(|| Problem::at(word, "expected: key=value"));
    words.iter().map(split).collect()
}

/// `3`, `1..4`, `30%`, `500ms..10s`.
fn within(text: &str, unit: Unit, bounds: RangeInclusive<u64>) -> Result<RangeInclusive<u64>, Problem> {
    let (form, read): (&str, fn(&str) -> Option<u64>) = match unit {
        Unit::Number => ("a number or a range, as 3 or 1..4", |text| text.parse().ok()),
        Unit::Percent => ("a chance, as 30%", |text| text.strip_suffix('%')?.parse().ok()),
        Unit::Milliseconds => ("a time or a range, as 10s or 500ms..10s", |text| {
            duration(text).ok().map(|duration: Duration| duration.as_millis() as u64)
        }),
        Unit::Bytes => ("a size or a range, as 64kB or 10kB..1MB", |text| bytes(text).ok()),
    };
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    match (read(low), read(high)) {
        (Some(low), Some(high)) if low > high => {
            Err(Problem::at(text, format!("bad range \"{text}\": it ends before it begins")))
        }
        (Some(low), Some(high)) if bounds.contains(&low) && bounds.contains(&high) => Ok(low..=high),
        (Some(_), Some(_)) => Err(Problem::at(
            text,
            format!(
                "\"{text}\" is out of bounds, expected {} to {}",
                unit.show(*bounds.start()),
                unit.show(*bounds.end())
            ),
        )),
        _ => Err(Problem::at(text, format!("bad value \"{text}\", expected {form}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::words::Words;

    fn parse(text: &str) -> Result<Mix, ParseError> {
        Mix::parse("x.mix", text, &["batches", "bank"], &Words)
    }

    #[test]
    fn a_mix_says_what_is_drawn_and_how_often() {
        let mix = parse(
            "# all\ncluster data=2..3\nduring 5s..1m\nworkload bank chance=40% tellers=1..3 # some\n\
             fault clock by=1s..2h count=0..4\nwild 10%\ncheck atomicity",
        )
        .unwrap();
        assert_eq!((mix.data, mix.during_ms, mix.wild_percent), (2..=3, 5_000..=60_000, 10));
        assert_eq!(mix.workloads[0].options, [("tellers".to_string(), 1..=3)]);
        assert_eq!((mix.workloads[0].chance_percent, mix.faults[0].kind), (40, FaultKind::Clock));
        assert_eq!(mix.faults[0].by, 1_000..=7_200_000);
        assert_eq!(mix.checkers, ["atomicity"]);
    }

    #[test]
    fn a_mix_may_name_the_points_that_fire() {
        let named = parse("workload bank\nbuggify 50% commit.unconfirmed catalog.slow").unwrap();
        assert_eq!(
            (named.buggify_percent, &named.buggify_points[..]),
            (50, &["commit.unconfirmed", "catalog.slow"][..])
        );
        let error = parse("workload bank\nbuggify 50% commit.unconfirmd").unwrap_err().to_string();
        assert!(
            error.starts_with("x.mix:2:13: unknown point \"commit.unconfirmd\", expected one of: catalog.slow, "),
            "{error}"
        );
    }

    #[test]
    fn what_a_fault_is_by_has_the_unit_of_its_kind() {
        let by = |line: &str| parse(&format!("workload bank\nfault {line}")).unwrap().faults[0].by.clone();
        assert_eq!(by("slow by=5ms..1s"), 5..=1_000);
        assert_eq!(by("failing-disk by=1%..5%"), 1..=5);
        assert_eq!(by("bandwidth by=10kB..1MB"), 10_000..=1_000_000);
        assert_eq!(by("full-disk"), 0..=500_000);
        let bad = |line: &str| parse(&format!("workload bank\nfault {line}")).unwrap_err().to_string();
        assert!(bad("lose by=101%").contains("out of bounds, expected 0% to 100%"));
        assert!(bad("full-disk by=5").contains("expected a size or a range, as 64kB"));
    }

    #[test]
    fn errors_name_file_line_column_and_the_allowed_words() {
        let bad = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            bad("\nclusters data=1"),
            "x.mix:2:1: unknown directive \"clusters\", expected one of: cluster, table, during, workload, fault, wild, buggify, check"
        );
        assert_eq!(bad("cluster nodes=1"), "x.mix:1:9: unknown option \"nodes\", expected one of: data, spare");
        assert!(bad("cluster data=x").starts_with("x.mix:1:14: bad value \"x\", expected a number or a range"));
        assert!(bad("cluster data=4..1").starts_with("x.mix:1:14: bad range \"4..1\": it ends before it begins"));
        assert!(
            bad("  workload cash").starts_with("x.mix:1:12: unknown workload \"cash\", expected one of: batches, bank")
        );
        assert!(bad("fault flood").starts_with("x.mix:1:7: unknown fault \"flood\", expected one of: crash, "));
        assert!(bad("fault crash lasts=5").starts_with("x.mix:1:19: bad value \"5\", expected a time"));
        assert!(bad("check nothing").starts_with("x.mix:1:7: unknown checker"));
        assert!(bad("wild 1 2").starts_with("x.mix:1:1: expected: wild CHANCE"));
        assert!(bad("during 5s").contains("at least one `workload` line"));
    }
}
