//! What transactions see of each other, and loads of many batches.

use super::cluster::{Cluster, ROWS};
use super::harness::Client;
use crate::access::FragmentSource;
use crate::access::txn::Transaction;
use crate::access::txn::gid::Gid;
use crate::error::Result;
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

/// Rows of five weeks, in the order of their times.
const LOAD: usize = 40_000;

impl Cluster {
    /// A load that never ends is a failure, not a test that hangs.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> T {
        self.access.host.timeout(limit, work).await.unwrap_or_else(|_| panic!("not done within {limit:?}"))
    }

    fn shared(&self) -> Arc<crate::access::cluster::Cluster> {
        self.access.cluster("tsdb").unwrap()
    }

    async fn other(&self) -> Client {
        self.access.client("tsdb").await
    }

    /// A hypertable with a chunk on each of two nodes: `east` is on dn1, `west` on dn2.
    async fn sides(&mut self) {
        let c = &mut self.client;
        c.ok("CREATE TABLE sides (time int NOT NULL, side text NOT NULL)").await;
        c.ok("SELECT create_distributed_hypertable('sides', 'time', 'side', chunk_time_interval => 1000)").await;
        c.ok("INSERT INTO sides VALUES (1, 'east'), (1, 'west')").await;
        let (east, west) = (self.node_of("east").await, self.node_of("west").await);
        assert_eq!((&*east, &*west), ("dn1", "dn2"));
    }

    async fn node_of(&mut self, side: &str) -> String {
        let plan = self.client.ok(&format!("EXPLAIN SELECT * FROM sides WHERE side = '{side}'")).await.join("\n");
        plan.split("Data node: ").nth(1).unwrap().split_whitespace().next().unwrap().to_string()
    }
}

fn csv(rows: std::ops::Range<usize>) -> String {
    rows.map(|row| format!("2023-01-{:02} 00:00+00,loc{},{row}\n", row * 35 / LOAD % 31 + 1, row % 100)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_many_batches_goes_into_the_hypertable_of_its_own_block() {
    let mut cluster = Cluster::of(2).await;
    cluster.client.ok("BEGIN").await;
    cluster.conditions().await;
    let data = csv(0..LOAD);
    let mut client = std::mem::replace(&mut cluster.client, cluster.access.client("tsdb").await);
    let pieces = [&*data];
    let copy = client.copy("COPY conditions FROM STDIN WITH (FORMAT csv)", &pieces);
    assert_eq!(cluster.within(LONG, copy).await.unwrap(), LOAD as u64);
    let insert = format!(
        "INSERT INTO conditions SELECT '2023-03-01 00:00+00'::timestamptz + i * interval '1 minute', 'loc' || i % 100, i \
         FROM generate_series(1, {LOAD}) AS t(i)"
    );
    assert_eq!(cluster.within(LONG, client.ok(&insert)).await, [format!("INSERT 0 {LOAD}")]);
    client.ok("COMMIT").await;
    assert_eq!(cluster.client.ok("SELECT count(*) FROM conditions").await, [(2 * LOAD).to_string()]);
    let chunks = "SELECT count(*) > 10 FROM timescaledb_information.chunks";
    assert_eq!(cluster.client.ok(chunks).await, ["t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_many_batches_goes_into_a_hypertable() {
    let mut cluster = Cluster::of(2).await;
    cluster.conditions().await;
    let data = csv(0..LOAD);
    let sql = "COPY conditions FROM STDIN WITH (FORMAT csv)";
    assert_eq!(cluster.client.copy(sql, &[&data]).await.unwrap(), LOAD as u64);
    let sum = LOAD * (LOAD - 1) / 2;
    assert_eq!(cluster.client.ok("SELECT count(*), sum(temperature) FROM conditions").await, [format!("{LOAD}|{sum}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writers_connection_waits_for_what_is_decided_too() {
    let mut cluster = Cluster::of(2).await;
    cluster.sides().await;
    let shared = cluster.shared();
    let c = &mut cluster.client;
    c.ok("BEGIN").await;
    c.ok("INSERT INTO sides VALUES (2, 'east')").await;
    // A commit that dn1 has not confirmed: the resolver finds out that it has.
    let gid = Gid { cluster: "local".into(), incarnation: 1, number: 1_000 };
    shared.live.adopt(&gid.to_string(), &["dn1".to_string()]);
    assert_eq!(c.ok("SELECT count(*) FROM sides").await, ["3"]);
    assert!(!shared.live.blocks("dn1"), "it was read while it was blocked");
    shared.live.adopt(&gid.to_string(), &["dn1".to_string()]);
    assert_eq!(c.ok("SELECT count(*) FROM sides WHERE side = 'east'").await, ["2"]);
    assert!(!shared.live.blocks("dn1"), "it was read while it was blocked");
    c.ok("COMMIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_one_snapshot_beside_its_writer_waits_for_commits_under_way() {
    let mut cluster = Cluster::of(2).await;
    cluster.sides().await;
    let (shared, host) = (cluster.shared(), cluster.access.host.clone());
    let c = &mut cluster.client;
    c.ok("BEGIN").await;
    c.ok("INSERT INTO sides VALUES (2, 'east')").await;
    let commit = shared.gate.commit().await;
    {
        let mut read = pin!(c.ok("SELECT count(*) FROM sides"));
        assert!(host.timeout(SOON, &mut read).await.is_err(), "it reads in the middle of a commit");
        drop(commit);
        assert_eq!(host.timeout(LONG, read).await.unwrap(), ["3"]);
    }
    // One node is one instant.
    let commit = shared.gate.commit().await;
    assert_eq!(c.ok("SELECT count(*) FROM sides WHERE side = 'east'").await, ["2"]);
    drop(commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolation_level_set_by_the_extended_protocol_holds_on_the_data_nodes() {
    let mut cluster = Cluster::of(2).await;
    cluster.sides().await;
    let mut other = cluster.other().await;
    let c = &mut cluster.client;
    for begin in
        [&["BEGIN ISOLATION LEVEL REPEATABLE READ"][..], &["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"]]
    {
        for statement in begin {
            c.prepared(statement, &[]).await.unwrap();
        }
        let (_, before) = c.prepared("SELECT count(*) FROM sides", &[]).await.unwrap();
        other.ok("INSERT INTO sides VALUES (3, 'east'), (3, 'west')").await;
        assert_eq!(c.prepared("SELECT count(*) FROM sides", &[]).await.unwrap().1, before);
        c.ok("COMMIT").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeatable_read_transaction_that_begins_with_a_write_reads_one_instant() {
    let mut cluster = Cluster::of(2).await;
    cluster.sides().await;
    let mut other = cluster.other().await;
    let c = &mut cluster.client;
    c.ok("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    c.ok("INSERT INTO sides VALUES (2, 'east')").await;
    other.ok("INSERT INTO sides VALUES (3, 'east'), (3, 'west')").await;
    assert_eq!(c.ok("SELECT time, side FROM sides ORDER BY 1, 2").await, ["1|east", "1|west", "2|east"]);
    c.ok("INSERT INTO sides VALUES (4, 'west')").await;
    assert_eq!(c.ok("SELECT count(*) FROM sides").await, ["4"]);
    c.ok("COMMIT").await;
    assert_eq!(c.ok("SELECT count(*) FROM sides").await, ["6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_newer_than_a_repeatable_read_transaction_are_empty_to_it_and_take_its_rows() {
    let mut cluster = Cluster::of(2).await;
    cluster.sides().await;
    let mut other = cluster.other().await;
    let c = &mut cluster.client;
    c.ok("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(c.ok("SELECT count(*) FROM sides").await, ["2"]);
    other.ok("INSERT INTO sides VALUES (5000, 'east'), (5000, 'west')").await;
    other.ok("CREATE TABLE later (time int NOT NULL)").await;
    other.ok("SELECT create_distributed_hypertable('later', 'time')").await;
    other.ok("INSERT INTO later VALUES (1)").await;
    assert_eq!(c.ok("SELECT count(*) FROM sides").await, ["2"]);
    assert_eq!(c.ok("SELECT count(*) FROM later").await, ["0"]);
    // A chunk of the others, and one of its own.
    assert_eq!(c.ok("INSERT INTO sides VALUES (5001, 'east'), (9000, 'west')").await, ["INSERT 0 2"]);
    assert_eq!(c.ok("SELECT time FROM sides ORDER BY 1").await, ["1", "1", "5001", "9000"]);
    c.ok("COMMIT").await;
    assert_eq!(c.ok("SELECT count(*) FROM sides").await, ["6"]);
    assert_eq!(c.ok("SELECT count(*) FROM later").await, ["1"]);
}

const BOTH: &str = "SELECT (SELECT count(*) FROM places), (SELECT count(*) FROM sides)";

#[tokio::test(flavor = "multi_thread")]
async fn local_rows_are_of_the_same_instant_as_those_of_data_nodes() {
    let mut cluster = Cluster::of(2).await;
    cluster.sides().await;
    cluster.client.ok("CREATE TABLE places (side text)").await;
    cluster.client.ok("CREATE TABLE copies (places bigint, sides bigint)").await;
    let (shared, host) = (cluster.shared(), cluster.access.host.clone());
    let mut other = cluster.other().await;
    let mut node = cluster.data[0].client("tsdb").await;
    let chunk = node.ok("SELECT tablename FROM pg_tables WHERE schemaname = '_timescaledb_internal'").await.remove(0);
    let c = &mut cluster.client;
    let into = format!("INSERT INTO copies {BOTH}");
    for (read, begun) in [(BOTH, 0), (&*into, 1), (&*format!("COPY ({BOTH}) TO STDOUT"), 2)] {
        // A transaction over both is under way when the query is planned; its phase two goes on meanwhile.
        let commit = shared.gate.commit().await;
        let seen = {
            let mut reading = pin!(c.ok(read));
            assert!(host.timeout(SOON, &mut reading).await.is_err());
            other.ok("INSERT INTO places VALUES ('east')").await;
            node.ok(&format!("INSERT INTO _timescaledb_internal.{chunk} VALUES (7, 'east')")).await;
            drop(commit);
            host.timeout(LONG, reading).await.unwrap()
        };
        let (places, sides) = (begun + 1, begun + 3);
        match begun {
            0 => assert_eq!(seen, [format!("{places}|{sides}")]),
            1 => assert_eq!(c.ok("SELECT * FROM copies").await, [format!("{places}|{sides}")]),
            _ => assert_eq!(seen, [format!("{places}\t{sides}")]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeatable_read_transaction_that_begins_with_local_rows_reads_one_instant() {
    let mut cluster = Cluster::of(2).await;
    cluster.sides().await;
    cluster.client.ok("CREATE TABLE places (side text)").await;
    let mut other = cluster.other().await;
    let c = &mut cluster.client;
    c.ok("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(c.ok("SELECT count(*) FROM places").await, ["0"]);
    other.ok("BEGIN; INSERT INTO places VALUES ('east'); INSERT INTO sides VALUES (2, 'east'); COMMIT").await;
    assert_eq!(c.ok(BOTH).await, ["0|2"]);
    c.ok("COMMIT").await;
    assert_eq!(c.ok(BOTH).await, ["1|3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeatable_read_leaves_blocked_nodes_out_that_it_does_not_need() {
    let mut cluster = Cluster::of(2).await;
    cluster.sides().await;
    let c = &mut cluster.client;
    c.ok("CREATE TABLE lone (time int NOT NULL)").await;
    c.ok("SELECT create_distributed_hypertable('lone', 'time', data_nodes => '{dn1}')").await;
    c.ok("INSERT INTO lone VALUES (1)").await;
    let shared = cluster.shared();
    let never = shared.live.register("local", 1);
    never.deciding(&["dn2".to_string()], true);
    let mut client = cluster.other().await;
    let c = &mut client;
    let work = async {
        c.ok("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
        assert_eq!(c.ok("SELECT count(*) FROM lone").await, ["1"]);
        assert_eq!(c.ok("INSERT INTO lone VALUES (2)").await, ["INSERT 0 1"]);
        assert_eq!(c.ok("SELECT count(*) FROM sides WHERE side = 'east'").await, ["1"]);
        assert_eq!(c.ok("SELECT count(*) FROM lone").await, ["2"]);
        assert_eq!(c.ok("COMMIT").await, ["COMMIT"]);
    };
    // Less than such a node is waited for where it is needed.
    cluster.within(Duration::from_secs(10), work).await;
    never.decided(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_nobody_fetches_hold_up_no_commit() -> Result<()> {
    let mut cluster = Cluster::of(2).await;
    cluster.conditions().await;
    cluster.client.ok(ROWS).await;
    let (shared, host) = (cluster.shared(), cluster.access.host.clone());
    let transaction = Transaction::new(&shared, "postgres");
    transaction.open_snapshots(&["dn1".to_string()]).await?;
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int32, true)]));
    let mut first = transaction.fragment("dn1", "SELECT 1 AS x", schema.clone()).await?;
    // A second fragment on the same node needs a snapshot of its own, and comes in the middle of a commit.
    let commit = shared.gate.commit().await;
    let mut late = pin!(transaction.fragment("dn1", "SELECT 1 AS x", schema));
    assert!(host.timeout(SOON, &mut late).await.is_err());
    drop(commit);
    // Its client reads no further: the stream is not polled.
    let next = host.timeout(Duration::from_secs(10), shared.gate.commit()).await;
    assert!(next.is_ok(), "commits wait for a client to read on");
    drop(next);
    assert!(late.await.is_err(), "a commit has come in between");
    assert!(first.next().await.is_some());
    Ok(())
}
