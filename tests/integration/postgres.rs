//! Stock PostgreSQL servers as data nodes.

use super::nemesis::{Client, fault};
use super::support::{play, play_for_real, program};
use hypertile::sim::scenario::stage::Stage;
use hypertile::sim::scenario::{ClusterSpec, WorldKind};
use hypertile::trial::stage::postgres::{installed, start};
use hypertile::trial::words::parse;

/// Without PostgreSQL these tests have nothing to run; the gate sets a variable that makes that a failure.
fn available() -> bool {
    let found = installed().is_some();
    assert!(
        found || std::env::var_os("HYPERTILE_REQUIRE_POSTGRES").is_none(),
        "no PostgreSQL server is installed here"
    );
    found
}

#[test]
fn stories_hold_with_postgresql_data_nodes() {
    if !available() {
        return;
    }
    let played = play_for_real("scenarios/story", WorldKind::Postgres);
    assert!(played >= 10, "only {played} scenarios were really played");
}

#[test]
fn a_server_without_prepared_transactions_is_refused_as_a_data_node() {
    if !available() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let spec = ClusterSpec { data: 1, ..ClusterSpec::default() };
    let settings = ["max_prepared_transactions=0"];
    let started = runtime.block_on(start(&program(), &installed().unwrap(), &spec, 1, &settings));
    let error = started.err().expect("the first add_data_node must fail");
    assert_eq!(error.code().as_str(), "TS174", "{error}");
    assert!(error.message().contains("prepared transactions need to be enabled"), "{error}");
}

/// A PostgreSQL server is many processes: the one that speaks with us is a child of the one that was started.
#[test]
fn a_server_that_is_paused_or_killed_is_so_with_all_its_processes() {
    if !available() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let spec = ClusterSpec { data: 1, ..ClusterSpec::default() };
        let settings = ["max_prepared_transactions=64"];
        let mut stage = start(&program(), &installed().unwrap(), &spec, 1, &settings).await.unwrap();
        let node = Client::of(&stage, "node0").await;
        stage.strike(&fault("pause node0")).await.unwrap();
        node.hears_nothing("SELECT 1").await;
        stage.strike(&fault("resume node0")).await.unwrap();
        assert_eq!(node.ask("SELECT 2").await.unwrap(), "2");
        stage.strike(&fault("pause node0")).await.unwrap();
        stage.strike(&fault("kill node0")).await.unwrap();
        node.ask("SELECT 3").await.expect_err("its process is gone");
        stage.strike(&fault("restart node0")).await.unwrap();
        assert_eq!(Client::of(&stage, "node0").await.ask("SELECT 4").await.unwrap(), "4");
        stage.finish().await.unwrap();
    });
}

#[test]
fn the_clock_of_a_stock_server_is_out_of_reach() {
    if !available() {
        return;
    }
    let scenario = parse("clock.slt", "cluster data=1\n\nnemesis clock node0 +2h\n").unwrap();
    let report = play("clock.slt", &scenario, WorldKind::Postgres, 1);
    let why = "postgres cannot do \"clock node0 +2h\": a stock PostgreSQL server reads the machine's clock";
    assert_eq!((report.verdict.as_str(), report.reason.as_deref()), ("skipped", Some(why)));
}
