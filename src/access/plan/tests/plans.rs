//! What goes down, from where it is read, and what EXPLAIN says.

use super::cluster::*;
use crate::access::FragmentSource;
use crate::access::plan::{explain, nodes_of, provider};
use crate::error::{Result, codes};
use crate::sql::types::BatchStream;
use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::physical_plan::displayable;
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

async fn displayed(cluster: &Cluster, sql: &str) -> String {
    let plan = cluster.distributed(true).plan(sql).await.unwrap();
    displayable(plan.as_ref()).indent(false).to_string()
}

/// The SQL that the first data node gets.
async fn remote_sql(cluster: &Cluster, sql: &str) -> String {
    let lines = cluster.explain(sql).await;
    lines.iter().find_map(|line| line.trim().strip_prefix("Remote SQL: ")).unwrap().to_string()
}

async fn notes(cluster: &Cluster, sql: &str) -> Vec<String> {
    let lines = cluster.explain(sql).await;
    lines.iter().filter_map(|line| line.trim().strip_prefix("Not pushed down: ").map(String::from)).collect()
}

fn cluster(layout: Layout) -> Cluster {
    Cluster::new(layout, rows(2, 200, 4))
}

#[tokio::test]
async fn groups_by_the_space_column_are_final_on_their_node() {
    for layout in [aligned, replicated] {
        let shown = displayed(&cluster(layout), "SELECT host, avg(v) FROM cpu GROUP BY host").await;
        assert!(shown.contains("aggregate=full") && !shown.contains("AggregateExec"), "{shown}");
    }
}

#[tokio::test]
async fn groups_that_span_nodes_are_merged_here() {
    for (layout, group) in [(rotating as Layout, "host"), (aligned, "region")] {
        let shown = displayed(&cluster(layout), &format!("SELECT {group}, avg(v) FROM cpu GROUP BY {group}")).await;
        assert!(shown.contains("aggregate=partial") && shown.contains("AggregateExec"), "{shown}");
    }
}

#[tokio::test]
async fn one_day_of_a_moving_slice_is_on_one_node_all_the_same() {
    let sql = "SELECT host, stddev(v) FROM cpu WHERE time >= '2023-01-02' AND time < '2023-01-03' GROUP BY host";
    let shown = displayed(&cluster(rotating), sql).await;
    assert!(shown.contains("chunks=3, aggregate=full"), "{shown}");
}

#[tokio::test]
async fn the_newest_buckets_are_cut_on_each_node() {
    let sql =
        "SELECT time_bucket('60 s', time) AS minute, max(v) FROM cpu GROUP BY minute ORDER BY minute DESC LIMIT 5";
    let remote = remote_sql(&cluster(aligned), sql).await;
    assert!(
        remote.starts_with(
            r#"SELECT date_bin(INTERVAL '1 minute', "time", TIMESTAMPTZ '2000-01-03 00:00:00+00') AS "time_bucket_1", max("v") AS "max_1" FROM (SELECT "time", "v" FROM "#
        ),
        "{remote}"
    );
    assert!(remote.ends_with(r#"AS "cpu" GROUP BY 1 ORDER BY 1 DESC NULLS FIRST LIMIT 5"#), "{remote}");
}

#[tokio::test]
async fn an_order_that_leaves_groups_tied_cuts_nothing_in_partial_mode() {
    let sql = "SELECT day, region, count(*) FROM cpu GROUP BY day, region ORDER BY day LIMIT 5";
    assert!(!remote_sql(&cluster(aligned), sql).await.contains("LIMIT"));
    let sql = "SELECT day, ok, count(*) FROM cpu GROUP BY day, ok ORDER BY ok, day LIMIT 5";
    let remote = remote_sql(&cluster(aligned), sql).await;
    assert!(remote.ends_with("GROUP BY 1, 2 ORDER BY 2 ASC NULLS LAST, 1 ASC NULLS LAST LIMIT 5"), "{remote}");
}

#[tokio::test]
async fn a_limit_reaches_rows_and_final_groups_only() {
    let cluster = cluster(aligned);
    assert!(remote_sql(&cluster, "SELECT v FROM cpu LIMIT 3 OFFSET 2").await.ends_with("LIMIT 5"));
    let full = remote_sql(&cluster, "SELECT host, count(*) FROM cpu GROUP BY host LIMIT 2").await;
    assert!(full.ends_with("GROUP BY 1 LIMIT 2"), "{full}");
    assert!(!remote_sql(&cluster, "SELECT day, count(*) FROM cpu GROUP BY day LIMIT 2").await.contains("LIMIT"));
    assert!(!remote_sql(&cluster, "SELECT v FROM cpu WHERE upper(host) = 'A' LIMIT 2").await.contains("LIMIT"));
}

#[tokio::test]
async fn the_last_row_of_each_host_is_picked_on_its_node() {
    let sql = "SELECT DISTINCT ON (host) host, time, v FROM cpu ORDER BY host, time DESC";
    let remote = remote_sql(&cluster(aligned), sql).await;
    assert!(remote.starts_with(r#"SELECT DISTINCT ON ("host") "time", "host", "v" FROM "#), "{remote}");
    assert!(remote.ends_with(r#"ORDER BY "host" ASC NULLS LAST, "time" DESC NULLS FIRST"#), "{remote}");
}

#[tokio::test]
async fn an_aggregate_in_a_subquery_goes_down_too() {
    let shown = displayed(&cluster(aligned), "SELECT big FROM cpu WHERE v = (SELECT max(v) FROM cpu)").await;
    assert!(shown.contains("aggregate=partial"), "{shown}");
}

#[tokio::test]
async fn what_stays_here_says_why() {
    let cluster = cluster(aligned);
    let of = |sql: &'static str| notes(&cluster, sql);
    assert_eq!(
        of("SELECT count(*) FROM cpu WHERE upper(host) = 'A' AND n > 1").await,
        [
            "filter upper(host) = A: function upper is not known to mean the same on every data node",
            "aggregation: a filter has to run on the access node first"
        ]
    );
    assert_eq!(
        of("SELECT region, stddev(v) FROM cpu GROUP BY region").await,
        ["aggregate stddev(cpu.v): a group's rows may be on several data nodes, and it cannot be merged from parts"]
    );
    assert_eq!(
        of("SELECT n FROM cpu ORDER BY region LIMIT 2").await,
        ["ORDER BY with LIMIT 2: text is ordered by the data node's collation"]
    );
    assert_eq!(of("SELECT host, count(*) FROM cpu GROUP BY host ORDER BY 2 LIMIT 3").await, [""; 0]);
}

#[tokio::test]
async fn explain_names_nodes_chunks_and_sql() {
    let cluster = cluster(aligned);
    let sql = "SELECT v FROM cpu WHERE host = 'host_3' AND time < '2023-01-02'";
    let lines = cluster.explain(sql).await;
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0], "DataNodeScan on public.cpu");
    assert!(lines[1].starts_with("  Data node: dn"));
    assert!(lines[2].starts_with("  Chunks: _dist_hyper_1_"));
    let where_clause = r#" AS "cpu" WHERE ("host" = 'host_3') AND ("time" < '2023-01-02 00:00:00+00'::timestamptz)"#;
    assert!(lines[3].starts_with("  Remote SQL: SELECT \"v\" FROM ") && lines[3].ends_with(where_clause), "{lines:?}");

    let plan = cluster.distributed(true).plan(sql).await.unwrap();
    assert_eq!(explain(&plan, false).len(), 3);
    assert_eq!(nodes_of(&plan), [lines[1].trim_start_matches("  Data node: ")]);
}

#[tokio::test]
async fn a_query_that_no_chunk_can_answer_asks_nobody() {
    let cluster = cluster(aligned);
    let sql = "SELECT * FROM cpu WHERE time > '2024-01-01'";
    assert_eq!(cluster.explain(sql).await[1], "  Data node: none (no chunk can hold a matching row)");
    assert!(answer(&cluster.distributed(true), sql).await.unwrap().1.is_empty());
    assert!(cluster.source.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unavailable_node_is_not_read() {
    let mut cluster = cluster(replicated);
    let nodes = |cluster: &Cluster| {
        let database = cluster.distributed(true);
        async move { nodes_of(&database.plan("SELECT * FROM cpu").await.unwrap()) }
    };
    assert_eq!(nodes(&cluster).await, ["dn1", "dn2", "dn3"]);
    Arc::make_mut(&mut cluster.state).nodes[1].available = Some(false);
    assert_eq!(nodes(&cluster).await, ["dn1", "dn3"]);
    assert_eq!(answer(&cluster.distributed(true), "SELECT * FROM cpu").await.unwrap().1.len(), 200);

    Arc::make_mut(&mut cluster.state).nodes[0].available = Some(false);
    let error = answer(&cluster.distributed(true), "SELECT count(*) FROM cpu").await.unwrap_err();
    assert!(error.message().contains("is not available") && error.hint().is_some(), "{error}");
}

#[tokio::test]
async fn replicas_are_read_from_all_nodes() {
    let cluster = cluster(replicated);
    let plan = cluster.distributed(true).plan("SELECT * FROM cpu").await.unwrap();
    let counts: Vec<usize> = explain(&plan, true)
        .iter()
        .filter_map(|line| line.trim().strip_prefix("Chunks: ").map(|chunks| chunks.split(", ").count()))
        .collect();
    assert_eq!(counts, [4, 4, 4]);
}

#[tokio::test]
async fn an_error_of_a_node_keeps_its_sqlstate() {
    let cluster = cluster(aligned);
    *cluster.source.broken.lock().unwrap() = Some("dn2".into());
    for sql in ["SELECT * FROM cpu", "SELECT host, avg(v) FROM cpu GROUP BY host ORDER BY 2 LIMIT 1"] {
        let error = answer(&cluster.distributed(true), sql).await.unwrap_err();
        assert_eq!((error.code(), error.hint()), (codes::CONNECTION_FAILURE, Some("wait")));
    }
}

/// Answers with endless batches of zeros, and only once all nodes were asked.
struct Endless {
    all_asked: tokio::sync::Barrier,
    batches: Arc<AtomicUsize>,
}

#[async_trait]
impl FragmentSource for Endless {
    async fn open_snapshots(&self, _nodes: &[String]) -> Result<()> {
        Ok(())
    }

    async fn fragment(&self, _node: &str, _sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        self.all_asked.wait().await;
        let batches = self.batches.clone();
        Ok(futures::stream::repeat_with(move || {
            batches.fetch_add(1, Ordering::SeqCst);
            Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![0; 100]))]).unwrap())
        })
        .boxed())
    }
}

#[tokio::test]
async fn all_nodes_are_asked_at_once_and_read_no_faster_than_wanted() {
    let cluster = cluster(aligned);
    let batches = Arc::new(AtomicUsize::new(0));
    let source = Arc::new(Endless { all_asked: tokio::sync::Barrier::new(3), batches: batches.clone() });
    let table = provider(&cluster.state, &cluster.hypertable, cluster.all.schema(), source).unwrap();
    let database = Database::new(true).with("cpu", table);
    let plan = database.plan("SELECT big FROM cpu").await.unwrap();
    let mut stream = database.run(plan).unwrap();
    for _ in 0..10 {
        assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 100);
    }
    assert_eq!(batches.load(Ordering::SeqCst), 10);
}
