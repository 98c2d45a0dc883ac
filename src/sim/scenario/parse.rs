//! Scenario text to steps. Errors name file, line and the expected form.

use super::{Action, ClusterSpec, Fault, How, Links, Nemesis, Record, Scenario, Step, When, WorkloadSpec, WorldKind};
use crate::probe;
use crate::units::duration;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A scenario file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub file: String,
    pub line: u32,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// What a directive line means before it is joined with the records around it.
enum Directive {
    Cluster(ClusterSpec),
    Step(Action),
    /// Changes how the next record is run.
    Next(How),
    /// `background c3`: the next record, on that connection.
    Background(String),
    /// `statement maybe`: the record that starts on this very line.
    Maybe,
}

/// Words that begin a line of ours. Everything else is sqllogictest's.
const DIRECTIVES: [&str; 10] = [
    "cluster",
    "nemesis",
    "advance",
    "eventually",
    "background",
    "await",
    "check",
    "snapshot",
    "workload",
    "statement",
];

/// Parses one scenario. `file` is for messages; the scenario's name is its last part without `.slt`.
pub fn parse(file: &str, text: &str) -> Result<Scenario, ParseError> {
    let (plain, directives) = split(file, text)?;
    let records = sqllogictest::parse_with_name(&plain, file).map_err(|error| ParseError {
        file: file.to_string(),
        line: error.location().line(),
        message: format!(
            "{}: expected a sqllogictest record or a directive ({})",
            error.kind(),
            DIRECTIVES[..9].join(", ")
        ),
    })?;
    assemble(file, records, directives)
}

/// Takes our lines out (leaving comment lines, so that line numbers stay) and reads them.
fn split(file: &str, text: &str) -> Result<(String, BTreeMap<u32, Directive>), ParseError> {
    let mut plain = String::with_capacity(text.len());
    let mut directives = BTreeMap::new();
    let mut inside_record = false;
    for (index, line) in text.lines().enumerate() {
        let number = index as u32 + 1;
        let trimmed = line.trim();
        let ours = if inside_record || trimmed.is_empty() || trimmed.starts_with('#') {
            None
        } else {
            directive(without_comment(trimmed)).map_err(|message| ParseError {
                file: file.to_string(),
                line: number,
                message,
            })?
        };
        match ours {
            Some(Directive::Maybe) => {
                plain.push_str("statement ok");
                directives.insert(number, Directive::Maybe);
                inside_record = true;
            }
            Some(Directive::Background(connection)) => {
                plain.push_str(&format!("connection {connection}"));
                directives.insert(number, Directive::Background(connection));
            }
            Some(directive) => {
                plain.push('#');
                directives.insert(number, directive);
            }
            None => {
                plain.push_str(line);
                let starts = ["statement", "query", "let", "system"].iter().any(|word| trimmed.starts_with(word));
                inside_record = if trimmed.is_empty() { false } else { inside_record || starts };
            }
        }
        plain.push('\n');
    }
    Ok((plain, directives))
}

fn without_comment(line: &str) -> &str {
    line.split(" #").next().unwrap_or(line).trim_end()
}

fn directive(line: &str) -> Result<Option<Directive>, String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    Ok(Some(match word {
        "cluster" => Directive::Cluster(cluster(rest)?),
        "nemesis" => Directive::Step(Action::Nemesis(nemesis(rest)?)),
        "advance" => Directive::Step(Action::Advance(duration(rest)?)),
        "eventually" => Directive::Next(How::Eventually(duration(rest)?)),
        "background" => Directive::Background(one_name("background", rest)?),
        "await" => Directive::Step(Action::Await(one_name("await", rest)?)),
        "check" => Directive::Step(Action::Check(names("check", rest)?)),
        "snapshot" => Directive::Step(Action::Snapshot(one_name("snapshot", rest)?)),
        "workload" => Directive::Step(Action::Workload(workload(rest)?)),
        "statement" if rest == "maybe" => Directive::Maybe,
        _ => return Ok(None),
    }))
}

fn one_name(word: &str, rest: &str) -> Result<String, String> {
    match rest.split_whitespace().collect::<Vec<_>>()[..] {
        [name] => Ok(name.to_string()),
        _ => Err(format!("expected: {word} NAME")),
    }
}

fn names(word: &str, rest: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = rest.split_whitespace().map(str::to_string).collect();
    if names.is_empty() { Err(format!("expected: {word} NAME…")) } else { Ok(names) }
}

fn options(rest: &str, form: &str) -> Result<Vec<(String, String)>, String> {
    rest.split_whitespace()
        .map(|word| word.split_once('=').map(|(key, value)| (key.to_string(), value.to_string())))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| format!("expected: {form}"))
}

const CLUSTER_FORM: &str = "cluster [data=N] [spare=N] [seed=N] [world=any|sim|loopback|postgres[,…]]";

fn cluster(rest: &str) -> Result<ClusterSpec, String> {
    let mut spec = ClusterSpec::default();
    for (key, value) in options(rest, CLUSTER_FORM)? {
        let bad = || format!("bad value in \"{key}={value}\", expected: {CLUSTER_FORM}");
        match key.as_str() {
            "data" => spec.data = value.parse().ok().filter(|n| *n <= 64).ok_or_else(bad)?,
            "spare" => spec.spare = value.parse().ok().filter(|n| *n <= 64).ok_or_else(bad)?,
            "seed" => spec.seed = Some(value.parse().map_err(|_| bad())?),
            "world" if value == "any" => spec.worlds = WorldKind::ALL.to_vec(),
            "world" => spec.worlds = value.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?,
            _ => return Err(format!("unknown option \"{key}\", expected: {CLUSTER_FORM}")),
        }
    }
    Ok(spec)
}

impl Default for ClusterSpec {
    fn default() -> ClusterSpec {
        ClusterSpec { data: 3, spare: 0, seed: None, worlds: WorldKind::ALL.to_vec() }
    }
}

const NEMESIS_FORM: &str = "nemesis crash NODE | kill NODE | restart NODE | pause NODE | resume NODE | \
     partition A B | C | partition A -> B C | slow A | B by 50ms | lose A | B 10% | heal | clock NODE +2h | \
     drift NODE 200ppm, then nothing, `after 3s`, `after 1s..3s`, `at PROBE` or `at PROBE hit 1..5`, \
     then for crash, kill, pause, partition, slow and lose `for 2s` or `for 2s..9s`";

fn nemesis(rest: &str) -> Result<Nemesis, String> {
    let (rest, lasts) = match rest.rsplit_once(" for ") {
        Some((rest, range)) => (rest.trim(), Some(durations(range)?)),
        None => (rest, None),
    };
    let (fault, when) = split_when(rest)?;
    let (word, arguments) = fault.split_once(char::is_whitespace).unwrap_or((fault, ""));
    let arguments = arguments.trim();
    let form = || format!("expected: {NEMESIS_FORM}");
    let fault = match word {
        "crash" => Fault::Crash(one_name("nemesis crash", arguments)?),
        "kill" => Fault::Kill(one_name("nemesis kill", arguments)?),
        "pause" => Fault::Pause(one_name("nemesis pause", arguments)?),
        "resume" => Fault::Resume(one_name("nemesis resume", arguments)?),
        "restart" => Fault::Restart(one_name("nemesis restart", arguments)?),
        "heal" if arguments.is_empty() => Fault::Heal,
        "partition" => match links(arguments).ok_or_else(form)? {
            Links::Between(groups) => Fault::Partition(groups),
            Links::OneWay(from, to) => Fault::OneWay(from, to),
        },
        "slow" => {
            let (between, by) = arguments.rsplit_once(" by ").ok_or_else(form)?;
            Fault::Slow(links(between).ok_or_else(form)?, duration(by)?)
        }
        "lose" => {
            let (between, percent) = arguments.rsplit_once(char::is_whitespace).ok_or_else(form)?;
            Fault::Lose(links(between).ok_or_else(form)?, percent_as_ppm(percent).ok_or_else(form)?)
        }
        "clock" | "drift" => {
            let (node, amount) = arguments.split_once(char::is_whitespace).ok_or_else(form)?;
            if word == "clock" {
                Fault::Clock(node.to_string(), signed_micros(amount.trim()).ok_or_else(form)?)
            } else {
                let ppm = amount.trim().strip_suffix("ppm").and_then(|n| n.parse().ok()).ok_or_else(form)?;
                Fault::Drift(node.to_string(), ppm)
            }
        }
        _ => return Err(form()),
    };
    if lasts.is_some() && !fault.can_end() {
        return Err(form());
    }
    Ok(Nemesis { fault, when, lasts })
}

fn split_when(rest: &str) -> Result<(&str, When), String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let cut =
        |word: &str| rest.rfind(&format!(" {word} ")).map(|at| (rest[..at].trim(), rest[at + word.len() + 2..].trim()));
    if words.last() == Some(&"now") {
        return Ok((rest.trim_end_matches("now").trim(), When::Now));
    }
    if let Some((fault, delay)) = cut("after") {
        let (low, high) = durations(delay)?;
        return Ok((fault, When::After(low, high)));
    }
    if let Some((fault, at)) = cut("at") {
        let form = || "expected: at PROBE, at PROBE hit 3 or at PROBE hit 1..5".to_string();
        let (name, hits) = match at.split_whitespace().collect::<Vec<_>>()[..] {
            [name] => (name, (1, 1)),
            [name, "hit", hits] => {
                let (low, high) = hits.split_once("..").unwrap_or((hits, hits));
                (name, (low.parse().map_err(|_| form())?, high.parse().map_err(|_| form())?))
            }
            _ => return Err(form()),
        };
        if hits.0 == 0 || hits.1 < hits.0 {
            return Err(form());
        }
        if !probe::ALL.contains(&name) {
            return Err(format!("unknown probe \"{name}\", expected one of: {}", probe::ALL.join(", ")));
        }
        return Ok((fault, When::At { probe: name.to_string(), hits }));
    }
    Ok((rest, When::Now))
}

/// `3s` or `1s..3s`.
fn durations(text: &str) -> Result<(Duration, Duration), String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (duration(low)?, duration(high)?);
    if low <= high { Ok((low, high)) } else { Err(format!("bad range \"{text}\": it ends before it begins")) }
}

fn links(arguments: &str) -> Option<Links> {
    let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    if let Some((from, to)) = arguments.split_once("->") {
        let (from, to) = (words(from), words(to));
        return (from.len() == 1 && !to.is_empty()).then(|| Links::OneWay(from[0].clone(), to));
    }
    let groups: Vec<Vec<String>> = arguments.split('|').map(words).collect();
    (groups.len() > 1 && groups.iter().all(|group| !group.is_empty())).then_some(Links::Between(groups))
}

/// `10%` or `0.5%`.
fn percent_as_ppm(text: &str) -> Option<u32> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then(|| (percent * 10_000.0).round() as u32)
}

fn signed_micros(text: &str) -> Option<i64> {
    let (sign, amount) = match text.strip_prefix('-') {
        Some(amount) => (-1, amount),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    Some(sign * i64::try_from(duration(amount).ok()?.as_micros()).ok()?)
}

fn workload(rest: &str) -> Result<WorkloadSpec, String> {
    const FORM: &str = "workload NAME [key=value]…";
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if name.is_empty() || name.contains('=') {
        return Err(format!("expected: {FORM}"));
    }
    Ok(WorkloadSpec { name: name.to_string(), options: options(rest, FORM)? })
}

/// Joins records and directives in the order of their lines.
fn assemble(
    file: &str,
    records: Vec<Record>,
    mut directives: BTreeMap<u32, Directive>,
) -> Result<Scenario, ParseError> {
    let error = |line: u32, message: &str| ParseError { file: file.to_string(), line, message: message.to_string() };
    let mut cluster = None;
    let mut steps: Vec<Step> = Vec::new();
    let mut records =
        records.into_iter().filter_map(|record| record_line(&record).map(|line| (line, record))).peekable();
    // How the next record is to be run, and the line that said so.
    let mut next: Option<(u32, How)> = None;
    loop {
        let record_at = records.peek().map(|(line, _)| *line);
        let directive_at = directives.keys().next().copied();
        match (record_at, directive_at) {
            (None, None) => break,
            (Some(line), directive) if directive.is_none_or(|at| line < at || is_maybe(&directives, line, at)) => {
                let (_, record) = records.next().expect("just peeked");
                if matches!(&record, sqllogictest::Record::Statement { sql, .. } if sql.trim().is_empty()) {
                    return Err(error(line, "expected SQL on the line after this one"));
                }
                let maybe = directives.get(&line).is_some_and(|d| matches!(d, Directive::Maybe));
                if maybe {
                    directives.remove(&line);
                }
                let how = match (next.take(), maybe) {
                    (None, true) => How::Maybe,
                    (None, false) => How::Now,
                    (Some((_, how)), false) => how,
                    (Some((_, How::Background)), true) => How::MaybeInBackground,
                    (Some((at, _)), true) => return Err(error(at, "`eventually` does not go with `statement maybe`")),
                };
                steps.push(Step { line, action: Action::Record { record: Box::new(record), how } });
            }
            (_, Some(line)) => {
                let directive = directives.remove(&line).expect("just looked up");
                if let (Some((at, _)), true) = (&next, !matches!(directive, Directive::Maybe)) {
                    return Err(error(*at, "expected a statement or query right after this line"));
                }
                match directive {
                    Directive::Cluster(spec) if cluster.is_none() && steps.is_empty() => cluster = Some(spec),
                    Directive::Cluster(_) => {
                        return Err(error(line, "expected one `cluster` line, before everything else"));
                    }
                    Directive::Step(action) => steps.push(Step { line, action }),
                    Directive::Next(how) => next = Some((line, how)),
                    Directive::Background(_) => next = Some((line, How::Background)),
                    Directive::Maybe => return Err(error(line, "expected SQL after `statement maybe`")),
                }
            }
            (Some(_), None) => unreachable!("the guard above takes every record when no directive is left"),
        }
    }
    if let Some((at, _)) = next {
        return Err(error(at, "expected a statement or query right after this line"));
    }
    let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".slt").to_string();
    Ok(Scenario { name, cluster: cluster.unwrap_or_default(), steps })
}

fn is_maybe(directives: &BTreeMap<u32, Directive>, record: u32, directive: u32) -> bool {
    record == directive && directives.get(&directive).is_some_and(|d| matches!(d, Directive::Maybe))
}

/// The line of a record that does something; others (comments, blank lines) have none.
fn record_line(record: &Record) -> Option<u32> {
    use sqllogictest::Record as R;
    match record {
        R::Statement { loc, .. }
        | R::Query { loc, .. }
        | R::Sleep { loc, .. }
        | R::Halt { loc }
        | R::Let { loc, .. } => Some(loc.line()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = "\
# A story.
cluster data=2 spare=1 seed=7 world=sim,loopback

statement ok
CREATE TABLE nemesis (
cluster int)

nemesis crash node1 at txn.decided hit 1..3   # strikes later
background c3
statement maybe
INSERT INTO nemesis VALUES (1)

nemesis clock an -5m
nemesis partition an | node0 node1
nemesis partition an -> node1 after 1s..2s
advance 10s
await c3
eventually 30s
query I
SELECT count(*) FROM nemesis
----
1

check all
";

    #[test]
    fn directives_and_records_keep_their_order_and_lines() {
        let scenario = parse("scenarios/story.slt", STORY).unwrap();
        assert_eq!(scenario.name, "story");
        assert_eq!(scenario.cluster.spare, 1);
        assert_eq!(scenario.cluster.worlds, [WorldKind::Sim, WorldKind::Loopback]);
        let lines: Vec<u32> = scenario.steps.iter().map(|step| step.line).collect();
        assert_eq!(lines, [4, 8, 10, 13, 14, 15, 16, 17, 19, 24]);
        let how: Vec<&How> = scenario
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Record { how, .. } => Some(how),
                _ => None,
            })
            .collect();
        assert_eq!(how, [&How::Now, &How::MaybeInBackground, &How::Eventually(Duration::from_secs(30))]);
    }

    #[test]
    fn a_fault_reads_back_as_it_was_written() {
        let one = nemesis("clock an -5m").unwrap();
        assert_eq!(one.fault, Fault::Clock("an".into(), -300_000_000));
        let two = nemesis("partition an -> node1 after 1s..2s").unwrap();
        assert_eq!(two.fault, Fault::OneWay("an".into(), vec!["node1".into()]));
        assert_eq!(two.when, When::After(Duration::from_secs(1), Duration::from_secs(2)));
        let three = nemesis("crash node1 at txn.decided hit 2..3").unwrap();
        assert_eq!(three.when, When::At { probe: "txn.decided".into(), hits: (2, 3) });
        let four = nemesis("crash an at txn.decided hit 1..9 for 2s..5s").unwrap();
        assert_eq!(four.lasts, Some((Duration::from_secs(2), Duration::from_secs(5))));
        assert!(nemesis("heal for 2s").is_err());
    }

    #[test]
    fn slow_and_lossy_links_read_back_and_print_as_they_were_written() {
        let slow = nemesis("slow an -> node0 node1 by 50ms for 2s").unwrap();
        let to = vec!["node0".to_string(), "node1".to_string()];
        assert_eq!(slow.fault, Fault::Slow(Links::OneWay("an".into(), to), Duration::from_millis(50)));
        for text in [
            "slow an | node1 by 50ms",
            "lose an | node0 node1 0.5%",
            "pause an",
            "resume an",
            "kill an",
            "clock an -300s",
            "clock an +1ms",
            "drift an -5ppm",
        ] {
            assert_eq!(nemesis(text).unwrap().fault.to_string(), text);
        }
        let pairs = Links::Between(vec![vec!["a".into(), "b".into()], vec!["c".into()]]);
        assert_eq!(pairs.pairs(), [("a", "c"), ("b", "c"), ("c", "a"), ("c", "b")]);
        for text in [
            "slow an | node1",
            "slow an by 5ms",
            "lose an | node1 101%",
            "lose an | node1 5",
            "kill",
            "resume an for 2s",
        ] {
            assert!(nemesis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_name_file_line_and_expected_form() {
        let bad = |text: &str| parse("x.slt", text).unwrap_err().to_string();
        assert!(bad("\nnemesis explode dn1").starts_with("x.slt:2: expected: nemesis crash NODE"));
        assert!(
            bad("\n\nnemesis crash an at txn.preparedd")
                .starts_with("x.slt:3: unknown probe \"txn.preparedd\", expected one of: ")
        );
        assert!(bad("cluster data=many").contains("bad value in \"data=many\""));
        assert!(bad("advance soon").contains("expected for example 500ms"));
        assert!(bad("frobnicate").starts_with("x.slt:1: "));
        assert!(bad("eventually 3s\nadvance 1s").contains("right after this line"));
        assert!(bad("statement maybe\n\n").starts_with("x.slt:1: "));
        assert!(bad("query I\nSELECT 1\n----\n1\n\ncluster data=1").contains("before everything else"));
    }
}
