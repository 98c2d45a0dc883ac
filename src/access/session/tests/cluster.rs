//! An access node with data nodes.

use super::harness::{Client, Server};
use std::sync::Arc;

pub struct Cluster {
    pub access: Arc<Server>,
    pub data: Vec<Arc<Server>>,
    pub client: Client,
}

impl Cluster {
    /// Data nodes dn1, dn2, … are added.
    pub async fn of(data: usize) -> Cluster {
        let access = Server::start("an").await;
        access.client("postgres").await.ok("CREATE DATABASE tsdb").await;
        let client = access.client("tsdb").await;
        let mut cluster = Cluster { access, data: Vec::new(), client };
        for number in 1..=data {
            let server = cluster.spare().await;
            let port = server.port;
            let sql = format!("SELECT * FROM add_data_node('dn{number}', host => '127.0.0.1', port => {port})");
            let row = cluster.client.ok(&sql).await;
            assert_eq!(row, [format!("dn{number}|127.0.0.1|{port}|tsdb|t|t|t")]);
        }
        cluster
    }

    /// One more server, not added.
    async fn spare(&mut self) -> Arc<Server> {
        let server = Server::start(&format!("dn{}", self.data.len() + 1)).await;
        self.data.push(server.clone());
        server
    }

    pub async fn conditions(&mut self) {
        let c = &mut self.client;
        c.ok(
            "CREATE TABLE conditions (time timestamptz NOT NULL, location text NOT NULL, temperature float8 DEFAULT 7)",
        )
        .await;
        assert_eq!(
            c.ok("SELECT create_distributed_hypertable('conditions', 'time', 'location')").await,
            ["(1,public,conditions,t)"]
        );
    }
}

pub const ROWS: &str = "INSERT INTO conditions VALUES ('2023-01-01 00:00+00', 'garage', 20.1), \
    ('2023-01-01 00:00+00', 'office', 21), ('2023-01-02 00:00+00', 'basement', 15), \
    ('2023-01-09 00:00+00', 'garage', 22), ('2023-01-17 12:00+00', 'attic', 30)";

#[tokio::test(flavor = "multi_thread")]
async fn the_seed_documents_walk() {
    let mut cluster = Cluster::of(3).await;
    cluster.conditions().await;
    let partitions = "SELECT * FROM _timescaledb_catalog.dimension_partition";
    let c = &mut cluster.client;
    assert_eq!(c.ok(partitions).await, ["2|-9223372036854775808|{dn1}", "2|715827882|{dn2}", "2|1431655764|{dn3}"]);
    assert_eq!(c.ok(ROWS).await, ["INSERT 0 5"]);
    assert_eq!(
        c.ok("SELECT chunk_name, range_start, range_end, data_nodes FROM timescaledb_information.chunks ORDER BY 1")
            .await,
        [
            "_dist_hyper_1_1_chunk|2022-12-29 00:00:00+00|2023-01-05 00:00:00+00|{dn2}",
            "_dist_hyper_1_2_chunk|2022-12-29 00:00:00+00|2023-01-05 00:00:00+00|{dn3}",
            "_dist_hyper_1_3_chunk|2023-01-05 00:00:00+00|2023-01-12 00:00:00+00|{dn2}",
            "_dist_hyper_1_4_chunk|2023-01-12 00:00:00+00|2023-01-19 00:00:00+00|{dn1}",
        ]
    );
    assert_eq!(
        c.ok("SELECT location, count(*), max(temperature) FROM conditions GROUP BY 1 ORDER BY 1").await,
        ["attic|1|30", "basement|1|15", "garage|2|22", "office|1|21"]
    );
    assert_eq!(c.ok("SELECT show_chunks('conditions', older_than => '2023-01-05'::timestamptz)").await.len(), 2);
    let port = cluster.spare().await.port;
    let c = &mut cluster.client;
    let added = c.ok(&format!("SELECT add_data_node('dn4', host => '127.0.0.1', port => {port})")).await;
    assert_eq!(added, [format!("(dn4,127.0.0.1,{port},tsdb,t,t,t)")]);
    assert_eq!(c.ok("SELECT attach_data_node('dn4', hypertable => 'conditions')").await, ["(1,1,dn4)"]);
    assert_eq!(c.told(), ["the number of partitions in dimension \"location\" was increased to 4"]);
    assert_eq!(
        c.ok(partitions).await,
        ["2|-9223372036854775808|{dn1}", "2|536870911|{dn2}", "2|1073741822|{dn3}", "2|1610612733|{dn4}"]
    );
    c.ok("INSERT INTO conditions SELECT '2023-02-01 00:00+00'::timestamptz, 'loc' || i, i FROM generate_series(1, 40) AS t(i)")
        .await;
    assert_eq!(
        c.ok("SELECT data_nodes, count(*) FROM timescaledb_information.chunks WHERE range_start > '2023-01-20' GROUP BY 1 ORDER BY 1").await,
        ["{dn1}|1", "{dn2}|1", "{dn3}|1", "{dn4}|1"]
    );
    assert_eq!(c.ok("SELECT count(*) FROM conditions").await, ["45"]);
    let plan = c.ok("EXPLAIN (VERBOSE) SELECT count(*) FROM conditions WHERE location = 'garage'").await.join("\n");
    assert!(plan.contains("Remote SQL"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_over_local_tables_and_data_nodes_is_one() {
    let mut cluster = Cluster::of(2).await;
    cluster.conditions().await;
    let mut other = cluster.access.client("tsdb").await;
    let c = &mut cluster.client;
    c.ok("CREATE TABLE places (location text PRIMARY KEY)").await;
    c.ok("BEGIN").await;
    c.ok(ROWS).await;
    c.ok("INSERT INTO places VALUES ('attic')").await;
    assert_eq!(c.ok("SELECT count(*) FROM conditions").await, ["5"]);
    assert_eq!(other.ok("SELECT count(*) FROM conditions").await, ["0"]);
    assert_eq!(
        c.err("PREPARE TRANSACTION 'mine'").await,
        "0A000: cannot prepare a transaction that modified remote tables"
    );
    c.ok("ROLLBACK").await;
    assert_eq!(c.ok("SELECT count(*) FROM conditions").await, ["0"]);
    assert_eq!(c.ok("SELECT count(*) FROM places").await, ["0"]);
    c.ok("BEGIN").await;
    c.ok(ROWS).await;
    c.ok("INSERT INTO places VALUES ('attic')").await;
    assert_eq!(c.ok("COMMIT").await, ["COMMIT"]);
    assert_eq!(
        other.ok("SELECT c.location, temperature FROM conditions c JOIN places p ON p.location = c.location").await,
        ["attic|30"]
    );
    // Both halves of an implicit transaction of several statements, too.
    c.err("INSERT INTO conditions VALUES ('2023-01-01', 'x', 1); INSERT INTO places VALUES ('attic')").await;
    assert_eq!(c.ok("SELECT count(*) FROM conditions").await, ["5"]);
    // A statement that fails on the way fails its block.
    c.ok("BEGIN").await;
    c.ok("INSERT INTO conditions VALUES ('2023-01-02', 'garage', 7)").await;
    assert!(c.err("INSERT INTO conditions VALUES (NULL, 'garage', 7)").await.starts_with("23502"));
    assert!(c.err("SELECT count(*) FROM conditions").await.starts_with("25P02"));
    assert_eq!(c.ok("COMMIT").await, ["ROLLBACK"]);
    assert_eq!(c.ok("SELECT count(*) FROM conditions").await, ["5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_in_and_out_by_copy() {
    let mut cluster = Cluster::of(2).await;
    cluster.conditions().await;
    let c = &mut cluster.client;
    let data: String = (0..5_000).map(|i| format!("2023-01-{:02} 00:00+00,loc{i},{i}\n", i % 28 + 1)).collect();
    let (first, second) = data.split_at(data.len() / 2 + 3);
    let sql = "COPY conditions FROM STDIN WITH (FORMAT csv)";
    assert_eq!(c.copy(sql, &[first, second]).await.unwrap(), 5_000);
    assert_eq!(c.ok("SELECT count(*), sum(temperature) FROM conditions").await, ["5000|12497500"]);
    assert_eq!(c.ok("COPY conditions (location) TO STDOUT").await.len(), 5_000);
    assert_eq!(c.ok("COPY (SELECT max(temperature) FROM conditions) TO STDOUT").await, ["4999"]);
    // A bad line stores nothing.
    let error = c.copy(sql, &["2023-01-01,a,1\n2023-01-01,b,x\n"]).await.unwrap_err();
    assert_eq!(error.code().as_str(), "22P02");
    assert_eq!(c.ok("SELECT count(*) FROM conditions").await, ["5000"]);
    // Defaults are the access node's.
    assert_eq!(c.copy("COPY conditions (time, location) FROM STDIN", &["2023-03-01\tz\n"]).await.unwrap(), 1);
    assert_eq!(c.ok("SELECT temperature FROM conditions WHERE location = 'z'").await, ["7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_hypertable_drops_it_everywhere() {
    let mut cluster = Cluster::of(2).await;
    cluster.conditions().await;
    let data = cluster.data[0].clone();
    let c = &mut cluster.client;
    c.ok(ROWS).await;
    c.ok("CREATE TABLE plain (a int)").await;
    let chunks = "SELECT count(*) FROM pg_tables WHERE schemaname = '_timescaledb_internal'";
    let on_node = data.client("tsdb").await.ok(chunks).await;
    assert_ne!(on_node, ["0"]);
    c.ok("BEGIN").await;
    c.ok("DROP TABLE plain, conditions").await;
    assert!(c.err("SELECT count(*) FROM conditions").await.starts_with("42P01"));
    c.ok("ROLLBACK").await;
    assert_eq!(c.ok("SELECT count(*) FROM conditions").await, ["5"]);
    assert!(c.err("DROP SCHEMA public CASCADE").await.starts_with("2BP01"));
    c.ok("DROP TABLE plain, conditions").await;
    assert!(c.err("SELECT count(*) FROM conditions").await.starts_with("42P01"));
    assert_eq!(data.client("tsdb").await.ok(chunks).await, ["0"]);
    assert_eq!(c.ok("SELECT count(*) FROM timescaledb_information.chunks").await, ["0"]);
    // The name is free again.
    c.ok("CREATE TABLE conditions (time timestamptz)").await;
    assert_eq!(c.ok("SELECT create_distributed_hypertable('conditions', 'time')").await, ["(2,public,conditions,t)"]);
    assert_eq!(c.told(), ["adding not-null constraint to column \"time\""]);
    assert!(c.err("INSERT INTO conditions VALUES (NULL)").await.starts_with("23502"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hypertable_made_in_a_block_that_rolls_back_was_never_made() {
    let mut cluster = Cluster::of(2).await;
    let c = &mut cluster.client;
    c.ok("BEGIN").await;
    cluster.conditions().await;
    let c = &mut cluster.client;
    c.ok(ROWS).await;
    assert_eq!(c.ok("SELECT count(*) FROM conditions").await, ["5"]);
    c.ok("ROLLBACK").await;
    assert!(c.err("SELECT count(*) FROM conditions").await.starts_with("42P01"));
    assert_eq!(c.ok("SELECT count(*) FROM timescaledb_information.hypertables").await, ["0"]);
    // Ids of what was rolled back are given out again.
    cluster.conditions().await;
    let mut other = cluster.access.client("tsdb").await;
    assert_eq!(other.ok(ROWS).await, ["INSERT 0 5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_on_their_way_into_a_table_keep_it_from_becoming_a_hypertable() {
    let mut cluster = Cluster::of(1).await;
    let (mut writer, mut late) = (cluster.access.client("tsdb").await, cluster.access.client("tsdb").await);
    let c = &mut cluster.client;
    c.ok("CREATE TABLE t (time timestamptz NOT NULL)").await;
    writer.ok("BEGIN").await;
    writer.ok("INSERT INTO t VALUES ('2023-01-01')").await;
    let create = "SELECT create_distributed_hypertable('t', 'time')";
    let (created, _) = futures::join!(c.run(create), async {
        // Long enough for the other session to be waiting.
        let _ = late.ok("SELECT count(*) FROM t").await;
        writer.ok("COMMIT").await
    });
    assert_eq!(created.unwrap_err().message(), "table \"t\" is not empty");
    c.ok("DROP TABLE t; CREATE TABLE t (time timestamptz NOT NULL)").await;
    c.ok("BEGIN").await;
    c.ok(create).await;
    let (stored, _) = futures::join!(late.run("INSERT INTO t VALUES ('2023-01-01')"), async {
        let _ = writer.ok("SELECT 1").await;
        c.ok("COMMIT").await
    });
    // It went where the others look for it.
    assert_eq!(stored.unwrap(), ["INSERT 0 1"]);
    assert_eq!(writer.ok("SELECT count(*) FROM t").await, ["1"]);
    assert_eq!(writer.ok("SELECT count(*) FROM timescaledb_information.chunks").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_rows_keep_a_table_from_becoming_a_hypertable() {
    let mut cluster = Cluster::of(1).await;
    let c = &mut cluster.client;
    c.ok("CREATE TABLE t (time timestamptz)").await;
    c.ok("BEGIN").await;
    c.ok("INSERT INTO t VALUES ('2023-01-01')").await;
    c.ok("PREPARE TRANSACTION 'x'").await;
    let create = "SELECT create_distributed_hypertable('t', 'time')";
    assert_eq!(c.err(create).await, "0A000: table \"t\" is not empty");
    c.ok("COMMIT PREPARED 'x'").await;
    assert_eq!(c.ok("SELECT count(*) FROM t").await, ["1"]);
    assert_eq!(c.err(create).await, "0A000: table \"t\" is not empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_that_becomes_a_hypertable_meanwhile_do_not_commit() {
    let mut cluster = Cluster::of(1).await;
    let (mut writer, mut late) = (cluster.access.client("tsdb").await, cluster.access.client("tsdb").await);
    let c = &mut cluster.client;
    c.ok("CREATE TABLE t (time timestamptz NOT NULL)").await;
    writer.ok("BEGIN").await;
    writer.ok("INSERT INTO t VALUES ('2023-01-01')").await;
    let (created, converted) = futures::join!(c.run("SELECT create_distributed_hypertable('t', 'time')"), async {
        // Long enough for the other session to be waiting.
        let _ = late.ok("SELECT count(*) FROM t").await;
        writer.err("SELECT create_distributed_hypertable('t', 'time', if_not_exists => true)").await
    });
    assert_eq!(created.unwrap(), ["(1,public,t,t)"]);
    assert_eq!(converted, "40001: table \"t\" was made a hypertable by another transaction");
    assert_eq!(writer.ok("COMMIT").await, ["ROLLBACK"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_cannot_be_dropped_while_it_becomes_a_hypertable() {
    let mut cluster = Cluster::of(1).await;
    let mut other = cluster.access.client("tsdb").await;
    let c = &mut cluster.client;
    let create = "SELECT create_distributed_hypertable('s.t', 'time')";
    c.ok("CREATE SCHEMA s; CREATE TABLE s.t (time timestamptz NOT NULL)").await;
    for drop in ["DROP TABLE s.t", "DROP SCHEMA s CASCADE"] {
        c.ok("BEGIN").await;
        c.ok(create).await;
        assert!(other.err(drop).await.starts_with("55006"), "{drop}");
        c.ok("ROLLBACK").await;
    }
    other.ok("BEGIN").await;
    other.ok("DROP TABLE s.t").await;
    assert!(c.err(create).await.starts_with("55006"));
    other.ok("ROLLBACK").await;
    c.ok("BEGIN").await;
    c.ok(create).await;
    c.ok("COMMIT").await;
    c.ok("INSERT INTO s.t VALUES ('2023-01-01')").await;
    assert!(other.err("DROP SCHEMA s CASCADE").await.starts_with("2BP01"));
    other.ok("DROP TABLE s.t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_belongs_to_one_cluster() {
    let mut cluster = Cluster::of(1).await;
    let (port, own) = (cluster.data[0].port, cluster.access.port);
    let data = cluster.data[0].clone();
    let c = &mut cluster.client;
    let add = |name: &str, port: u16, more: &str| {
        format!("SELECT * FROM add_data_node('{name}', host => '127.0.0.1', port => {port}{more})")
    };
    assert_eq!(c.err(&add("dn1", port, "")).await, "42710: server \"dn1\" already exists");
    let skipped = c.ok(&add("dn1", port, ", if_not_exists => true")).await;
    assert_eq!(skipped, [format!("dn1|127.0.0.1|{port}|tsdb|f|f|f")]);
    let error = c.run(&add("again", port, "")).await.unwrap_err();
    assert_eq!(error.to_string(), "TS174: cannot add \"again\" as a data node (ERROR:  node is already a data node)");
    assert_eq!(c.told(), ["database \"tsdb\" already exists on data node, skipping"]);
    assert_eq!(
        c.err(&add("self", own, "")).await,
        "TS174: [self]: cannot add the current database as a data node to itself"
    );
    let mut elsewhere = cluster.access.client("postgres").await;
    let error = elsewhere.run(&add("x", own, ", database => 'tsdb'")).await.unwrap_err();
    assert_eq!(error.detail(), Some("ERROR:  node is already an access node"));
    // A data node has no data nodes of its own.
    let spare = cluster.spare().await.port;
    let error = data.client("tsdb").await.err(&add("x", spare, "")).await;
    assert_eq!(error, "TS171: unable to assign data nodes from an existing distributed database");
    let c = &mut cluster.client;
    let error = c.run(&add("y", spare, ", bootstrap => false")).await.unwrap_err();
    assert_eq!(error.code().as_str(), "08001");
    assert!(error.detail().unwrap().contains("database \"tsdb\" does not exist"), "{error}");
    let error = c.run(&add("z", 1, "")).await.unwrap_err();
    assert_eq!(error.message(), "could not connect to \"z\"");
    assert_eq!(c.ok("SELECT delete_data_node('dn1')").await, ["t"]);
    assert_eq!(c.ok("SELECT * FROM timescaledb_information.data_nodes").await, Vec::<String>::new());
    let error = c.run(&add("dn1", port, "")).await.unwrap_err();
    assert_eq!(error.message(), "cannot add \"dn1\" as a data node");
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_says_what_timescaledb_says() {
    let mut cluster = Cluster::of(2).await;
    let c = &mut cluster.client;
    c.ok("CREATE TABLE c1 (time timestamptz NOT NULL, location text NOT NULL, t float8)").await;
    let create = |more: &str| format!("SELECT * FROM create_distributed_hypertable('c1', 'time', 'location'{more})");
    for (more, expected) in [
        (", replication_factor => 3", "TS170: replication factor too large for hypertable \"c1\""),
        (", replication_factor => 0", "22023: invalid replication factor"),
        (", data_nodes => '{}'", "TS170: no data nodes can be assigned to the hypertable"),
        (", data_nodes => '{dn1,nope}'", "42704: server \"nope\" does not exist"),
        (", migrate_data => true", "0A000: cannot migrate data for distributed hypertable"),
        (
            ", chunk_time_interval => interval '-1 day'",
            "22023: invalid interval: must be between 1 and 9223372036854775807",
        ),
    ] {
        assert_eq!(c.err(&create(more)).await, expected);
    }
    assert_eq!(
        c.ok(&create(", number_partitions => 1, chunk_time_interval => interval '1 day'")).await,
        ["1|public|c1|t"]
    );
    assert_eq!(c.told(), ["insufficient number of partitions for dimension \"location\""]);
    assert_eq!(c.err(&create("")).await, "TS110: table \"c1\" is already a hypertable");
    assert_eq!(c.ok(&create(", if_not_exists => true")).await, ["1|public|c1|f"]);
    assert_eq!(
        c.ok("SELECT * FROM timescaledb_information.dimensions").await,
        [
            "public|c1|1|time|timestamp with time zone|Time|1 day|NULL|NULL|NULL",
            "public|c1|2|location|text|Space|NULL|NULL|NULL|1"
        ]
    );
    assert_eq!(
        c.ok("SELECT * FROM timescaledb_information.hypertables").await,
        ["public|c1|postgres|2|0|f|t|1|{dn1,dn2}|NULL"]
    );
    for (statement, word) in [
        ("UPDATE c1 SET t = 1", "UPDATE"),
        ("DELETE FROM c1", "DELETE"),
        ("TRUNCATE c1", "TRUNCATE"),
        ("ALTER TABLE c1 ADD x int", "ALTER TABLE"),
    ] {
        let expected = format!("0A000: {word} is not supported on distributed hypertable \"c1\"");
        assert_eq!(c.err(statement).await, expected);
    }
    c.ok("CREATE TABLE filled (time timestamptz NOT NULL)").await;
    c.ok("INSERT INTO filled VALUES (now())").await;
    assert_eq!(
        c.err("SELECT create_distributed_hypertable('filled', 'time')").await,
        "0A000: table \"filled\" is not empty"
    );
    c.ok("CREATE TABLE \"Mixed\" (\"When\" bigint, dev int)").await;
    assert_eq!(
        c.ok("SELECT create_distributed_hypertable('\"Mixed\"', 'When', 'dev', chunk_time_interval => 100)").await,
        ["(2,public,Mixed,t)"]
    );
    let (types, tag) = c.prepared("INSERT INTO \"Mixed\" VALUES ($1, $2), (-5, 1)", &["5", "1"]).await.unwrap();
    assert_eq!(
        (types, tag),
        (vec![postgres_types::Type::INT8, postgres_types::Type::INT4], vec!["INSERT 0 2".to_string()])
    );
    c.ok("PREPARE p AS INSERT INTO \"Mixed\" VALUES ($1, 7)").await;
    assert_eq!(c.ok("EXECUTE p(6)").await, ["INSERT 0 1"]);
    assert_eq!(
        c.ok("SELECT range_start_integer, range_end_integer FROM timescaledb_information.chunks ORDER BY 1")
            .await
            .first()
            .map(String::as_str),
        Some("-100|0")
    );
    let (_, rows) = c.prepared("SELECT \"When\" FROM \"Mixed\" WHERE \"When\" > $1 ORDER BY 1", &["0"]).await.unwrap();
    assert_eq!(rows, ["5", "6"]);
    // What was prepared went to the data nodes, not into the local table of that name.
    assert_eq!(c.ok("SELECT count(*) FROM \"Mixed\"").await, ["3"]);
}
