//! What needs no data node.

use super::harness::{Client, Server};
use crate::wire::Frontend;
use std::sync::Arc;

async fn client() -> (Arc<Server>, Client) {
    let server = Server::start("an").await;
    let client = server.client("postgres").await;
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn local_tables_work_as_in_a_plain_session() {
    let (_server, mut c) = client().await;
    c.ok("CREATE TABLE t (a int PRIMARY KEY, b text)").await;
    assert_eq!(c.ok("INSERT INTO t VALUES (1, 'x'), (2, NULL)").await, ["INSERT 0 2"]);
    assert_eq!(c.ok("SELECT * FROM t ORDER BY a").await, ["1|x", "2|NULL"]);
    assert_eq!(c.err("INSERT INTO t VALUES (1, 'again')").await.get(..5), Some("23505"));
    assert_eq!(c.ok("BEGIN; INSERT INTO t VALUES (3, 'y'); SELECT count(*) FROM t").await, ["3"]);
    assert!(c.err("SELECT nonsense").await.starts_with("42703"));
    assert!(c.err("SELECT 1").await.starts_with("25P02"));
    assert_eq!(c.ok("COMMIT").await, ["ROLLBACK"]);
    assert_eq!(c.ok("SELECT count(*) FROM t").await, ["2"]);
    assert_eq!(c.copy("COPY t FROM STDIN", &["7\tse", "ven\n8\t\\N\n"]).await.unwrap(), 2);
    assert_eq!(c.ok("COPY (SELECT a FROM t ORDER BY a) TO STDOUT").await, ["1", "2", "7", "8"]);
    assert_eq!(c.ok("PREPARE p AS INSERT INTO t VALUES ($1, $2)").await, ["PREPARE"]);
    assert_eq!(c.ok("EXECUTE p(9, 'nine')").await, ["INSERT 0 1"]);
    assert_eq!(c.ok("DROP TABLE t").await, ["DROP TABLE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_come_and_go() {
    let (_server, mut c) = client().await;
    assert_eq!(c.ok("CREATE DATABASE a").await, ["CREATE DATABASE"]);
    assert_eq!(c.err("CREATE DATABASE a").await, "42P04: database \"a\" already exists");
    assert_eq!(c.ok("SELECT datname FROM pg_database ORDER BY 1").await, ["a", "postgres"]);
    c.ok("BEGIN").await;
    assert_eq!(c.err("DROP DATABASE a").await, "25001: DROP DATABASE cannot run inside a transaction block");
    c.ok("ROLLBACK").await;
    assert_eq!(c.err("DROP DATABASE postgres").await, "55006: cannot drop the currently open database");
    c.ok("DROP DATABASE a").await;
    c.ok("DROP DATABASE IF EXISTS a").await;
    assert_eq!(c.told(), ["database \"a\" does not exist, skipping"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_data_nodes_nothing_is_created() {
    let (_server, mut c) = client().await;
    c.ok("CREATE TABLE c0 (time timestamptz, location text)").await;
    for call in [
        "create_distributed_hypertable('c0', 'time', 'location')",
        "create_hypertable('c0', 'time', replication_factor => 1)",
    ] {
        let error = c.run(&format!("SELECT * FROM {call}")).await.unwrap_err();
        assert_eq!(error.to_string().get(..5), Some("TS170"));
        assert_eq!(error.message(), "no data nodes can be assigned to the hypertable");
        assert_eq!(error.hint(), Some("Add data nodes to the database."));
    }
    assert_eq!(c.ok("SELECT count(*) FROM timescaledb_information.hypertables").await, ["0"]);
    // The column has not become NOT NULL either.
    c.ok("INSERT INTO c0 VALUES (NULL, 'x')").await;
    let error = c.run("SELECT attach_data_node('dn1', 'c0')").await.unwrap_err();
    assert_eq!(error.to_string(), "TS001: table \"c0\" is not a hypertable");
    assert_eq!(c.err("SELECT attach_data_node('dn1', 'none')").await, "42P01: relation \"none\" does not exist");
    assert_eq!(c.err("SELECT create_hypertable('c0', 'time')").await.get(..5), Some("0A000"));
    assert_eq!(c.err("SELECT show_chunks('c0')").await.get(..5), Some("TS001"));
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_checked_before_anything_is_done() {
    let (_server, mut c) = client().await;
    assert_eq!(c.err("SELECT add_data_node(NULL, host => 'h')").await, "22023: data node name cannot be NULL");
    assert_eq!(c.err("SELECT add_data_node('x', host => NULL)").await, "22023: a host needs to be specified");
    assert_eq!(
        c.err("SELECT add_data_node('x', host => 'h', port => 70000)").await,
        "22023: invalid port number 70000"
    );
    assert_eq!(
        c.err("SELECT public.add_data_node('x', 'h', 'd', 'p')").await,
        "22P02: invalid input syntax for type integer: \"p\""
    );
    assert_eq!(
        c.err("SELECT public.add_data_node('x', colour => 1)").await,
        "42883: function public.add_data_node(unknown, colour => integer) does not exist"
    );
    c.ok("BEGIN").await;
    assert_eq!(
        c.err("SELECT add_data_node('x', 'h')").await,
        "25001: add_data_node() cannot run inside a transaction block"
    );
    c.ok("ROLLBACK").await;
    assert_eq!(c.err("SELECT detach_data_node('x')").await, "0A000: detach_data_node() is not available yet");
    assert_eq!(c.err("SELECT delete_data_node('x')").await, "42704: server \"x\" does not exist");
    assert_eq!(c.ok("SELECT * FROM delete_data_node('x', if_exists => true)").await, ["f"]);
    assert_eq!(c.told(), ["data node \"x\" does not exist, skipping"]);
    c.ok("BEGIN READ ONLY").await;
    assert_eq!(
        c.err("SELECT delete_data_node('x')").await,
        "25006: cannot execute delete_data_node() in a read-only transaction"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_in_the_extended_protocol_and_in_explain() {
    let (_server, mut c) = client().await;
    let sql = "SELECT * FROM delete_data_node($1, if_exists => $2) AS gone";
    let (types, lines) = c.prepared(sql, &["x", "true"]).await.unwrap();
    assert_eq!(lines, ["f"]);
    assert_eq!(types, [postgres_types::Type::NAME, postgres_types::Type::BOOL]);
    // Explaining a call does not run it.
    assert!(!c.ok("EXPLAIN SELECT delete_data_node('x')").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_have_timescaledbs_columns() {
    let (_server, mut c) = client().await;
    for (view, columns) in [
        ("timescaledb_information.data_nodes", 3),
        ("timescaledb_information.hypertables", 10),
        ("timescaledb_information.dimensions", 10),
        ("timescaledb_information.chunks", 14),
        ("_timescaledb_catalog.dimension_partition", 3),
        ("_timescaledb_catalog.hypertable_data_node", 4),
        ("_timescaledb_catalog.chunk_data_node", 3),
        ("hypertile.data_nodes", 6),
        ("hypertile.decisions", 2),
    ] {
        let statement = c.session.parse(&format!("SELECT * FROM {view}")).unwrap().remove(0);
        let description = c.session.describe(&statement, &[]).await.unwrap();
        assert_eq!(description.columns.unwrap().fields().len(), columns, "{view}");
        c.session.sync(true).await.unwrap();
        assert!(c.ok(&format!("SELECT * FROM {view}")).await.is_empty(), "{view}");
    }
    assert_eq!(c.ok("SELECT database, cluster FROM hypertile.identity").await, ["postgres|NULL"]);
}
