//! The page of a real run, opened in a browser.
//!
//! Pages and screenshots stay in the target folder's `tmp/picture`, to be looked at.

use hypertile::Result;
use hypertile::host::Host;
use hypertile::node::{Config, FIRST_DATABASE, Server, data_node_host};
use hypertile::sim::clock::ClockFault;
use hypertile::sim::history::Ending;
use hypertile::sim::picture::{self, Options, Picture};
use hypertile::sim::record::{Crash, Event, Moment, Name};
use hypertile::sim::world::Fault;
use hypertile::sim::{World, WorldConfig, simulate};
use hypertile::trial::tracks;
use hypertile::wire::client::{Address, Connection};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DATABASE: &str = "tsdb";

async fn serve(host: Host) {
    let config = Config { port: 5432, password: None };
    let listener = host.net().listen("0.0.0.0", 5432).await.unwrap();
    Server::open(&host, config).await.unwrap().run(listener).await;
}

fn address(database: &str) -> Address {
    Address {
        host: "an".to_string(),
        port: 5432,
        database: database.to_string(),
        user: "postgres".to_string(),
        password: None,
    }
}

/// One client: runs statements one after the other, connects anew after a loss, and tells the log what it was told.
struct Client {
    world: World,
    host: Host,
    name: Name,
    operations: u64,
    connection: Option<Connection>,
}

impl Client {
    fn new(world: &World, name: &str) -> Client {
        let host = world.node("client");
        Client { world: world.clone(), host, name: Name::from(name), operations: 0, connection: None }
    }

    async fn run(&mut self, text: &str) -> bool {
        self.operations += 1;
        let (client, operation) = (self.name.clone(), self.operations);
        self.world.record(Event::Invoked { client: client.clone(), operation, text: text.to_string() });
        let host = self.host.clone();
        let answer: std::result::Result<Result<()>, _> = host.timeout(Duration::from_secs(5), self.ask(text)).await;
        let (outcome, text) = match answer {
            Ok(Ok(())) => (Ending::Ok, String::new()),
            Ok(Err(error)) if error.message().contains("exists") => (Ending::Failed, error.to_string()),
            Ok(Err(error)) => (Ending::Unknown, error.to_string()),
            Err(_) => (Ending::Unknown, "no answer within 5 s".to_string()),
        };
        if outcome != Ending::Ok {
            self.connection = None;
        }
        self.world.record(Event::Completed { client, operation, outcome, text });
        outcome == Ending::Ok
    }

    async fn ask(&mut self, text: &str) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.host, &address(DATABASE)).await?);
        }
        self.connection.as_ref().unwrap().run(text).await
    }
}

async fn set_up(world: &World) {
    for k in 0..3 {
        world.alias(&data_node_host(k), &format!("node{k}"));
        world.start(&format!("node{k}"), serve);
    }
    world.start("an", serve);
    let host = world.node("client");
    let first = loop {
        match Connection::open(&host, &address(FIRST_DATABASE)).await {
            Ok(connection) => break connection,
            Err(_) => world.sleep(Duration::from_millis(10)).await,
        }
    };
    first.run(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
    let mut client = Client::new(world, "setup");
    for k in 0..3 {
        let call = format!("SELECT add_data_node('node{k}', host => '{}', port => 5432)", data_node_host(k));
        assert!(client.run(&call).await);
    }
    assert!(client.run("CREATE TABLE conditions (time timestamptz NOT NULL, device text NOT NULL, value int)").await);
    assert!(!client.run("CREATE TABLE conditions (time timestamptz NOT NULL)").await);
    assert!(
        client
            .run("SELECT create_distributed_hypertable('conditions', 'time', 'device', replication_factor => 2)")
            .await
    );
}

/// Commits, and an access node that dies right after a decision; a partition, a pause, a clock that jumps.
async fn story(world: World) {
    set_up(&world).await;
    world.strike_at("txn.decided", 9, Fault::bounce("an", Crash::PowerLoss, Duration::from_secs(2)));
    let through = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    for writer in 0..3u32 {
        let (mut client, through) = (Client::new(&world, &format!("writer {writer}")), through.clone());
        world.node("client").spawn("writer", async move {
            for batch in 0..14u32 {
                let day = 1 + (batch * 3 + writer * 5) % 27;
                let rows = (0..3).map(|row| format!("('2023-01-{day:02}', 'device {}', {batch})", row * 7 + writer));
                client.run(&format!("INSERT INTO conditions VALUES {}", rows.collect::<Vec<_>>().join(", "))).await;
                client.host.sleep(Duration::from_millis(20 + u64::from(writer) * 9)).await;
            }
            through.add_permits(1);
        });
    }
    world.note("three writers are under way");
    world.sleep(Duration::from_millis(150)).await;
    world.set_clock("node1", ClockFault::Step(7_200_000_000));
    world.sleep(Duration::from_millis(3_000)).await;
    world.partition(&["an"], &["node2"]);
    world.pause("node0");
    world.sleep(Duration::from_millis(700)).await;
    world.resume("node0");
    world.sleep(Duration::from_millis(1_500)).await;
    world.heal();
    through.acquire_many(3).await.unwrap().forget();
    let mut reader = Client::new(&world, "reader");
    assert!(reader.run("SELECT count(*) FROM conditions").await);
    world.sleep(Duration::from_secs(1)).await;
    world.record(Event::Checked { checker: "durability".to_string() });
    let evidence = "made up, to be looked at: batch 7 of writer 1 has </script> 2 of 3 rows".to_string();
    world.record(Event::Violated { checker: "atomicity".to_string(), evidence });
}

fn real_picture() -> Picture {
    let config = WorldConfig { keep_events: picture::KEEP_EVENTS, ..WorldConfig::default() };
    let run = simulate(4, config, story);
    run.result.unwrap();
    Picture {
        title: "picture/access_node_dies_after_decision".to_string(),
        seed: run.seed,
        fingerprint: run.fingerprint,
        verdict: "failed".to_string(),
        reason: Some("line 14: 1 violation\n  atomicity: batch 7 of writer 1 has 2 of 3 rows (made up)".to_string()),
        replay: Some("hypertile run scenarios/commit/access_node_dies_after_decision.slt --seed 4".to_string()),
        simulated: run.simulated,
        events: run.events,
        moments: run.kept,
        lanes: ["client", "an"].map(String::from).into(),
        tracks: vec![tracks::transactions(), tracks::placement()],
    }
}

/// Messages between four nodes, a hundred thousand events in all.
fn crowded_picture() -> Picture {
    let names: Vec<Name> = ["an", "dn1", "dn2", "dn3"].map(Name::from).into();
    let started = names.iter().map(|node| Event::Started { node: node.clone(), life: 1 });
    let messages = (0..99_996u64).map(|n| {
        let (from, to) = (names[(n % 4) as usize].clone(), names[((n % 4 + 1 + n % 3) % 4) as usize].clone());
        let sent = Duration::from_micros((n * 37).saturating_sub(500));
        Event::Delivered { from, to, connection: n % 40, bytes: (n % 900) as usize, digest: n, sent }
    });
    let moments: Vec<Moment> = started
        .chain(messages)
        .zip(0..)
        .map(|(event, n)| Moment { at: Duration::from_micros(n * 37), event })
        .collect();
    let verdict = "ok".to_string();
    Picture { title: "crowded".into(), verdict, events: moments.len() as u64, moments, ..Picture::default() }
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("picture");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Without a browser these tests have nothing to look with; the gate sets a variable that makes that a failure.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found =
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|p| p.is_file());
    if found.is_none() {
        assert!(std::env::var_os("HYPERTILE_REQUIRE_CHROMIUM").is_none(), "no Chromium is installed here");
        eprintln!("skipped: no Chromium is installed here, so nobody has looked at the page");
    }
    found
}

/// Opens `file` at a place of the page; returns the document after its script ran, and keeps a screenshot.
fn open(chromium: &Path, file: &Path, place: &str, shot: &str) -> String {
    let folder = folder();
    let profile = folder.join(format!("profile-{shot}"));
    let run = |what: &str| {
        let output = Command::new(chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1500,950"])
            .args(["--disable-dev-shm-usage", "--no-first-run", "--virtual-time-budget=8000"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(what)
            .arg(format!("file://{}{place}", file.display()))
            .output()
            .expect("Chromium starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shot = folder.join(format!("{shot}.png"));
    let _ = std::fs::remove_file(&shot);
    run(&format!("--screenshot={}", shot.display()));
    assert!(std::fs::metadata(&shot).is_ok_and(|file| file.len() > 10_000), "no screenshot {}", shot.display());
    let document = run("--dump-dom");
    let _ = std::fs::remove_dir_all(&profile);
    document
}

/// What the page's script wrote about itself into the document.
fn fact(document: &str, name: &str) -> Option<String> {
    let head = document.split_once("<html")?.1.split_once('>')?.0;
    let (_, rest) = head.split_once(&format!("data-{name}=\""))?;
    Some(rest.split_once('"')?.0.to_string())
}

/// Keys, wheel, drag and clicks as a user has them; what came of each is written into the document.
const EXERCISE: &str = r#"<script>
(() => {
  const did = [], canvas = document.getElementById("view"), box = canvas.getBoundingClientRect();
  canvas.setPointerCapture = () => {};
  const number = (name) => Number(root.dataset[name]);
  const key = (name) => { document.body.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true })); draw(); };
  const point = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, { clientX: box.left + x, clientY: box.top + y, pointerId: 1, bubbles: true }));
  const expect = (name, holds) => did.push((holds ? "" : "NOT ") + name);
  key("f");
  const whole = number("span");
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -400, clientX: box.left + box.width / 2, clientY: box.top + 80, bubbles: true, cancelable: true }));
  draw();
  expect("wheel zooms in", number("span") < whole);
  const from = number("from");
  point("pointerdown", 600, 300); point("pointermove", 500, 300); point("pointerup", 500, 300);
  draw();
  expect("drag moves", number("from") > from);
  key("f");
  expect("f shows all", number("span") === whole);
  key("v");
  const violated = number("selected");
  expect("v finds the violation", kindName(violated) === "violated");
  key("ArrowLeft");
  expect("left goes back", number("selected") < violated);
  key("Home");
  expect("home is the first", number("selected") === listed[0]);
  key("x");
  expect("x finds a fault", groupOf(number("selected")) === "faults");
  key("f");
  draw();
  for (const [what, wanted] of [["operation", (one) => one.item && one.item.text !== undefined && one.item.outcome !== undefined && one.w > 20], ["transaction", (one) => one.item && one.item.subject && one.w > 4]]) {
    const one = hits.find((hit) => wanted(hit) && hit.y - scroll + AXIS < box.height - 20);
    point("pointermove", one.x + one.w / 2, one.y - scroll + AXIS + 2);
    expect("a tip of the " + what, document.getElementById("tip").style.display === "block");
    point("pointerdown", one.x + one.w / 2, one.y - scroll + AXIS + 2); point("pointerup", one.x + one.w / 2, one.y - scroll + AXIS + 2);
    draw();
    expect("a click selects the " + what, sel && (what === "operation" ? sel.op : sel.subject));
    key("z");
    expect("z zooms to the " + what, number("span") < whole);
    key("f");
  }
  const before = listed.length;
  [...document.querySelectorAll(".chip")].find((chip) => chip.textContent.startsWith("messages")).click();
  expect("a chip filters", listed.length < before);
  const hidden = listed.length;
  point("pointermove", 40, 100); point("pointerdown", 40, 100); point("pointerup", 40, 100);
  draw();
  expect("a lane is hidden", lanes.some((lane) => lane.hidden) && listed.length < hidden);
  document.getElementById("time").value = "2.5";
  document.getElementById("time").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  draw();
  expect("a second is gone to", number("from") < 2.5e9 && number("from") + number("span") > 2.5e9 && at[number("selected")] >= 2.5e9);
  key("t"); key("?"); key("Escape"); key("+"); key("-"); key("ArrowDown");
  root.dataset.did = did.join("; ");
})();
</script>"#;

fn assert_ran(document: &str, picture: &Picture) {
    assert_eq!(fact(document, "error"), None);
    assert_eq!(fact(document, "ready").as_deref(), Some("true"));
    assert_eq!(fact(document, "events"), Some(picture.moments.len().to_string()));
    let drawn: usize = fact(document, "drawn").unwrap().parse().unwrap();
    assert!(drawn > 10, "{drawn} things were drawn");
}

#[test]
fn the_page_of_a_real_run_opens_in_a_browser() {
    let picture = real_picture();
    let folder = folder();
    let file = folder.join("real.html");
    let page = picture::page(&picture);
    std::fs::write(&file, &page).unwrap();
    let text = picture::timeline(&picture, &Options { width: 200, ..Options::default() });
    std::fs::write(folder.join("real.txt"), &text).unwrap();
    assert!(text.contains("strike at txn.decided"), "{text}");
    let Some(chromium) = chromium() else { return };
    let count = |matches: fn(&Event) -> bool| {
        Some(picture.moments.iter().filter(|moment| matches(&moment.event)).count().to_string())
    };
    let whole = open(&chromium, &file, "#theme=light", "whole");
    assert_ran(&whole, &picture);
    assert_eq!(fact(&whole, "operations"), count(|event| matches!(event, Event::Invoked { .. })));
    assert_eq!(fact(&whole, "sent"), count(|event| matches!(event, Event::Delivered { .. })));
    assert_eq!(fact(&whole, "violations").as_deref(), Some("1"));
    assert!(fact(&whole, "subjects").unwrap().parse::<usize>().unwrap() > 20, "transactions and chunks");

    let violation = open(&chromium, &file, "#select=violation&theme=dark", "violation");
    assert_ran(&violation, &picture);
    let violated = picture.moments.iter().position(|moment| matches!(moment.event, Event::Violated { .. })).unwrap();
    assert_eq!(fact(&violation, "selected"), Some(violated.to_string()));

    let struck = picture.moments.iter().position(|moment| matches!(moment.event, Event::Struck { .. })).unwrap();
    let at = picture.moments[struck].at.as_secs_f64();
    for (theme, span, shot) in [("light", 0.25, "crash"), ("dark", 0.02, "crash-close"), ("light", 6.0, "crash-far")] {
        let place = format!("#theme={theme}&select={struck}&at={at}&span={span}");
        let document = open(&chromium, &file, &place, shot);
        assert_ran(&document, &picture);
        assert_eq!(fact(&document, "selected"), Some(struck.to_string()));
    }
    let exercised = folder.join("exercised.html");
    std::fs::write(&exercised, page.replace("</body>", &format!("{EXERCISE}</body>"))).unwrap();
    let document = open(&chromium, &exercised, "#theme=light", "exercised");
    assert_ran(&document, &picture);
    let did = fact(&document, "did").unwrap_or_default();
    assert!(did.split("; ").count() == 16 && !did.contains("NOT "), "{did}");

    let found = open(&chromium, &file, "#theme=light&search=resolver.commit&scroll=500", "search");
    assert_ran(&found, &picture);
    let listed: usize = fact(&found, "listed").unwrap().parse().unwrap();
    assert!((1..100).contains(&listed), "{listed} events were found");
}

#[test]
fn a_page_of_a_hundred_thousand_events_opens_in_a_browser() {
    let Some(chromium) = chromium() else { return };
    let picture = crowded_picture();
    let file = folder().join("crowded.html");
    let page = picture::page(&picture);
    assert!(page.len() < 6_000_000, "{} bytes", page.len());
    std::fs::write(&file, page).unwrap();
    let document = open(&chromium, &file, "#theme=light", "crowded");
    assert_ran(&document, &picture);
    assert_eq!(fact(&document, "aggregated").as_deref(), Some("true"), "arrows cannot be told apart from afar");
    let close = open(&chromium, &file, "#theme=light&at=1.5&span=0.01", "crowded-close");
    assert_ran(&close, &picture);
    assert_eq!(fact(&close, "aggregated").as_deref(), Some("false"));
}
