//! What a script cannot say: parameters, COPY from the client, cancelled calls, several sessions.

use super::script::{Client, Database};
use crate::error::codes;
use crate::session::NoExtension;
use crate::wire::{Frontend, Outcome, Parameter, TransactionStatus};
use bytes::Bytes;
use futures::StreamExt;
use postgres_types::Type;

fn text(value: &str) -> Parameter {
    Parameter { binary: false, bytes: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn binary(bytes: &[u8]) -> Parameter {
    Parameter { binary: true, bytes: Some(Bytes::copy_from_slice(bytes)) }
}

async fn parameters_of(client: &mut Client, sql: &str, hints: &[Type]) -> Vec<Type> {
    let statement = client.frontend.parse(sql).unwrap().remove(0);
    let described = client.frontend.describe(&statement, hints).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    client.frontend.sync(true).await.unwrap();
    described.parameters
}

/// Runs with parameters as a driver does; the first column of all rows, or the tag.
async fn with(client: &mut Client, sql: &str, parameters: Vec<Parameter>) -> String {
    let statement = client.frontend.parse(sql).unwrap().remove(0);
    let types = client.frontend.describe(&statement, &[]).await.unwrap().parameters;
    let outcome = client.frontend.execute(&statement, &types, parameters).await;
    let answer = match outcome {
        Ok(Outcome::Rows { mut rows, schema, .. }) => {
            let mut values = Vec::new();
            while let Some(batch) = rows.next().await {
                let batch = batch.unwrap();
                for row in 0..batch.num_rows() {
                    let mut buffer = bytes::BytesMut::new();
                    let format = crate::wire::values::Format::default();
                    crate::wire::values::write_text(batch.column(0), schema.field(0), row, &format, &mut buffer)
                        .unwrap();
                    values.push(String::from_utf8(buffer.to_vec()).unwrap());
                }
            }
            values.join(",")
        }
        Ok(Outcome::Done { tag }) => tag,
        Ok(_) => "?".into(),
        Err(error) => super::script::shown(&error),
    };
    let ok = !answer.starts_with("ERROR");
    client.frontend.sync(ok).await.unwrap();
    answer
}

#[tokio::test]
async fn parameter_types_come_from_their_surroundings_and_hints_win() {
    let database = Database::new("parameter-types").await;
    let mut client = database.client();
    client.run("CREATE TABLE t (time timestamptz, id int, name text, v float8)").await;
    for (sql, expected) in [
        ("SELECT * FROM t WHERE id = $1 AND name = $2 AND time > $3", vec![Type::INT4, Type::TEXT, Type::TIMESTAMPTZ]),
        ("SELECT $1::int8, v FROM t WHERE v > $2 LIMIT $3", vec![Type::INT8, Type::FLOAT8, Type::INT8]),
        ("SELECT * FROM t WHERE id IN ($1, $2)", vec![Type::INT4, Type::INT4]),
        ("SELECT * FROM t WHERE id BETWEEN $1 AND $2", vec![Type::INT4, Type::INT4]),
        ("SELECT $1", vec![Type::TEXT]),
        ("INSERT INTO t VALUES ($1, $2, $3, $4)", vec![Type::TIMESTAMPTZ, Type::INT4, Type::TEXT, Type::FLOAT8]),
        ("INSERT INTO t (v, name) VALUES ($2, $1)", vec![Type::TEXT, Type::FLOAT8]),
        ("INSERT INTO t (id, v) SELECT id, $1 FROM t WHERE name = $2", vec![Type::FLOAT8, Type::TEXT]),
    ] {
        assert_eq!(parameters_of(&mut client, sql, &[]).await, expected, "{sql}");
    }
    let hinted =
        parameters_of(&mut client, "SELECT * FROM t WHERE id = $1 AND v = $2", &[Type::INT8, Type::UNKNOWN]).await;
    assert_eq!(hinted, [Type::INT8, Type::FLOAT8]);
}

#[tokio::test]
async fn parameters_are_read_in_both_formats() {
    let database = Database::new("parameters").await;
    let mut client = database.client();
    client.run("CREATE TABLE t (id int, name text, time timestamptz)").await;
    let insert = "INSERT INTO t VALUES ($1, $2, $3)";
    assert_eq!(
        with(&mut client, insert, vec![text("1"), text("one"), text("2023-01-05 10:00+00")]).await,
        "INSERT 0 1"
    );
    let micros = (725_846_400_000_000i64).to_be_bytes();
    assert_eq!(
        with(&mut client, insert, vec![binary(&2i32.to_be_bytes()), binary(b"two"), binary(&micros)]).await,
        "INSERT 0 1"
    );
    assert_eq!(with(&mut client, "SELECT name FROM t WHERE id = $1", vec![text("1")]).await, "one");
    assert_eq!(with(&mut client, "SELECT name FROM t WHERE id = $1", vec![binary(&2i32.to_be_bytes())]).await, "two");
    assert_eq!(
        with(&mut client, "SELECT time FROM t WHERE time >= $1 ORDER BY 1", vec![text("2023-01-01")]).await,
        "2023-01-05 10:00:00+00,2023-01-01 00:00:00+00".split(',').rev().collect::<Vec<_>>().join(",")
    );
    assert_eq!(with(&mut client, "SELECT id FROM t ORDER BY id DESC LIMIT $1", vec![text("1")]).await, "2");
    assert_eq!(
        with(&mut client, "SELECT id FROM t WHERE id = $1", vec![text("abc")]).await,
        "ERROR:  22P02: invalid input syntax for type integer: \"abc\""
    );
}

#[tokio::test]
async fn rows_copied_in_are_completed_and_checked() {
    let database = Database::new("copy").await;
    let mut client = database.client();
    client.run("CREATE TABLE t (a int CHECK (a > 0), b text DEFAULT 'none')").await;
    let copy = |sql: &'static str| async move { sql };
    let _ = copy;
    for (sql, data, expected) in [
        ("COPY t FROM STDIN", "1\tone\n2\t\\N\n", Ok(2)),
        ("COPY t (a) FROM STDIN", "3\n4\n", Ok(2)),
        ("COPY t FROM STDIN (FORMAT csv)", "5,\"a,b\"\n", Ok(1)),
        ("COPY t FROM STDIN", "-1\tbad\n", Err(codes::CHECK_VIOLATION)),
        ("COPY t FROM STDIN", "x\tbad\n", Err(codes::INVALID_TEXT)),
    ] {
        let statement = client.frontend.parse(sql).unwrap().remove(0);
        let Outcome::CopyIn { mut sink, .. } = client.frontend.execute(&statement, &[], vec![]).await.unwrap() else {
            panic!("{sql}")
        };
        // One byte at a time: rows may span messages.
        let mut result = Ok(0);
        for byte in data.as_bytes() {
            result = sink.write(Bytes::copy_from_slice(&[*byte])).await.map(|()| 0);
            if result.is_err() {
                break;
            }
        }
        let result = match result {
            Ok(_) => sink.finish().await,
            Err(error) => Err(error),
        };
        client.frontend.sync(result.is_ok()).await.unwrap();
        assert_eq!(result.map_err(|e| e.code()), expected, "{sql} {data}");
    }
    assert_eq!(client.run("SELECT * FROM t ORDER BY a").await, "a|b\n1|one\n2|NULL\n3|none\n4|none\n5|a,b");
}

#[tokio::test]
async fn a_copy_abandoned_by_its_client_stores_nothing() {
    let database = Database::new("copy-abandoned").await;
    let mut client = database.client();
    client.run("CREATE TABLE t (a int)").await;
    client.run("BEGIN").await;
    let statement = client.frontend.parse("COPY t FROM STDIN").unwrap().remove(0);
    let Outcome::CopyIn { mut sink, .. } = client.frontend.execute(&statement, &[], vec![]).await.unwrap() else {
        panic!()
    };
    sink.write(Bytes::from_static(b"1\n")).await.unwrap();
    drop(sink);
    assert_eq!(client.frontend.status(), TransactionStatus::Failed);
    assert_eq!(client.run("COMMIT").await, "ROLLBACK");
    assert_eq!(client.run("SELECT * FROM t").await, "a");
}

#[tokio::test]
async fn an_error_in_a_query_string_takes_back_what_came_before_it() {
    let database = Database::new("implicit").await;
    let mut client = database.client();
    client.run("CREATE TABLE t (a int)").await;
    assert!(client.run("INSERT INTO t VALUES (1); SELECT 1/0; INSERT INTO t VALUES (2)").await.contains("division"));
    assert_eq!(client.run("SELECT * FROM t").await, "a");
    assert_eq!(client.run("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)").await, "INSERT 0 1\nINSERT 0 1");
    assert_eq!(client.run("SELECT count(*) FROM t").await, "count\n2");
}

#[tokio::test]
async fn sessions_see_what_is_committed_and_no_more() {
    let database = Database::new("isolation").await;
    let (mut one, mut two) = (database.client(), database.client());
    one.run("CREATE TABLE t (a int)").await;
    one.run("BEGIN").await;
    one.run("INSERT INTO t VALUES (1)").await;
    two.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(two.run("SELECT count(*) FROM t").await, "count\n0");
    assert_eq!(one.run("COMMIT").await, "COMMIT");
    assert_eq!(two.run("SELECT count(*) FROM t").await, "count\n0");
    two.run("COMMIT").await;
    assert_eq!(two.run("SELECT count(*) FROM t").await, "count\n1");
}

#[tokio::test]
async fn a_statement_dropped_half_way_fails_its_transaction() {
    let database = Database::new("dropped").await;
    let (mut one, mut two) = (database.client(), database.client());
    one.run("CREATE TABLE t (a int PRIMARY KEY)").await;
    one.run("BEGIN").await;
    one.run("INSERT INTO t VALUES (1)").await;
    two.run("BEGIN").await;
    {
        // Waits for the other transaction's undecided key; the client cancels.
        let waiting = two.run("INSERT INTO t VALUES (1)");
        futures::pin_mut!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
    }
    assert_eq!(two.frontend.status(), TransactionStatus::Failed);
    assert_eq!(one.run("COMMIT").await, "COMMIT");
    assert!(two.run("SELECT 1").await.contains("25P02"));
    assert_eq!(two.run("ROLLBACK").await, "ROLLBACK");
    assert_eq!(two.run("SELECT * FROM t").await, "a\n1");
}

#[tokio::test]
async fn a_statement_ends_when_its_time_is_up() {
    let database = Database::new("timeout").await;
    let mut client = database.client();
    client.run("SET statement_timeout TO '50ms'").await;
    let answer = client.run("SELECT count(*) FROM generate_series(1, 300000000) AS g(x)").await;
    assert_eq!(answer, "ERROR:  57014: canceling statement due to statement timeout");
    assert_eq!(client.run("SELECT 1 AS a").await, "a\n1");
}

#[tokio::test]
async fn a_wait_for_another_transaction_ends_with_lock_timeout() {
    let database = Database::new("lock-timeout").await;
    let (mut one, mut two) = (database.client(), database.client());
    one.run("CREATE TABLE t (a int PRIMARY KEY)").await;
    one.run("BEGIN; INSERT INTO t VALUES (1)").await;
    two.run("SET lock_timeout = 20").await;
    let answer = two.run("INSERT INTO t VALUES (1)").await;
    assert!(answer.contains("55P03") && answer.contains("canceling statement due to lock timeout"), "{answer}");
    assert_eq!(one.run("COMMIT").await, "COMMIT");
}

#[tokio::test]
async fn the_pieces_make_an_insert_without_storing_it() {
    let database = Database::new("pieces").await;
    let mut client = database.client();
    client.run("CREATE TABLE t (a int, b text DEFAULT 'x')").await;
    let statement = client.frontend.parse("INSERT INTO t (a) VALUES (1), (2)").unwrap().remove(0);
    let crate::sql::statement::Kind::Insert(insert) = &statement.kind else { panic!() };
    let session = client.frontend.session();
    session.begin_statement().unwrap();
    let table = session.existing_table(crate::session::insert::target(insert).unwrap(), &NoExtension).unwrap();
    let bound = crate::session::parameters::Bound::NONE;
    let batches: Vec<_> = session.insert_source(&table, insert, &bound, &NoExtension).await.unwrap().collect().await;
    assert_eq!(batches.iter().map(|batch| batch.as_ref().unwrap().num_rows()).sum::<usize>(), 2);
    assert!(!session.has_local_writes());
    session.finish(true).await.unwrap();
    assert_eq!(client.run("SELECT count(*) FROM t").await, "count\n0");
}
