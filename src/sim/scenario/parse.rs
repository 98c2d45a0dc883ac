//! Scenario text to steps. Errors name file, line, column and what was expected.

use super::names;
use super::problem::{ParseError, Problem, unknown};
use super::run::ALL;
use super::stage::Vocabulary;
use super::{
    Action, ClientBlock, ClusterSpec, Fault, How, Links, Nemesis, Record, Scenario, Step, Timed, When, WorkloadSpec,
    WorldKind,
};
use crate::sim::chance;
use crate::units::{bytes, duration};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a directive line means before it is joined with the records around it.
enum Directive {
    Cluster(ClusterSpec),
    Buggify(Vec<String>),
    Step(Action),
    /// Changes how the next record is run.
    Next(How),
    /// `background c3`: the next record, on that connection.
    Background(String),
    /// `statement maybe`: the record that starts on this very line.
    Maybe,
}

/// Words that begin a line of ours. Everything else is sqllogictest's.
const DIRECTIVES: [&str; 12] = [
    "cluster",
    "buggify",
    "client",
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
pub fn parse(file: &str, text: &str, vocabulary: &dyn Vocabulary) -> Result<Scenario, ParseError> {
    let (plain, directives) = split(file, text, vocabulary)?;
    let records = sqllogictest::parse_with_name(&plain, file).map_err(|error| {
        let number = error.location().line();
        let words = DIRECTIVES[..11].join(", ");
        let message = format!("{}: expected a sqllogictest record or a directive ({words})", error.kind());
        let line = text.lines().nth(number.saturating_sub(1) as usize).unwrap_or_default();
        Problem::from(message).in_line(file, number, line)
    })?;
    if let Some(sqllogictest::Record::Include { loc, .. }) =
        records.iter().find(|record| matches!(record, sqllogictest::Record::Include { .. }))
    {
        let line = text.lines().nth(loc.line().saturating_sub(1) as usize).unwrap_or_default();
        let message = "a scenario is one file: `include` is not among its words".to_string();
        return Err(Problem::from(message).in_line(file, loc.line(), line));
    }
    let scenario = assemble(file, text, records, directives)?;
    names::check(file, &scenario, vocabulary)?;
    Ok(scenario)
}

/// Takes our lines out (leaving comment lines, so that line numbers stay) and reads them.
fn split(
    file: &str,
    text: &str,
    vocabulary: &dyn Vocabulary,
) -> Result<(String, BTreeMap<u32, Directive>), ParseError> {
    let mut plain = String::with_capacity(text.len());
    let mut directives = BTreeMap::new();
    let mut inside_record = false;
    // The line of the `client` directive that the lines now belong to.
    let mut client = None;
    for (index, line) in text.lines().enumerate() {
        let number = index as u32 + 1;
        let trimmed = line.trim();
        if trimmed.is_empty() {
            (inside_record, client) = (false, None);
        } else if let Some(at) = client {
            if !trimmed.starts_with('#') {
                let timed = timed(without_comment(line), vocabulary).map_err(|p| p.in_line(file, number, line))?;
                if let Some(Directive::Step(Action::Client(block))) = directives.get_mut(&at) {
                    block.operations.push(timed);
                }
            }
            plain.push_str("#\n");
            continue;
        }
        let ours = if inside_record || trimmed.is_empty() || trimmed.starts_with('#') {
            None
        } else {
            directive(without_comment(line), vocabulary).map_err(|problem| problem.in_line(file, number, line))?
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
                if matches!(directive, Directive::Step(Action::Client(_))) {
                    client = Some(number);
                }
                directives.insert(number, directive);
            }
            None => {
                plain.push_str(line);
                let starts = ["statement", "query", "let", "system"].iter().any(|word| trimmed.starts_with(word));
                inside_record = !trimmed.is_empty() && (inside_record || starts);
            }
        }
        plain.push('\n');
    }
    Ok((plain, directives))
}

fn without_comment(line: &str) -> &str {
    line.split(" #").next().unwrap_or(line).trim()
}

fn directive(line: &str, vocabulary: &dyn Vocabulary) -> Result<Option<Directive>, Problem> {
    let (word, rest) = split_word(line);
    let read = || -> Result<Option<Directive>, Problem> {
        Ok(Some(match word {
            "cluster" => Directive::Cluster(cluster(rest)?),
            "buggify" => Directive::Buggify(points(rest, vocabulary)?),
            "client" => Directive::Step(Action::Client(client(rest)?)),
            "nemesis" => Directive::Step(Action::Nemesis(nemesis(rest, vocabulary.probes())?)),
            "advance" => Directive::Step(Action::Advance(duration(rest)?)),
            "eventually" => Directive::Next(How::Eventually(duration(rest)?)),
            "background" => Directive::Background(one_name("background", rest)?),
            "await" => Directive::Step(Action::Await(one_name("await", rest)?)),
            "check" => Directive::Step(Action::Check(checkers(rest, vocabulary)?)),
            "snapshot" => Directive::Step(Action::Snapshot(snapshot(rest, vocabulary)?)),
            "workload" => Directive::Step(Action::Workload(workload(rest, vocabulary)?)),
            "statement" if rest == "maybe" => Directive::Maybe,
            _ => return Ok(None),
        }))
    };
    read().map_err(|problem| problem.or_at(if rest.is_empty() { word } else { rest }))
}

/// The first word and what comes after it, both slices of the line.
fn split_word(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, &line[line.len()..]));
    (word, rest.trim())
}

fn checkers(rest: &str, vocabulary: &dyn Vocabulary) -> Result<Vec<String>, Problem> {
    let mut allowed = vec![ALL];
    allowed.extend(vocabulary.checkers());
    one_of("checker", "check", rest, &allowed)
}

/// `buggify all` is short for all points.
fn points(rest: &str, vocabulary: &dyn Vocabulary) -> Result<Vec<String>, Problem> {
    let points = vocabulary.points();
    let mut allowed = vec![ALL];
    allowed.extend(&points);
    let named = one_of("point", "buggify", rest, &allowed)?;
    let all = named.iter().any(|name| name == ALL);
    Ok(if all { points.iter().map(ToString::to_string).collect() } else { named })
}

fn snapshot(rest: &str, vocabulary: &dyn Vocabulary) -> Result<String, Problem> {
    let name = one_name("snapshot", rest)?;
    one_of("snapshot", "snapshot", rest, &vocabulary.snapshots()).map(|_| name)
}

/// All words, each of which must be allowed.
fn one_of(what: &str, directive: &str, rest: &str, allowed: &[&str]) -> Result<Vec<String>, Problem> {
    if rest.is_empty() {
        return Err(format!("expected: {directive} NAME…, of: {}", allowed.join(", ")).into());
    }
    let known =
        |word: &str| if allowed.contains(&word) { Ok(word.to_string()) } else { Err(unknown(what, word, allowed)) };
    rest.split_whitespace().map(known).collect()
}

/// `client w0`, `client r0 while w0 w1`.
fn client(rest: &str) -> Result<ClientBlock, Problem> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (name, accompanies) = match words[..] {
        [name] => (name, &[][..]),
        [name, "while", ref others @ ..] if !others.is_empty() => (name, others),
        _ => return Err("expected: client NAME, or client NAME while NAME…".to_string().into()),
    };
    let accompanies = accompanies.iter().map(ToString::to_string).collect();
    Ok(ClientBlock { name: name.to_string(), accompanies, operations: Vec::new() })
}

/// `15ms insert …`, `1s..2s read …`, `read …`.
fn timed(line: &str, vocabulary: &dyn Vocabulary) -> Result<Timed, Problem> {
    let (first, rest) = split_word(line);
    let pause = first.starts_with(|c: char| c.is_ascii_digit());
    let (pause, operation) =
        if pause { (durations(first).map_err(|why| Problem::at(first, why))?, rest) } else { Default::default() };
    let operation = if operation.is_empty() { line.trim() } else { operation };
    vocabulary.operation(operation).map_err(|why| Problem::at(operation, why))?;
    Ok(Timed { pause, text: operation.to_string() })
}

fn one_name(word: &str, rest: &str) -> Result<String, String> {
    match rest.split_whitespace().collect::<Vec<_>>()[..] {
        [name] => Ok(name.to_string()),
        _ => Err(format!("expected: {word} NAME")),
    }
}

fn options(rest: &str, form: &str) -> Result<Vec<(String, String)>, String> {
    rest.split_whitespace()
        .map(|word| word.split_once('=').map(|(key, value)| (key.to_string(), value.to_string())))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| format!("expected: {form}"))
}

const CLUSTER_FORM: &str = "cluster [data=N] [spare=N] [seed=N] [world=any|sim|loopback|postgres[,…]]";

fn cluster(rest: &str) -> Result<ClusterSpec, Problem> {
    let mut spec = ClusterSpec::default();
    for (key, value) in options(rest, CLUSTER_FORM)? {
        let place = find_word(rest, &key);
        let bad = || Problem::at(place, format!("bad value in \"{key}={value}\", expected: {CLUSTER_FORM}"));
        match key.as_str() {
            "data" => spec.data = value.parse().ok().filter(|n| *n <= 64).ok_or_else(bad)?,
            "spare" => spec.spare = value.parse().ok().filter(|n| *n <= 64).ok_or_else(bad)?,
            "seed" => spec.seed = Some(value.parse().map_err(|_| bad())?),
            "world" if value == "any" => spec.worlds = WorldKind::ALL.to_vec(),
            "world" => spec.worlds = value.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?,
            _ => return Err(Problem::at(place, format!("unknown option \"{key}\", expected: {CLUSTER_FORM}"))),
        }
    }
    Ok(spec)
}

/// Where the word that begins with `key` stands in `rest`.
fn find_word<'a>(rest: &'a str, key: &str) -> &'a str {
    rest.split_whitespace().find(|word| word.starts_with(key)).unwrap_or(rest)
}

impl Default for ClusterSpec {
    fn default() -> ClusterSpec {
        ClusterSpec { data: 3, spare: 0, seed: None, worlds: WorldKind::ALL.to_vec() }
    }
}

const NEMESIS_FORM: &str = "nemesis crash NODE | kill NODE | restart NODE | pause NODE | resume NODE | \
     crash-all | partition A B | C | partition A -> B C | slow A | B by 50ms | lose A | B 10% | \
     tail A | B 5% by 300ms | bandwidth A | B 100kB/s | heal | recover | clock NODE +2h | drift NODE 200ppm | \
     full-disk NODE | full-disk NODE leaving 64kB | slow-disk NODE by 50ms | failing-disk NODE 1% | rot NODE | \
     lose-disk NODE, then nothing, `after 3s`, `after 1s..3s`, `at PROBE` or `at PROBE hit 1..5`, \
     then, but for restart, resume, heal, clock, drift and rot, `for 2s` or `for 2s..9s`";

fn nemesis(rest: &str, probes: &[&str]) -> Result<Nemesis, Problem> {
    let (rest, lasts) = match rest.rsplit_once(" for ") {
        Some((rest, range)) => (rest.trim(), Some(durations(range)?)),
        None => (rest, None),
    };
    let (fault, when) = split_when(rest, probes)?;
    let (word, arguments) = fault.split_once(char::is_whitespace).unwrap_or((fault, ""));
    let arguments = arguments.trim();
    let form = || format!("expected: {NEMESIS_FORM}");
    let fault = match word {
        "crash" => Fault::Crash(one_name("nemesis crash", arguments)?),
        "kill" => Fault::Kill(one_name("nemesis kill", arguments)?),
        "pause" => Fault::Pause(one_name("nemesis pause", arguments)?),
        "resume" => Fault::Resume(one_name("nemesis resume", arguments)?),
        "restart" => Fault::Restart(one_name("nemesis restart", arguments)?),
        "rot" => Fault::Rot(one_name("nemesis rot", arguments)?),
        "lose-disk" => Fault::LoseDisk(one_name("nemesis lose-disk", arguments)?),
        "crash-all" if arguments.is_empty() => Fault::CrashAll,
        "full-disk" => match arguments.split_once(" leaving ") {
            Some((node, rest)) => Fault::FullDisk(one_name("nemesis full-disk", node)?, bytes(rest)?),
            None => Fault::FullDisk(one_name("nemesis full-disk", arguments)?, 0),
        },
        "slow-disk" => {
            let (node, by) = arguments.split_once(" by ").ok_or_else(form)?;
            Fault::SlowDisk(one_name("nemesis slow-disk", node)?, duration(by)?)
        }
        "failing-disk" => {
            let (node, percent) = arguments.rsplit_once(char::is_whitespace).ok_or_else(form)?;
            let node = one_name("nemesis failing-disk", node)?;
            Fault::FailingDisk(node, percent_as_ppm(percent).ok_or_else(form)?)
        }
        "bandwidth" => {
            let (between, rate) = arguments.rsplit_once(char::is_whitespace).ok_or_else(form)?;
            let rate = bytes(rate.strip_suffix("/s").ok_or_else(form)?)?;
            Fault::Bandwidth(links(between).ok_or_else(form)?, rate.max(1))
        }
        "tail" => {
            let (rest, by) = arguments.rsplit_once(" by ").ok_or_else(form)?;
            let (between, percent) = rest.trim().rsplit_once(char::is_whitespace).ok_or_else(form)?;
            let ppm = percent_as_ppm(percent).ok_or_else(form)?;
            Fault::Tail(links(between).ok_or_else(form)?, ppm, duration(by)?)
        }
        "heal" if arguments.is_empty() => Fault::Heal,
        "recover" if arguments.is_empty() => Fault::Recover,
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
        _ => return Err(Problem::at(word, form())),
    };
    if lasts.is_some() && !fault.can_end() {
        return Err(form().into());
    }
    Ok(Nemesis { fault, when, lasts })
}

fn split_when<'a>(rest: &'a str, probes: &[&str]) -> Result<(&'a str, When), Problem> {
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
            _ => return Err(form().into()),
        };
        if hits.0 == 0 || hits.1 < hits.0 {
            return Err(form().into());
        }
        if !probes.contains(&name) {
            return Err(unknown("probe", name, probes));
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

fn workload(rest: &str, vocabulary: &dyn Vocabulary) -> Result<WorkloadSpec, Problem> {
    const FORM: &str = "workload NAME [key=value]…";
    let (name, rest) = split_word(rest);
    if name.is_empty() || name.contains('=') {
        return Err(format!("expected: {FORM}").into());
    }
    let spec = WorkloadSpec { name: name.to_string(), options: options(rest, FORM)? };
    // Drawn only to see that it can be.
    vocabulary.workload(&spec, &mut chance::stream(0, "")).map_err(|why| Problem::at(name, why))?;
    Ok(spec)
}

/// Joins records and directives in the order of their lines.
fn assemble(
    file: &str,
    text: &str,
    records: Vec<Record>,
    mut directives: BTreeMap<u32, Directive>,
) -> Result<Scenario, ParseError> {
    let error =
        |line: u32, message: &str| ParseError { file: file.to_string(), line, column: 1, message: message.to_string() };
    let (mut cluster, mut buggify) = (None, None);
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
                    Directive::Buggify(points) if buggify.is_none() && steps.is_empty() => buggify = Some(points),
                    Directive::Buggify(_) => {
                        return Err(error(line, "expected one `buggify` line, before the first step"));
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
    Ok(Scenario {
        name: super::name_of(file),
        text: text.to_string(),
        cluster: cluster.unwrap_or_default(),
        buggify: buggify.unwrap_or_default(),
        steps,
    })
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

    /// A system that knows two operations.
    struct Toy;

    impl Vocabulary for Toy {
        fn workload(&self, spec: &WorkloadSpec, _: &mut chance::Stream) -> Result<Vec<ClientBlock>, String> {
            if spec.name == "toy" {
                Ok(vec![])
            } else {
                Err(format!("unknown workload \"{}\", expected: toy", spec.name))
            }
        }

        fn operation(&self, text: &str) -> Result<(), String> {
            if ["get", "put"].contains(&split_word(text).0) { Ok(()) } else { Err("expected: get or put".to_string()) }
        }

        fn checkers(&self) -> Vec<&'static str> {
            vec!["safety"]
        }

        fn snapshots(&self) -> Vec<&'static str> {
            vec!["state"]
        }

        fn probes(&self) -> &'static [&'static str] {
            &["txn.decided"]
        }

        fn points(&self) -> Vec<&'static str> {
            vec!["pool.dropped", "wire.short_read"]
        }
    }

    fn parse(file: &str, text: &str) -> Result<Scenario, ParseError> {
        super::parse(file, text, &Toy)
    }

    fn nemesis(text: &str) -> Result<Nemesis, Problem> {
        super::nemesis(text, Toy.probes())
    }

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
    fn a_client_has_the_lines_below_it_up_to_the_next_blank_one() {
        let text = "client w0\n5ms put x\n# not this\n1s..2s put y # but that\nget z\n\nclient r0 while w0\nget x\n\nadvance 1s\n";
        let scenario = parse("x.slt", text).unwrap();
        let blocks: Vec<String> = scenario
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Client(block) => Some(block.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(blocks, ["client w0\n5ms put x\n1s..2s put y\nget z", "client r0 while w0\nget x"]);
        assert_eq!(scenario.steps.len(), 3);
    }

    #[test]
    fn points_stand_in_one_line_before_the_first_step() {
        let points = |text: &str| parse("x.slt", text).map(|scenario| scenario.buggify);
        assert_eq!(points("advance 1s").unwrap(), [""; 0]);
        assert_eq!(points("cluster data=1\nbuggify pool.dropped\n\nadvance 1s").unwrap(), ["pool.dropped"]);
        assert_eq!(points("buggify all").unwrap(), ["pool.dropped", "wire.short_read"]);
        let bad = |text: &str| points(text).unwrap_err().to_string();
        assert_eq!(bad("advance 1s\nbuggify all"), "x.slt:2:1: expected one `buggify` line, before the first step");
        assert_eq!(
            bad("buggify pool"),
            "x.slt:1:9: unknown point \"pool\", expected one of: all, pool.dropped, wire.short_read"
        );
        assert!(bad("buggify").contains("expected: buggify NAME…, of: all, "), "{}", bad("buggify"));
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
        let five = nemesis("full-disk an leaving 64kB at txn.decided for 2s").unwrap();
        assert_eq!((five.fault, five.lasts.is_some()), (Fault::FullDisk("an".into(), 64_000), true));
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
            "clock an -5m",
            "clock an +1ms",
            "drift an -5ppm",
            "bandwidth an | node0 node1 100kB/s",
            "tail an -> node1 0.5% by 300ms",
            "crash-all",
            "full-disk node1",
            "full-disk node1 leaving 64kB",
            "slow-disk an by 50ms",
            "failing-disk node0 1%",
            "rot an",
            "lose-disk node0",
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
            "rot an for 2s",
            "crash-all an",
            "full-disk an leaving 5",
            "slow-disk an 5ms",
            "failing-disk an 101%",
            "bandwidth an | node0 100kB",
            "tail an | node0 by 3ms",
        ] {
            assert!(nemesis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_name_file_line_and_expected_form() {
        let bad = |text: &str| parse("x.slt", text).unwrap_err().to_string();
        assert!(bad("\nnemesis explode dn1").starts_with("x.slt:2:9: expected: nemesis crash NODE"));
        assert!(
            bad("\n\nnemesis crash an at txn.preparedd")
                .starts_with("x.slt:3:21: unknown probe \"txn.preparedd\", expected one of: txn.decided")
        );
        assert!(bad("cluster data=many").contains("bad value in \"data=many\""));
        assert!(bad("advance soon").contains("expected for example 500ms"));
        assert!(bad("frobnicate").starts_with("x.slt:1:1: "));
        assert!(bad("eventually 3s\nadvance 1s").contains("right after this line"));
        assert!(bad("statement maybe\n\n").starts_with("x.slt:1:1: "));
        assert!(
            bad("check safety nothing")
                .starts_with("x.slt:1:14: unknown checker \"nothing\", expected one of: all, safety")
        );
        assert!(bad("snapshot all").starts_with("x.slt:1:10: unknown snapshot"));
        assert!(bad("workload other").starts_with("x.slt:1:10: unknown workload"));
        assert!(bad("client").starts_with("x.slt:1:1: expected: client NAME"));
        assert!(bad("client c\n  5ms get x\n  5ms burn x").starts_with("x.slt:3:7: expected: get or put"));
        assert!(bad("client c\n5x get x").starts_with("x.slt:2:1: bad duration"));
        assert!(bad("query I\nSELECT 1\n----\n1\n\ncluster data=1").contains("before everything else"));
    }
}
