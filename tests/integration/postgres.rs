//! Stock PostgreSQL servers as data nodes.

use super::support::{assert_ok, play, program, scenarios};
use hypertile::sim::scenario::{ClusterSpec, WorldKind};
use hypertile::trial::stage::postgres::{installed, start};

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
    let mut played = 0;
    for (file, scenario) in scenarios("scenarios/story") {
        let report = play(&file, &scenario, WorldKind::Postgres, 1);
        if report.verdict != "skipped" {
            assert_ok(&report);
            played += 1;
        }
    }
    assert!(played >= 3, "only {played} scenarios were really played");
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
