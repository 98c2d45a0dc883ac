//! Moments as compact JSON for the page.
//!
//! An event is an array: the number of its kind, the nanoseconds since the event before it, then its fields. Texts are
//! numbers of a table, since a run says the same few things very often; a delivered message costs about thirty bytes.
//! What the fields mean and how they read is in the table of kinds, so the page does not know events by heart.
//! Digests of contents are left out: nobody reads them.

use super::lanes::{Whose, lanes};
use super::{Picture, Track};
use crate::sim::clock::ClockFault;
use crate::sim::record::{Crash, Ending, Event};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A kind of event as the page sees it: its name, the filter it belongs to, its fields, and how it reads.
pub(super) struct Kind {
    pub name: &'static str,
    pub group: &'static str,
    /// Name and type: `s` a text, `n` a number, `d` a duration, `t` a moment before the event.
    pub fields: &'static [(&'static str, char)],
    pub text: &'static str,
}

const fn kind(
    name: &'static str,
    group: &'static str,
    fields: &'static [(&'static str, char)],
    text: &'static str,
) -> Kind {
    Kind { name, group, fields, text }
}

const WAY: &[(&str, char)] = &[("from", 's'), ("to", 's')];
const NODE: &[(&str, char)] = &[("node", 's')];
const FILE: &[(&str, char)] = &[("node", 's'), ("file", 's')];

pub(super) const KINDS: [Kind; 34] = [
    kind("started", "nodes", &[("node", 's'), ("life", 'n')], "{node} starts, life {life}"),
    kind("exited", "nodes", NODE, "{node} exits"),
    kind("crashed", "faults", &[("node", 's'), ("how", 's')], "{node} {how}"),
    kind("paused", "faults", NODE, "{node} is paused"),
    kind("resumed", "faults", NODE, "{node} goes on"),
    kind("spawned", "tasks", &[("node", 's'), ("task", 's')], "{node} spawns {task}"),
    kind(
        "connected",
        "messages",
        &[("from", 's'), ("to", 's'), ("port", 'n'), ("connection", 'n')],
        "{from} → {to}:{port} connected #{connection}",
    ),
    kind("refused", "messages", &[("from", 's'), ("to", 's'), ("port", 'n')], "{from} → {to}:{port} refused"),
    kind(
        "delivered",
        "messages",
        &[("from", 's'), ("to", 's'), ("connection", 'n'), ("bytes", 'n'), ("sent", 't')],
        "{from} → {to} #{connection} {bytes} bytes",
    ),
    kind(
        "closed",
        "messages",
        &[("from", 's'), ("to", 's'), ("connection", 'n'), ("ending", 's')],
        "{from} → {to} #{connection} {ending}",
    ),
    kind(
        "stalled",
        "messages",
        &[("from", 's'), ("to", 's'), ("connection", 'n')],
        "{from} → {to} #{connection} stalls",
    ),
    kind("cut", "faults", WAY, "{from} → {to} cut"),
    kind("slowed", "faults", &[("from", 's'), ("to", 's'), ("by", 'd')], "{from} → {to} slowed by {by}"),
    kind("lossy", "faults", &[("from", 's'), ("to", 's'), ("ppm", 'n')], "{from} → {to} loses {ppm} ppm"),
    kind(
        "narrowed",
        "faults",
        &[("from", 's'), ("to", 's'), ("rate", 'n')],
        "{from} → {to} carries {rate} bytes a second",
    ),
    kind(
        "tailed",
        "faults",
        &[("from", 's'), ("to", 's'), ("ppm", 'n'), ("by", 'd')],
        "{from} → {to} has a tail: {ppm} ppm, up to {by}",
    ),
    kind("mended", "faults", &[("from", 's'), ("to", 's')], "{from} → {to} mended"),
    kind("healed", "faults", &[], "network healed"),
    kind(
        "synced",
        "disk",
        &[("node", 's'), ("file", 's'), ("changes", 'n'), ("bytes", 'n')],
        "{node} syncs {file}: {changes} changes, {bytes} bytes",
    ),
    kind("lied", "faults", FILE, "{node} syncs {file}: a lie"),
    kind("failed", "faults", FILE, "{node} syncs {file}: input/output error"),
    kind("replaced", "disk", &[("node", 's'), ("file", 's'), ("bytes", 'n')], "{node} writes {file}: {bytes} bytes"),
    kind("removed", "disk", FILE, "{node} removes {file}"),
    kind(
        "torn",
        "faults",
        &[("node", 's'), ("file", 's'), ("kept", 'n'), ("lost", 'n'), ("torn", 'n')],
        "{node} {file} after the power loss: {kept} sectors kept, {lost} lost, {torn} torn",
    ),
    kind("clock", "faults", &[("node", 's'), ("change", 's'), ("what", 's'), ("amount", 'n')], "{node} clock {change}"),
    kind("disk", "faults", &[("node", 's'), ("faults", 's')], "{node} disk {faults}"),
    kind("probe", "probes", &[("node", 's'), ("probe", 's'), ("detail", 's')], "{node} {probe} {detail}"),
    kind("struck", "faults", &[("probe", 's'), ("fault", 's')], "strike at {probe}: {fault}"),
    kind("panicked", "verdicts", &[("node", 's'), ("task", 's'), ("message", 's')], "{node} {task} panics: {message}"),
    kind(
        "invoked",
        "statements",
        &[("client", 's'), ("operation", 'n'), ("text", 's')],
        "{client} asks #{operation}: {text}",
    ),
    kind(
        "completed",
        "statements",
        &[("client", 's'), ("operation", 'n'), ("outcome", 's'), ("text", 's')],
        "{client} is told #{operation}: {outcome} {text}",
    ),
    kind("checked", "verdicts", &[("checker", 's')], "{checker} holds"),
    kind("violated", "verdicts", &[("checker", 's'), ("evidence", 's')], "{checker} is violated: {evidence}"),
    kind("note", "notes", &[("text", 's')], "{text}"),
];

/// The whole picture. Not yet fit to stand in HTML.
pub(super) fn json(picture: &Picture) -> String {
    let mut events = Events::default();
    for moment in &picture.moments {
        events.push(moment.at, &moment.event);
    }
    let lanes: Vec<Value> = lanes(picture)
        .into_iter()
        .map(|lane| json!({ "name": &*lane.name, "node": lane.whose == Whose::Node }))
        .collect();
    let kinds: Vec<Value> = KINDS
        .iter()
        .map(|kind| json!({ "name": kind.name, "group": kind.group, "text": kind.text, "fields": kind.fields }))
        .collect();
    let head = json!({
        "title": picture.title,
        // As texts: a script's numbers have 53 bits.
        "seed": picture.seed.to_string(),
        "fingerprint": format!("{:016x}", picture.fingerprint),
        "verdict": picture.verdict,
        "reason": picture.reason,
        "replay": picture.replay,
        "cut": picture.cut(),
        "end": nanos(picture.end()),
        "lanes": lanes,
        "kinds": kinds,
        "tracks": picture.tracks.iter().map(track).collect::<Vec<_>>(),
        "strings": events.strings,
    });
    let head = head.to_string();
    let open = head.strip_suffix('}').expect("an object");
    format!("{open},\"events\":[{}]}}", events.text)
}

fn track(track: &Track) -> Value {
    let steps: Vec<Value> = track
        .steps
        .iter()
        .map(|step| json!({ "probe": step.probe, "label": step.label, "tone": step.tone.name(), "lasts": step.lasts.name() }))
        .collect();
    json!({ "title": track.title, "byPlace": track.by_place, "steps": steps })
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

/// Events written so far.
#[derive(Default)]
struct Events {
    text: String,
    strings: Vec<String>,
    numbers: BTreeMap<String, usize>,
    /// When the last one happened.
    last: u64,
}

/// Writes the fields of one event.
struct Fields<'a>(&'a mut Events);

impl Fields<'_> {
    fn s(&mut self, text: &str) -> &mut Self {
        let events = &mut self.0;
        let number = match events.numbers.get(text) {
            Some(number) => *number,
            None => {
                let number = events.strings.len();
                events.strings.push(text.to_string());
                events.numbers.insert(text.to_string(), number);
                number
            }
        };
        self.n(number as u64)
    }

    fn n(&mut self, number: u64) -> &mut Self {
        write!(self.0.text, ",{number}").expect("writing to a string");
        self
    }

    fn i(&mut self, number: i64) -> &mut Self {
        write!(self.0.text, ",{number}").expect("writing to a string");
        self
    }
}

impl Events {
    fn push(&mut self, at: Duration, event: &Event) {
        let name = name_of(event);
        let number = KINDS.iter().position(|kind| kind.name == name).expect("every event has a kind");
        let at = nanos(at);
        let comma = if self.text.is_empty() { "" } else { "," };
        write!(self.text, "{comma}[{number},{}", at.saturating_sub(self.last)).expect("writing to a string");
        self.last = at;
        fields(&mut Fields(self), at, event);
        self.text.push(']');
    }
}

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Started { .. } => "started",
        Event::Exited { .. } => "exited",
        Event::Crashed { .. } => "crashed",
        Event::Paused { .. } => "paused",
        Event::Resumed { .. } => "resumed",
        Event::Spawned { .. } => "spawned",
        Event::Connected { .. } => "connected",
        Event::Refused { .. } => "refused",
        Event::Delivered { .. } => "delivered",
        Event::Closed { .. } => "closed",
        Event::Stalled { .. } => "stalled",
        Event::Cut { .. } => "cut",
        Event::Slowed { .. } => "slowed",
        Event::Lossy { .. } => "lossy",
        Event::Narrowed { .. } => "narrowed",
        Event::Tailed { .. } => "tailed",
        Event::Mended { .. } => "mended",
        Event::Healed => "healed",
        Event::Synced { .. } => "synced",
        Event::SyncLied { .. } => "lied",
        Event::SyncFailed { .. } => "failed",
        Event::Replaced { .. } => "replaced",
        Event::Removed { .. } => "removed",
        Event::Torn { .. } => "torn",
        Event::Clock { .. } => "clock",
        Event::Disk { .. } => "disk",
        Event::Probe { .. } => "probe",
        Event::Struck { .. } => "struck",
        Event::Panicked { .. } => "panicked",
        Event::Invoked { .. } => "invoked",
        Event::Completed { .. } => "completed",
        Event::Checked { .. } => "checked",
        Event::Violated { .. } => "violated",
        Event::Note { .. } => "note",
    }
}

/// In the order of the kind's table.
fn fields(to: &mut Fields<'_>, at: u64, event: &Event) {
    match event {
        Event::Started { node, life } => to.s(node).n(*life),
        Event::Exited { node } | Event::Paused { node } | Event::Resumed { node } => to.s(node),
        Event::Crashed { node, how: Crash::PowerLoss } => to.s(node).s("loses power"),
        Event::Crashed { node, how: Crash::Process } => to.s(node).s("is killed"),
        Event::Spawned { node, task } => to.s(node).s(task),
        Event::Connected { from, to: other, port, connection } => {
            to.s(from).s(other).n(u64::from(*port)).n(*connection)
        }
        Event::Refused { from, to: other, port } => to.s(from).s(other).n(u64::from(*port)),
        Event::Delivered { from, to: other, connection, bytes, sent, .. } => {
            to.s(from).s(other).n(*connection).n(*bytes as u64).n(at.saturating_sub(nanos(*sent)))
        }
        Event::Closed { from, to: other, connection, ending } => {
            let ending = match ending {
                Ending::Finished => "end of stream",
                Ending::Reset => "reset",
                Ending::Unheard => "given up, nothing was heard",
            };
            to.s(from).s(other).n(*connection).s(ending)
        }
        Event::Stalled { from, to: other, connection } => to.s(from).s(other).n(*connection),
        Event::Cut { from, to: other } | Event::Mended { from, to: other } => to.s(from).s(other),
        Event::Lossy { from, to: other, ppm } => to.s(from).s(other).n(u64::from(*ppm)),
        Event::Narrowed { from, to: other, bytes_per_second } => to.s(from).s(other).n(*bytes_per_second),
        Event::Tailed { from, to: other, ppm, by } => to.s(from).s(other).n(u64::from(*ppm)).n(nanos(*by)),
        Event::Slowed { from, to: other, by } => to.s(from).s(other).n(nanos(*by)),
        Event::Healed => to,
        Event::Synced { node, file, changes, bytes, .. } => to.s(node).s(file).n(*changes as u64).n(*bytes as u64),
        Event::SyncLied { node, file } | Event::SyncFailed { node, file } | Event::Removed { node, file } => {
            to.s(node).s(file)
        }
        Event::Replaced { node, file, bytes, .. } => to.s(node).s(file).n(*bytes as u64),
        Event::Torn { node, file, kept, lost, torn } => to.s(node).s(file).n(*kept).n(*lost).n(*torn),
        Event::Clock { node, fault } => {
            let (what, amount) = match fault {
                ClockFault::Step(micros) => ("step", *micros),
                ClockFault::Offset(micros) => ("offset", *micros),
                ClockFault::DriftPpm(ppm) => ("drift", *ppm),
                ClockFault::Correct => ("correct", 0),
            };
            to.s(node).s(&fault.to_string()).s(what).i(amount)
        }
        Event::Disk { node, faults } => to.s(node).s(faults),
        Event::Probe { node, probe, detail } => to.s(node).s(probe).s(detail),
        Event::Struck { probe, fault } => to.s(probe).s(fault),
        Event::Panicked { node, task, message } => to.s(node).s(task).s(message),
        Event::Invoked { client, operation, text } => to.s(client).n(*operation).s(text),
        Event::Completed { client, operation, outcome, text } => {
            to.s(client).n(*operation).s(&outcome.to_string()).s(text)
        }
        Event::Checked { checker } => to.s(checker),
        Event::Violated { checker, evidence } => to.s(checker).s(evidence),
        Event::Note { text } => to.s(text),
    };
}
