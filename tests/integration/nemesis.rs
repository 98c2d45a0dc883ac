//! What the nemesis does to real processes: links cut and slow, processes paused, clocks wrong, later and for a while.

use super::support::{play, program};
use hypertile::sim::scenario::stage::Stage;
use hypertile::sim::scenario::{Action, ClusterSpec, Nemesis, WorldKind};
use hypertile::trial::stage::Cluster;
use hypertile::trial::stage::loopback::start;
use hypertile::trial::stage::real::RealStage;
use hypertile::trial::words::parse;
use hypertile::wire::client::Connection;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::SimpleQueryMessage;

/// The fault of a `nemesis` line.
pub fn fault(line: &str) -> Nemesis {
    // Wide enough for every node that a test names, there or not.
    let scenario =
        parse("fault.slt", &format!("cluster data=8\nnemesis {line}\n")).unwrap_or_else(|error| panic!("{error}"));
    match scenario.steps.into_iter().next().expect("one line, one step").action {
        Action::Nemesis(nemesis) => nemesis,
        other => panic!("{other:?}"),
    }
}

/// So long nobody must hear anything, where an answer usually takes a few milliseconds.
const SILENCE: Duration = Duration::from_millis(400);

/// A connection, as the scenario's own client has it.
#[derive(Clone)]
pub struct Client(Arc<Connection>);

impl Client {
    pub async fn of(stage: &RealStage, node: &str) -> Client {
        let address = stage.address(node).expect("a node of the stage");
        Client(Arc::new(Connection::open(stage.host(), &address).await.unwrap_or_else(|error| panic!("{error}"))))
    }

    /// The first column of the first row; empty without rows.
    pub async fn ask(&self, sql: &str) -> Result<String, tokio_postgres::Error> {
        let messages = self.0.client().simple_query(sql).await?;
        let first = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
            _ => None,
        });
        Ok(first.unwrap_or_default())
    }

    /// Asks, and is not answered for a while. The answer may come later; it is no longer waited for.
    pub async fn hears_nothing(&self, sql: &str) {
        let answer = tokio::time::timeout(SILENCE, self.ask(sql)).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

/// Runs a story on a loopback cluster of two data nodes with a table over both.
fn tell<Story: Future<Output = Result<(), String>>>(story: impl FnOnce(RealStage, Client) -> Story) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let told = runtime.block_on(async {
        let spec = ClusterSpec { data: 2, ..ClusterSpec::default() };
        let stage = start(&program(), &spec, 1).await.map_err(|error| error.to_string())?;
        let client = Client::of(&stage, "an").await;
        for sql in [
            "CREATE TABLE m (time timestamptz NOT NULL, device text NOT NULL)",
            "SELECT create_distributed_hypertable('m', 'time', 'device')",
            "INSERT INTO m SELECT timestamptz '2023-01-01', 'device ' || i FROM generate_series(1, 20) AS i",
        ] {
            client.ask(sql).await.unwrap();
        }
        story(stage, client).await
    });
    told.unwrap_or_else(|error| panic!("{error}"));
}

const COUNT: &str = "SELECT count(*) FROM m";

/// Asks while `fault` holds: no answer; after `end` it comes, well before the node would count as down.
async fn stalls_until(stage: &mut RealStage, client: &Client, begin: &str, end: &str) -> Result<(), String> {
    stage.strike(&fault(begin)).await?;
    let (asking, client) = (
        tokio::spawn({
            let client = client.clone();
            async move { client.ask(COUNT).await }
        }),
        client,
    );
    tokio::time::sleep(SILENCE).await;
    assert!(!asking.is_finished(), "{begin}: the statement must wait");
    stage.strike(&fault(end)).await?;
    let answer = tokio::time::timeout(Duration::from_secs(4), asking).await.expect("the answer comes after the end");
    assert_eq!(answer.unwrap().unwrap(), "20", "{begin}");
    assert_eq!(client.ask(COUNT).await.unwrap(), "20");
    Ok(())
}

#[test]
fn what_a_cut_link_or_a_paused_process_stalls_goes_on_afterwards() {
    tell(|mut stage, client| async move {
        for (begin, end) in [
            ("partition an | node1", "heal"),
            ("partition an -> node1", "heal"),
            ("partition node0 -> an", "heal"),
            ("partition client | an", "heal"),
            ("pause node0", "resume node0"),
            ("pause an", "resume an"),
        ] {
            stalls_until(&mut stage, &client, begin, end).await?;
        }
        stage.finish().await
    });
}

#[test]
fn a_slow_link_adds_its_time_until_it_is_healed() {
    tell(|mut stage, client| async move {
        let took = async || {
            let start = Instant::now();
            assert_eq!(client.ask(COUNT).await.unwrap(), "20");
            start.elapsed()
        };
        stage.strike(&fault("slow an -> node1 by 300ms")).await?;
        assert!(took().await >= Duration::from_millis(300));
        stage.strike(&fault("slow an -> node1 by 10ms")).await?;
        stage.strike(&fault("lose node1 -> an 100%")).await?;
        assert!(took().await >= Duration::from_millis(210), "a lost piece is sent again after 200 ms");
        stage.strike(&fault("heal")).await?;
        assert!(took().await < Duration::from_millis(200));
        stage.finish().await
    });
}

#[test]
fn a_narrow_link_and_one_with_a_tail_delay_until_they_are_healed() {
    tell(|mut stage, client| async move {
        let took = async |sql: &str| {
            let start = Instant::now();
            client.ask(sql).await.unwrap();
            start.elapsed()
        };
        // The answer alone has 30,000 bytes.
        let long = "SELECT repeat('x', 30000)";
        stage.strike(&fault("bandwidth an -> client 100kB/s")).await?;
        assert!(took(long).await >= Duration::from_millis(280));
        stage.strike(&fault("heal")).await?;
        stage.strike(&fault("tail client | an 100% by 100ms for 2s")).await?;
        let mut total = Duration::ZERO;
        for _ in 0..10 {
            total += took("SELECT 1").await;
        }
        assert!(total >= Duration::from_millis(300), "{total:?}");
        stage.finish().await
    });
}

#[test]
fn all_nodes_die_at_once_and_are_back() {
    tell(|mut stage, client| async move {
        stage.strike(&fault("crash-all for 300ms")).await?;
        assert!(client.ask("SELECT 1").await.is_err());
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < Duration::from_secs(30), "the site is not back");
            tokio::time::sleep(Duration::from_millis(100)).await;
            let address = stage.address("an").expect("there is always one");
            let Ok(connection) = Connection::open(stage.host(), &address).await else { continue };
            if Client(Arc::new(connection)).ask(COUNT).await.is_ok_and(|count| count == "20") {
                return stage.finish().await;
            }
        }
    });
}

#[test]
fn faults_strike_in_the_background_and_end_by_themselves() {
    tell(|mut stage, client| async move {
        // Two on one link; the story goes on at once, and only both ends make it whole.
        let start = Instant::now();
        stage.strike(&fault("partition an | node1 for 300ms")).await?;
        stage.strike(&fault("partition node1 | an node0 for 1s")).await?;
        stage.strike(&fault("kill node0 after 1500ms for 300ms")).await?;
        stage.strike(&fault("crash node1 after 1h")).await?;
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
        assert_eq!(client.ask(COUNT).await.unwrap(), "20");
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(stage.waiting(), ["kill node0 after 1500ms for 300ms", "crash node1 after 1h"]);
        let node = Client::of(&stage, "node0").await;
        while node.ask("SELECT 1").await.is_ok() {
            assert!(start.elapsed() < Duration::from_secs(30), "node0 is never killed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(stage.waiting(), ["crash node1 after 1h"]);
        while client.ask(COUNT).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "node0 is not back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stage.finish().await
    });
}

#[test]
fn clocks_of_our_own_servers_jump_and_drift() {
    tell(|mut stage, client| async move {
        let node = Client::of(&stage, "node0").await;
        let host = stage.host().clone();
        let ahead = async |client: &Client| {
            let shown = client.ask("SELECT extract(epoch FROM clock_timestamp())").await.unwrap();
            (shown.parse::<f64>().unwrap() - host.utc_micros() as f64 / 1e6).round()
        };
        assert_eq!(ahead(&client).await, 0.0);
        stage.strike(&fault("clock an -2h")).await?;
        stage.strike(&fault("clock node0 +1d")).await?;
        stage.strike(&fault("clock node0 +1m")).await?;
        assert_eq!((ahead(&client).await, ahead(&node).await), (-7_200.0, 86_460.0));
        // Ten seconds gained in each.
        stage.strike(&fault("drift an 10000000ppm")).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(ahead(&client).await >= -7_195.0);
        assert_eq!(client.ask(COUNT).await.unwrap(), "20");
        stage.finish().await
    });
}

#[test]
fn a_fault_of_a_node_that_is_not_there_is_an_error() {
    tell(|mut stage, _| async move {
        for line in ["kill node7", "partition an | node7", "clock node7 +1s", "pause node7 after 1s"] {
            let error = stage.strike(&fault(line)).await.expect_err(line);
            assert!(error.contains("there is no node \"node7\""), "{line}: {error}");
        }
        stage.strike(&fault("restart node0")).await?;
        stage.strike(&fault("resume node0")).await?;
        stage.finish().await
    });
}

#[test]
fn what_processes_cannot_do_is_skipped_with_the_reason() {
    for (line, why) in [
        ("crash an at txn.decided", "loopback cannot strike at a probe: its servers are processes of their own"),
        (
            "full-disk node0 for 1s",
            "loopback cannot do \"full-disk node0\": the disk is that of the machine the tests run on",
        ),
        ("clock client +1h", "loopback cannot do \"clock client +1h\": the client is the process that plays the story"),
    ] {
        let scenario = parse("cannot.slt", &format!("cluster data=1\n\nnemesis {line}\n")).unwrap();
        let report = play("cannot.slt", &scenario, WorldKind::Loopback, 1);
        assert_eq!((report.verdict.as_str(), report.reason.as_deref()), ("skipped", Some(why)));
    }
}
