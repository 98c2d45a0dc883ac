use super::*;
use crate::error::Severity;
use crate::wire::test_host;
use crate::wire::toy::{Toy, numbered, schema, two_columns};
use arrow::record_batch::RecordBatch;
use futures::FutureExt;
use postgres_types::Type;
use std::time::Duration;

async fn start(password: Option<&str>) -> (Host, Arc<Toy>, Address) {
    let host = test_host::host(1);
    let toy = Arc::new(Toy { password: password.map(str::to_string), ..Toy::default() });
    let port = toy.listen(&host).await;
    let address =
        Address { host: "127.0.0.1".into(), port, database: "db".into(), user: "alice".into(), password: None };
    (host, toy, address)
}

async fn connect() -> (Host, Arc<Toy>, Connection) {
    let (host, toy, address) = start(None).await;
    let connection = Connection::open(&host, &address).await.unwrap();
    toy.log.take();
    (host, toy, connection)
}

/// Waits until the log has said `event`; returns all said up to then.
async fn until(host: &Host, toy: &Toy, event: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..500 {
        seen.extend(toy.log.take());
        if seen.iter().any(|e| e == event) {
            return seen;
        }
        host.sleep(Duration::from_millis(10)).await;
    }
    panic!("never saw {event}: {seen:?}");
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn simple_query_returns_rows_as_text() {
    let (_host, _toy, connection) = connect().await;
    let rows = connection.texts("rows 2").await.unwrap();
    assert_eq!(rows[1], vec![Some("1".to_string()), Some("row 1".to_string())]);
    assert!(connection.texts("").await.unwrap().is_empty());
    assert_eq!(connection.server_version(), "15.0 (Hypertile toy)");
    assert!(connection.is_idle());
}

#[tokio::test]
async fn query_streams_bounded_batches_and_keeps_the_statement() {
    let (_host, _toy, connection) = connect().await;
    for _ in 0..2 {
        let stream = connection.query("rows 20000", two_columns()).await.unwrap();
        assert!(!connection.is_idle(), "rows are still to come");
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        assert_eq!(count(&batches), 20_000);
        assert_eq!(batches[0].slice(0, 3), numbered(0, 3));
        assert!(connection.is_idle());
    }
    assert_eq!(connection.statements().len(), 1);
}

#[tokio::test]
async fn query_refuses_columns_of_another_type() {
    let (_host, _toy, connection) = connect().await;
    let wrong = schema(&[("id", Type::INT8), ("name", Type::TEXT)]);
    let error = connection.query("rows 1", wrong).await.err().unwrap();
    assert_eq!(error.code(), codes::DATATYPE_MISMATCH);
    assert!(connection.is_idle());
}

#[tokio::test]
async fn errors_of_the_server_keep_all_their_fields() {
    let (_host, _toy, connection) = connect().await;
    let error = connection.run("nonsense").await.unwrap_err();
    assert_eq!((error.code(), error.message()), (codes::UNDEFINED_TABLE, "relation \"nonsense\" does not exist"));
    assert_eq!((error.detail(), error.hint()), (Some("a detail"), Some("a hint")));
    let late = connection.query("late", two_columns()).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(late.code(), codes::DIVISION_BY_ZERO);
    assert!(connection.is_idle(), "an error of the server leaves the connection usable");
    assert_eq!(connection.texts("rows 1").await.unwrap().len(), 1);
}

#[tokio::test]
async fn notices_are_kept_for_whoever_asks() {
    let (_host, _toy, connection) = connect().await;
    connection.run("notice careful").await.unwrap();
    let notices = connection.take_notices();
    assert_eq!(notices.len(), 1);
    assert_eq!((notices[0].severity, notices[0].error.message()), (Severity::Warning, "careful"));
}

#[tokio::test]
async fn copy_in_counts_what_the_server_stored() {
    let (_host, toy, connection) = connect().await;
    let mut copy = connection.copy_in("copy_in_binary", two_columns()).await.unwrap();
    for first in 0..10 {
        copy.send(&numbered(first * 5000, 5000)).await.unwrap();
    }
    assert!(!connection.is_idle());
    assert_eq!(copy.finish().await.unwrap(), 50_000);
    assert!(connection.is_idle());
    assert!(toy.log.take().contains(&"copied 50000".to_string()));
}

#[tokio::test]
async fn dropped_copy_in_aborts_it_and_marks_the_connection() {
    let (host, toy, connection) = connect().await;
    let mut copy = connection.copy_in("copy_in_binary", two_columns()).await.unwrap();
    copy.send(&numbered(0, 10)).await.unwrap();
    drop(copy);
    assert!(!connection.is_idle());
    let seen = until(&host, &toy, "sync false").await;
    assert!(seen.contains(&"sink dropped".to_string()) && !seen.iter().any(|e| e.starts_with("copied")), "{seen:?}");
}

#[tokio::test]
async fn rows_dropped_half_way_mark_the_connection() {
    let (_host, _toy, connection) = connect().await;
    let mut stream = connection.query("rows 20000", two_columns()).await.unwrap();
    stream.try_next().await.unwrap();
    drop(stream);
    assert!(!connection.is_idle());
}

#[tokio::test]
async fn dropped_connection_stops_the_statement_on_the_server() {
    let (host, toy, connection) = connect().await;
    assert!(connection.run("sleep").now_or_never().is_none());
    host.sleep(Duration::from_millis(50)).await;
    drop(connection);
    until(&host, &toy, "sleep dropped").await;
    host.timeout(Duration::from_secs(5), toy.backends.drained()).await.expect("the backend leaves the list");
}

#[tokio::test]
async fn cancel_reaches_a_waiting_statement_and_a_streaming_one() {
    let (host, toy, connection) = connect().await;
    for (sql, dropped) in [("sleep", "sleep dropped"), ("endless", "endless dropped")] {
        let canceller = connection.canceller();
        let cancelling = async {
            until(&host, &toy, &format!("execute {sql}")).await;
            canceller.cancel().await.unwrap();
        };
        let running = async {
            let mut rows = connection.query(sql, two_columns()).await?;
            while rows.try_next().await?.is_some() {}
            Ok::<(), Error>(())
        };
        let running = async { if sql == "sleep" { connection.run(sql).await } else { running.await } };
        let (outcome, ()) = futures::join!(running, cancelling);
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), codes::QUERY_CANCELED);
        assert_eq!(error.message(), "canceling statement due to user request");
        until(&host, &toy, dropped).await;
        assert_eq!(connection.texts("rows 1").await.unwrap().len(), 1, "the connection lives on");
    }
}

#[tokio::test]
async fn scram_lets_the_right_password_in_only() {
    let (host, _toy, mut address) = start(Some("secret")).await;
    address.password = Some("secret".into());
    Connection::open(&host, &address).await.unwrap().run("insert").await.unwrap();
    address.password = Some("wrong".into());
    let error = Connection::open(&host, &address).await.err().unwrap();
    assert_eq!(error.code(), codes::INVALID_PASSWORD);
    assert_eq!(error.message(), "password authentication failed for user \"alice\"");
    address.password = None;
    assert_eq!(Connection::open(&host, &address).await.err().unwrap().code(), codes::CANNOT_CONNECT);
}

#[tokio::test]
async fn connecting_fails_with_the_reason() {
    let (host, _toy, mut address) = start(None).await;
    address.database = "missing".into();
    let error = Connection::open(&host, &address).await.err().unwrap();
    assert_eq!(error.code(), codes::INVALID_CATALOG_NAME);
    // Port 1 of the loopback device: nobody listens.
    address.port = 1;
    let error = Connection::open(&host, &address).await.err().unwrap();
    assert_eq!(error.code(), codes::CANNOT_CONNECT);
    assert!(error.detail().unwrap().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let host = test_host::host(100);
    let mut listener = host.net().listen("127.0.0.1", 0).await.unwrap();
    let address = Address {
        host: "127.0.0.1".into(),
        port: listener.local_address().port(),
        database: "db".into(),
        user: "alice".into(),
        password: None,
    };
    let (opened, _accepted) = futures::join!(Connection::open(&host, &address), listener.accept());
    assert_eq!(opened.err().unwrap().detail(), Some("no answer within 5 s"));
}

#[tokio::test]
async fn shutting_down_terminates_clients_and_refuses_new_ones() {
    let (host, toy, address) = start(None).await;
    let idle = Connection::open(&host, &address).await.unwrap();
    let busy = Connection::open(&host, &address).await.unwrap();
    assert_eq!(toy.backends.list().iter().map(|b| b.process_id).collect::<Vec<_>>(), vec![1, 2]);
    let stop = async {
        until(&host, &toy, "execute sleep").await;
        toy.backends.shut_down();
        toy.backends.drained().await;
    };
    let (outcome, ()) = futures::join!(busy.run("sleep"), stop);
    assert_eq!(outcome.unwrap_err().code(), codes::ADMIN_SHUTDOWN);
    let error = idle.run("insert").await.unwrap_err();
    assert!(matches!(error.code(), codes::ADMIN_SHUTDOWN | codes::CONNECTION_FAILURE), "{error}");
    assert!(idle.is_closed());
    assert_eq!(Connection::open(&host, &address).await.err().unwrap().code(), codes::CANNOT_CONNECT_NOW);
}

#[tokio::test]
async fn tokio_postgres_binds_parameters_and_copies_out() {
    let (_host, toy, connection) = connect().await;
    let client = connection.client();
    let statement = client.prepare("rows 2500").await.unwrap();
    assert_eq!(statement.columns().len(), 2);
    let rows = client.query(&statement, &[]).await.unwrap();
    assert_eq!(rows.len(), 2500);
    let echoed = client.query_one("echo $1 $2", &[&7_i32, &None::<i32>]).await.unwrap();
    assert_eq!(echoed.get::<_, String>(0), "7,NULL");
    let typed = client.prepare_typed("echo $1", &[Type::TIMESTAMPTZ]).await.unwrap();
    let moment = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let echoed = client.query_one(&typed, &[&moment]).await.unwrap();
    assert_eq!(echoed.get::<_, String>(0), "2023-11-14 22:13:20+00");
    let copied = client.copy_out("copy_out").await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(copied.concat(), b"1\trow 1\n2\trow 2\n3\trow 3\n");
    assert!(toy.log.take().contains(&"execute rows 2500".to_string()));
}
