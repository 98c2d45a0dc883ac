//! The run as lines of text: time runs down, each lane is a column, faults go across.
//!
//! The rail at the left of a column says how its owner is: `│` up, `·` down, `‖` paused, `┃` a client that waits for an
//! answer. Messages are left out unless asked for; those that go the same way at about the same time are one arrow, and
//! what is said of one subject at several places is one line.

use super::Picture;
use super::lanes::{Lane, Whose, lanes};
use crate::sim::history::Ending;
use crate::sim::record::{Event, Name, details, seconds};
use std::collections::BTreeMap;
use std::time::Duration;

/// What to show, and how wide.
#[derive(Clone, Debug)]
pub struct Options {
    /// Characters in a line. With many lanes lines are longer: no column is narrower than [`COLUMN_MIN`].
    pub width: usize,
    pub messages: bool,
    /// Also those probes that say nothing of a subject, tasks, and files that were written.
    pub everything: bool,
    /// Where nothing is shown for longer than this, a line says for how long.
    pub idle: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { width: 120, messages: false, everything: false, idle: Duration::from_millis(500) }
    }
}

/// Characters.
const COLUMN_MIN: usize = 14;

/// `123.456789 `: microseconds tell events apart that people care for.
const TIME_WIDTH: usize = 12;

/// Longer texts are cut: a statement may be a megabyte.
const CELL_LINES_MAX: usize = 3;

/// Messages the same way within this time are one arrow.
const BATCH_WITHIN: Duration = Duration::from_millis(2);

/// The timeline, with a head that says which run it is. Every line ends with a line break and has no blanks at its end.
pub fn timeline(picture: &Picture, options: &Options) -> String {
    let lanes = lanes(picture);
    let room = options.width.saturating_sub(TIME_WIDTH);
    let column = (room / lanes.len().max(1)).max(COLUMN_MIN);
    let index = lanes.iter().enumerate().map(|(at, lane)| (lane.name.clone(), at)).collect();
    let mut sheet = Sheet {
        options,
        index,
        rails: lanes.iter().map(|lane| if lane.whose == Whose::Node { Rail::Down } else { Rail::Up }).collect(),
        waiting: vec![0; lanes.len()],
        column,
        last: None,
        batch: None,
        passed: None,
        cuts: Vec::new(),
        cuts_at: Duration::ZERO,
        text: head(picture),
    };
    sheet.names(&lanes);
    for moment in &picture.moments {
        sheet.moment(moment.at, &moment.event);
    }
    sheet.flush();
    sheet.verdict(picture);
    sheet.text
}

fn head(picture: &Picture) -> String {
    let mut head = format!(
        "{}  seed {}  fingerprint {:016x}  {}\n",
        picture.title, picture.seed, picture.fingerprint, picture.verdict
    );
    if picture.cut() > 0 {
        let from = picture.moments.first().map_or(picture.end(), |first| first.at);
        head.push_str(&format!("the first {} events, before {}, were not kept\n", picture.cut(), seconds(from)));
    }
    head
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rail {
    Up,
    Down,
    Paused,
}

struct Batch {
    from: usize,
    to: usize,
    messages: u64,
    bytes: u64,
    first: Duration,
}

/// One probe of one subject, passed for several places at about the same time.
struct Passed {
    at: Duration,
    node: Name,
    probe: &'static str,
    subject: String,
    places: Vec<String>,
}

struct Sheet<'a> {
    options: &'a Options,
    index: BTreeMap<Name, usize>,
    rails: Vec<Rail>,
    /// Operations of each lane that are under way.
    waiting: Vec<usize>,
    /// Characters of a column, its rail included.
    column: usize,
    /// When the last line was written.
    last: Option<Duration>,
    batch: Option<Batch>,
    passed: Option<Passed>,
    /// Directions that were cut in one go.
    cuts: Vec<(Name, Name)>,
    cuts_at: Duration,
    text: String,
}

impl Sheet<'_> {
    fn moment(&mut self, at: Duration, event: &Event) {
        if let Event::Cut { from, to } = event {
            if self.cuts_at != at {
                self.flush();
            }
            self.cuts_at = at;
            self.cuts.push((from.clone(), to.clone()));
            return;
        }
        if let Event::Delivered { from, to, bytes, .. } = event {
            if self.options.messages {
                self.message(at, from, to, *bytes as u64);
            }
            return;
        }
        if let Event::Probe { node, probe, detail } = event
            && self.pass(at, node, probe, detail)
        {
            return;
        }
        if self.is_shown(event) {
            self.flush();
            self.show(at, event);
        }
    }

    fn is_shown(&self, event: &Event) -> bool {
        match event {
            Event::Connected { .. } | Event::Closed { .. } => self.options.messages && self.options.everything,
            Event::Stalled { .. } | Event::Refused { .. } => self.options.messages,
            Event::Probe { detail, .. } => self.options.everything || !detail.is_empty(),
            Event::Spawned { .. } | Event::Synced { .. } | Event::Replaced { .. } | Event::Removed { .. } => {
                self.options.everything
            }
            Event::Buggified { .. } => self.options.everything,
            _ => true,
        }
    }

    fn show(&mut self, at: Duration, event: &Event) {
        match event {
            Event::Started { node, life } => {
                self.set(node, Rail::Up);
                self.cell(at, node, &format!("starts, life {life}"));
            }
            Event::Exited { node } => {
                self.cell(at, node, "exits");
                self.set(node, Rail::Down);
            }
            Event::Crashed { node, .. } => {
                self.set(node, Rail::Down);
                self.across(at, '═', &event.to_string());
            }
            Event::Paused { node } => {
                self.set(node, Rail::Paused);
                self.across(at, '═', &event.to_string());
            }
            Event::Resumed { node } => {
                self.set(node, Rail::Up);
                self.across(at, '═', &event.to_string());
            }
            Event::Lossy { .. } | Event::Narrowed { .. } | Event::Tailed { .. } | Event::Mended { .. } => {
                self.across(at, '═', &event.to_string());
            }
            Event::Slowed { .. } | Event::Healed | Event::Clock { .. } | Event::Disk { .. } | Event::Struck { .. } => {
                self.across(at, '═', &event.to_string());
            }
            Event::SyncLied { .. } | Event::SyncFailed { .. } | Event::Torn { .. } => {
                self.across(at, '═', &event.to_string());
            }
            Event::Violated { .. } | Event::Panicked { .. } => self.across(at, '█', &event.to_string()),
            Event::Checked { .. } | Event::Note { .. } => self.across(at, '─', &event.to_string()),
            Event::Invoked { client, text, .. } => {
                self.wait(client, 1);
                self.cell(at, client, text);
            }
            Event::Completed { client, outcome, text, .. } => {
                let sign = match outcome {
                    Ending::Ok => "✓",
                    Ending::Failed => "✗",
                    Ending::Unknown => "?",
                };
                self.cell(at, client, format!("{sign} {outcome} {text}").trim_end());
                self.wait(client, -1);
            }
            Event::Probe { node, probe, detail } => self.cell(at, node, format!("{probe} {detail}").trim_end()),
            Event::Buggified { node, point } => self.cell(at, node, &format!("{point} fires")),
            Event::Spawned { node, task } => self.cell(at, node, &format!("spawns {task}")),
            Event::Synced { node, file, bytes, .. } => self.cell(at, node, &format!("syncs {file}, {bytes} bytes")),
            Event::Replaced { node, file, bytes, .. } => self.cell(at, node, &format!("writes {file}, {bytes} bytes")),
            Event::Removed { node, file } => self.cell(at, node, &format!("removes {file}")),
            Event::Stalled { from, to, connection } => self.arrow(at, from, to, &format!("#{connection} stalls"), "╳"),
            Event::Refused { from, to, port } => self.arrow(at, from, to, &format!(":{port} refused"), "╳"),
            Event::Connected { from, to, connection, .. } => {
                self.arrow(at, from, to, &format!("#{connection} connected"), ">");
            }
            Event::Closed { from, to, connection, .. } => {
                self.arrow(at, from, to, &format!("#{connection} closed"), ">")
            }
            Event::Delivered { .. } | Event::Cut { .. } => {}
        }
    }

    fn message(&mut self, at: Duration, from: &Name, to: &Name, bytes: u64) {
        let (from, to) = (self.lane(from), self.lane(to));
        match &mut self.batch {
            Some(batch) if (batch.from, batch.to) == (from, to) && at - batch.first < BATCH_WITHIN => {
                batch.messages += 1;
                batch.bytes += bytes;
            }
            _ => {
                self.flush();
                self.batch = Some(Batch { from, to, messages: 1, bytes, first: at });
            }
        }
    }

    /// Gathers a probe that speaks of one subject at places; false if it is not of that kind.
    fn pass(&mut self, at: Duration, node: &Name, probe: &'static str, detail: &str) -> bool {
        let mut parts = details(detail);
        let (Some((subject, places)), None) = (parts.next(), parts.next()) else { return false };
        if places.is_empty() {
            return false;
        }
        let places = places.into_iter().map(str::to_string);
        match &mut self.passed {
            Some(last)
                if (&last.node, last.probe, last.subject.as_str()) == (node, probe, subject)
                    && at.saturating_sub(last.at) < BATCH_WITHIN =>
            {
                last.places.extend(places);
            }
            _ => {
                self.flush();
                let (node, subject) = (node.clone(), subject.to_string());
                self.passed = Some(Passed { at, node, probe, subject, places: places.collect() });
            }
        }
        true
    }

    /// Writes what was gathered.
    fn flush(&mut self) {
        if let Some(Passed { at, node, probe, subject, places }) = self.passed.take() {
            self.cell(at, &node, &format!("{probe} {subject} on {}", places.join(", ")));
        }
        if let Some(batch) = self.batch.take() {
            let many = if batch.messages > 1 { format!("{}x ", batch.messages) } else { String::new() };
            self.arrow_between(batch.first, batch.from, batch.to, &format!("{many}{} B", batch.bytes), ">");
        }
        let cuts = std::mem::take(&mut self.cuts);
        if !cuts.is_empty() {
            self.across(self.cuts_at, '═', &format!("cut {}", pairs(&cuts)));
        }
    }

    fn lane(&self, name: &Name) -> usize {
        *self.index.get(name).expect("whoever an event names has a lane")
    }

    fn set(&mut self, name: &Name, rail: Rail) {
        let lane = self.lane(name);
        self.rails[lane] = rail;
    }

    fn wait(&mut self, client: &Name, more: isize) {
        let lane = self.lane(client);
        // The beginning of an operation may have been cut off.
        self.waiting[lane] = self.waiting[lane].saturating_add_signed(more);
    }

    fn rail(&self, lane: usize) -> char {
        match self.rails[lane] {
            _ if self.waiting[lane] > 0 => '┃',
            Rail::Up => '│',
            Rail::Down => '·',
            Rail::Paused => '‖',
        }
    }

    fn names(&mut self, lanes: &[Lane]) {
        let mut line = " ".repeat(TIME_WIDTH);
        for lane in lanes {
            line.push_str(&padded(&format!("  {}", lane.name), self.column));
        }
        self.line(&line);
    }

    /// A text in its lane's column, wrapped there.
    fn cell(&mut self, at: Duration, lane: &Name, text: &str) {
        let lane = self.lane(lane);
        let rows = wrapped(text, self.column - 3);
        for (number, row) in rows.iter().enumerate() {
            let mut line = if number == 0 { self.time(at) } else { " ".repeat(TIME_WIDTH) };
            for other in 0..self.rails.len() {
                let text = if other == lane { row } else { "" };
                line.push_str(&padded(&format!("{} {text}", self.rail(other)), self.column));
            }
            self.line(&line);
        }
    }

    fn arrow(&mut self, at: Duration, from: &Name, to: &Name, text: &str, tip: &str) {
        self.arrow_between(at, self.lane(from), self.lane(to), text, tip);
    }

    fn arrow_between(&mut self, at: Duration, from: usize, to: usize, text: &str, tip: &str) {
        let mut line = self.time(at);
        let (left, right) = (from.min(to), from.max(to));
        let mut lane = 0;
        while lane < self.rails.len() {
            line.push(self.rail(lane));
            if lane == left && left != right {
                let room = (right - left) * self.column - 1;
                let tip = if tip == ">" && to < from { "<" } else { tip };
                line.push_str(&shaft(text, room, tip, to < from));
                lane = right;
                continue;
            }
            // A machine that talks to itself has no way to draw.
            let own = if left == right && lane == left { format!(" {text} to itself") } else { String::new() };
            line.push_str(&padded(&own, self.column - 1));
            lane += 1;
        }
        self.line(&line);
    }

    /// A line over all lanes.
    fn across(&mut self, at: Duration, stroke: char, text: &str) {
        let width = self.options.width.max(TIME_WIDTH + self.column * self.rails.len());
        for (number, row) in text.lines().enumerate() {
            let mut line = if number == 0 { self.time(at) } else { " ".repeat(TIME_WIDTH) };
            line.extend([stroke, stroke, ' ']);
            line.push_str(row);
            line.push(' ');
            let rest = width.saturating_sub(line.chars().count());
            line.extend(std::iter::repeat_n(stroke, rest));
            self.line(&line);
        }
    }

    /// The beginning of a line; says before it how long nothing was to be seen.
    fn time(&mut self, at: Duration) -> String {
        let idle = self.last.map_or(Duration::ZERO, |last| at.saturating_sub(last));
        if idle > self.options.idle {
            let mut line = padded(&format!("{:>10}", "⋮"), TIME_WIDTH);
            for lane in 0..self.rails.len() {
                let text = if lane == 0 { format!("{:.1} s later", idle.as_secs_f64()) } else { String::new() };
                line.push_str(&padded(&format!("{} {text}", self.rail(lane)), self.column));
            }
            self.line(&line);
        }
        self.last = Some(at);
        padded(&format!("{:>10.6}", at.as_secs_f64()), TIME_WIDTH)
    }

    fn verdict(&mut self, picture: &Picture) {
        let reason = picture.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let stroke = if picture.verdict == "ok" { '─' } else { '█' };
        self.across(picture.end(), stroke, &format!("{}{reason}", picture.verdict));
        if let Some(replay) = &picture.replay {
            self.line(replay);
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// `an | dn1, an -> dn2`: both directions as one.
fn pairs(cuts: &[(Name, Name)]) -> String {
    let mut words = Vec::new();
    for (at, (from, to)) in cuts.iter().enumerate() {
        let back = cuts.iter().position(|(f, t)| f == to && t == from);
        match back {
            Some(back) if back < at => {}
            Some(_) => words.push(format!("{from} | {to}")),
            None => words.push(format!("{from} -> {to}")),
        }
    }
    words.join(", ")
}

/// Blanks at the end, or cut.
fn padded(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length > width {
        return text.chars().take(width - 1).chain(['…']).collect();
    }
    format!("{text}{}", " ".repeat(width - length))
}

/// `── text ──>` in `room` characters; the text is left out if it does not fit.
fn shaft(text: &str, room: usize, tip: &str, leftwards: bool) -> String {
    let text = format!(" {text} ");
    let length = text.chars().count();
    let text = if length + 2 > room { "" } else { text.as_str() };
    let strokes = room - 1 - text.chars().count();
    let (before, after) = (strokes / 2, strokes - strokes / 2);
    let line = format!("{}{text}{}", "─".repeat(before), "─".repeat(after));
    if leftwards { format!("{tip}{line}") } else { format!("{line}{tip}") }
}

/// Lines of at most `width` characters, broken between words where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    let mut row = String::new();
    for word in text.split_whitespace() {
        let mut word = word;
        if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > width {
            rows.push(std::mem::take(&mut row));
        }
        while word.chars().count() > width {
            let end = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
            // Rather behind a sign than within a word, unless that leaves much of the line empty.
            let sign = word[..end].rfind(['.', '_', ',', '(', '/', '-']).map_or(0, |at| at + 1);
            let cut = if sign > end / 2 { sign } else { end };
            rows.push(word[..cut].to_string());
            word = &word[cut..];
            // The rest of it is not shown.
            if rows.len() > CELL_LINES_MAX {
                break;
            }
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
        if rows.len() > CELL_LINES_MAX {
            break;
        }
    }
    rows.push(row);
    if rows.len() > CELL_LINES_MAX {
        rows.truncate(CELL_LINES_MAX);
        let last = rows.last_mut().expect("not empty");
        *last = padded(&format!("{last} …"), width).trim_end().to_string();
    }
    rows
}
