//! Pictures of moments made by hand; a page of a real run is opened in a browser by `tests/integration/picture.rs`.

use super::data::KINDS;
use super::*;
use crate::sim::clock::ClockFault;
use crate::sim::history;
use crate::sim::record::{Crash, Ending, Event, Name};
use crate::trial::tracks;
use serde_json::Value;

fn name(text: &str) -> Name {
    Name::from(text)
}

fn at(millis: u64, event: Event) -> Moment {
    Moment { at: Duration::from_millis(millis), event }
}

fn probe(node: &str, probe: &'static str, detail: &str) -> Event {
    Event::Probe { node: name(node), probe, detail: detail.to_string() }
}

fn delivered(from: &str, to: &str, bytes: usize, sent: u64) -> Event {
    Event::Delivered {
        from: name(from),
        to: name(to),
        connection: 1,
        bytes,
        digest: u64::MAX,
        sent: Duration::from_millis(sent),
    }
}

fn cut(from: &str, to: &str) -> Event {
    Event::Cut { from: name(from), to: name(to) }
}

fn picture(moments: Vec<Moment>) -> Picture {
    Picture {
        title: "commit/access_node_dies_after_decision".to_string(),
        seed: 7,
        fingerprint: 0xfeed_f00d,
        verdict: "ok".to_string(),
        events: moments.len() as u64,
        moments,
        tracks: vec![tracks::transactions(), tracks::placement()],
        ..Picture::default()
    }
}

/// A commit that survives the loss of its coordinator, and a checker that is not content.
fn story() -> Picture {
    let node = |text: &str| name(text);
    let moments = vec![
        at(0, Event::Started { node: node("an"), life: 1 }),
        at(0, Event::Started { node: node("dn1"), life: 1 }),
        at(1, Event::Spawned { node: node("dn1"), task: "writer" }),
        at(40, Event::Invoked { client: node("c1"), operation: 1, text: "INSERT INTO conditions VALUES ('2023-01-01 00:00:00+00', 'device 7', 21.5), ('2023-01-02 00:00:00+00', 'device 8', 20)".into() }),
        at(41, delivered("an", "dn1", 120, 40)),
        at(42, delivered("an", "dn1", 80, 41)),
        at(43, delivered("dn1", "an", 20, 42)),
        at(44, probe("an", "chunk.created", "_hyper_1_1_chunk on dn1")),
        at(45, probe("an", "txn.preparing", "1-7 on dn1")),
        at(47, probe("dn1", "engine.prepare.after_sync", "")),
        at(48, probe("an", "txn.prepared", "1-7 on dn1")),
        at(49, probe("an", "txn.decided", "1-7")),
        at(49, Event::Struck { probe: "txn.decided".into(), fault: "power loss of an".into() }),
        at(49, Event::Crashed { node: node("an"), how: Crash::PowerLoss }),
        at(49, Event::Torn { node: node("an"), file: "catalog.redb".into(), kept: 3, lost: 1, torn: 0 }),
        at(900, cut("an", "dn1")),
        at(900, cut("dn1", "an")),
        at(1_049, Event::Started { node: node("an"), life: 2 }),
        at(1_100, Event::Stalled { from: node("an"), to: node("dn1"), connection: 3 }),
        at(1_200, Event::Clock { node: node("an"), fault: ClockFault::Step(-5_000_000) }),
        at(2_000, Event::Healed),
        at(2_010, Event::Paused { node: node("dn1") }),
        at(2_300, Event::Resumed { node: node("dn1") }),
        at(2_310, probe("an", "resolver.commit", "1-7 on dn1")),
        at(5_040, Event::Completed { client: node("c1"), operation: 1, outcome: history::Ending::Unknown, text: "no answer within 5 s".into() }),
        at(5_050, Event::Checked { checker: "durability".into() }),
        at(5_051, Event::Violated { checker: "atomicity".into(), evidence: "batch 0 of writer 1 is halved\n1 of 2 rows is there".into() }),
    ];
    Picture {
        verdict: "failed".to_string(),
        reason: Some("line 14: 1 violation".to_string()),
        replay: Some("hypertile run scenarios/commit/x.slt --seed 7".to_string()),
        ..picture(moments)
    }
}

fn golden(file: &str, text: &str) {
    let settings = insta::Settings::clone_current();
    let mut settings = settings;
    settings.set_snapshot_path("../../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(file, text));
}

#[test]
fn a_timeline_tells_the_story_of_a_crash() {
    golden("picture__timeline", &timeline(&story(), &Options::default()));
}

#[test]
fn a_timeline_with_everything_has_messages_as_arrows() {
    let options = Options { width: 90, messages: true, everything: true, ..Options::default() };
    golden("picture__timeline_everything", &timeline(&story(), &options));
}

#[test]
fn a_timeline_says_what_was_not_kept_and_stays_within_its_width() {
    let mut cut_off = story();
    cut_off.moments.drain(..10);
    let text = timeline(&cut_off, &Options { width: 100, ..Options::default() });
    assert!(text.contains("the first 10 events, before 0.048000000, were not kept"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with("commit/")) {
        assert!(line.chars().count() <= 100, "{line}");
        assert_eq!(line.trim_end(), line);
    }
}

#[test]
fn a_run_without_events_has_a_page_and_a_timeline() {
    let empty = picture(vec![]);
    assert!(timeline(&empty, &Options::default()).contains("seed 7"));
    assert!(page(&empty).contains("\"events\":[]"));
}

/// The data element of a page, parsed.
fn data_of(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn no_text_of_a_run_can_leave_the_data() {
    let evil = "</script><script>alert(1)</script><!-- \u{2028} \" \\ @@DATA@@";
    let mut picture = picture(vec![
        at(1, Event::Note { text: evil.to_string() }),
        at(2, Event::Started { node: name(evil), life: 1 }),
        at(3, Event::Violated { checker: evil.to_string(), evidence: evil.to_string() }),
    ]);
    picture.title = evil.to_string();
    picture.reason = Some(evil.to_string());
    let page = page(&picture);
    assert_eq!(page.matches("</script>").count(), TEMPLATE.matches("</script>").count());
    assert!(!page.contains("<!-- \u{2028}"));
    let data = data_of(&page);
    assert_eq!(data["title"], evil);
    assert_eq!(data["strings"][0], evil);
}

#[test]
fn the_page_needs_no_network() {
    for word in ["http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "innerHTML"] {
        assert!(!TEMPLATE.contains(word), "{word}");
    }
    assert_eq!(TEMPLATE.matches(DATA_MARK).count(), 1);
}

/// One event of each kind.
fn one_of_each() -> Vec<Event> {
    let (node, from, to, file) = (name("an"), name("an"), name("dn1"), "f".to_string());
    vec![
        Event::Started { node: node.clone(), life: 1 },
        Event::Exited { node: node.clone() },
        Event::Crashed { node: node.clone(), how: Crash::Process },
        Event::Paused { node: node.clone() },
        Event::Resumed { node: node.clone() },
        Event::Spawned { node: node.clone(), task: "t" },
        Event::Connected { from: from.clone(), to: to.clone(), port: 5432, connection: 1 },
        Event::Refused { from: from.clone(), to: to.clone(), port: 5432 },
        delivered("an", "dn1", 5, 0),
        Event::Closed { from: from.clone(), to: to.clone(), connection: 1, ending: Ending::Reset },
        Event::Stalled { from: from.clone(), to: to.clone(), connection: 1 },
        cut("an", "dn1"),
        Event::Slowed { from: from.clone(), to: to.clone(), by: Duration::from_millis(3) },
        Event::Lossy { from: from.clone(), to: to.clone(), ppm: 5 },
        Event::Narrowed { from: from.clone(), to: to.clone(), bytes_per_second: 1_000 },
        Event::Tailed { from: from.clone(), to: to.clone(), ppm: 5, by: Duration::from_millis(3) },
        Event::Mended { from, to },
        Event::Healed,
        Event::Synced { node: node.clone(), file: file.clone(), changes: 1, bytes: 2, digest: 3 },
        Event::SyncLied { node: node.clone(), file: file.clone() },
        Event::SyncFailed { node: node.clone(), file: file.clone() },
        Event::Replaced { node: node.clone(), file: file.clone(), bytes: 2, digest: 3 },
        Event::Removed { node: node.clone(), file: file.clone() },
        Event::Torn { node: node.clone(), file, kept: 1, lost: 2, torn: 3 },
        Event::Clock { node: node.clone(), fault: ClockFault::DriftPpm(-200) },
        Event::Disk { node: node.clone(), faults: "full".into() },
        probe("an", "txn.decided", "1-7"),
        Event::Buggified { node: node.clone(), point: "txn.late" },
        Event::Struck { probe: "p".into(), fault: "f".into() },
        Event::Panicked { node: node.clone(), task: "t", message: "m".into() },
        Event::Invoked { client: node.clone(), operation: 1, text: "q".into() },
        Event::Completed { client: node, operation: 1, outcome: history::Ending::Failed, text: "no".into() },
        Event::Checked { checker: "c".into() },
        Event::Violated { checker: "c".into(), evidence: "e".into() },
        Event::Note { text: "n".into() },
    ]
}

#[test]
fn every_kind_of_event_has_the_fields_that_its_kind_names() {
    let events = one_of_each();
    assert_eq!(events.len(), KINDS.len());
    let moments = events.into_iter().zip(0..).map(|(event, millis)| at(millis, event)).collect();
    let data = data_of(&page(&picture(moments)));
    for (number, event) in data["events"].as_array().unwrap().iter().enumerate() {
        let (event, kind) = (event.as_array().unwrap(), &KINDS[number]);
        assert_eq!(event[0], number, "{}", kind.name);
        assert_eq!(event.len(), 2 + kind.fields.len(), "{}", kind.name);
        for word in kind.text.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            assert!(kind.fields.iter().any(|(field, _)| *field == word), "{} {word}", kind.name);
        }
        for ((_, kind_of_field), value) in kind.fields.iter().zip(&event[2..]) {
            assert!(value.is_i64() || value.is_u64(), "{}", kind.name);
            let strings = data["strings"].as_array().unwrap().len() as u64;
            assert!(*kind_of_field != 's' || value.as_u64().unwrap() < strings, "{}", kind.name);
        }
    }
    // Every kind has its line too.
    let all = one_of_each().into_iter().zip(0..).map(|(event, millis)| at(millis, event)).collect();
    let options = Options { messages: true, everything: true, width: 200, ..Options::default() };
    assert!(timeline(&picture(all), &options).lines().count() > KINDS.len() - 2);
}

#[test]
fn lanes_are_clients_then_nodes_unless_the_picture_says_otherwise() {
    let names =
        |picture: &Picture| lanes::lanes(picture).into_iter().map(|lane| lane.name.to_string()).collect::<Vec<_>>();
    let mut picture = story();
    assert_eq!(names(&picture), ["c1", "an", "dn1"]);
    picture.lanes = vec!["dn1".into(), "nobody".into()];
    assert_eq!(names(&picture), ["c1", "dn1", "an"]);
    let asked = |client: &str| Event::Invoked { client: name(client), operation: 1, text: String::new() };
    picture.moments.extend(["w 2", "w 10", "reader", "w 1"].map(|client| at(6_000, asked(client))));
    assert_eq!(names(&picture), ["c1", "w 1", "w 2", "w 10", "reader", "dn1", "an"]);
}

#[test]
fn the_page_of_fifty_thousand_events_is_a_few_megabytes() {
    let names = ["an", "dn1", "dn2", "dn3"];
    let moments: Vec<Moment> = (0..50_000u64)
        .map(|n| {
            let (from, to) = (names[(n % 4) as usize], names[((n / 4 + 1 + n % 4) % 4) as usize]);
            let event = match n % 10 {
                0 => probe(from, "txn.prepared", &format!("1-{n} on {to}")),
                _ => delivered(from, to, (n % 700) as usize, n.saturating_sub(1)),
            };
            Moment { at: Duration::from_nanos(n * 1_234_567), event }
        })
        .collect();
    let bytes = page(&picture(moments)).len();
    assert!(bytes < 3_000_000, "{bytes} bytes");
}
