use super::*;

fn all(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.concat()
}

#[tokio::test]
async fn parse_bind_describe_execute() {
    let mut raw = Raw::connected().await;
    let answer = raw
        .ask(&all(&[
            parse("s", "echo $1 $2", &[0, 25]),
            describe(b'S', "s"),
            bind("", "s", &[Some("7"), None], &[]),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ]))
        .await;
    assert_eq!(answer, ["1", "t 23|25", "T echo:25:0", "2", "T echo:25:0", "D 7,NULL", "C SELECT 1", "Z I"]);
    assert_eq!(raw.toy.log.take(), ["execute echo $1 $2", "sync true"]);
}

#[tokio::test]
async fn each_column_comes_in_the_format_asked_for() {
    let mut raw = Raw::connected().await;
    let answer = raw
        .ask(&all(&[parse("", "rows 1", &[]), bind("", "", &[], &[1, 0]), describe(b'P', ""), execute("", 0), sync()]))
        .await;
    assert_eq!(answer[2..4], ["T id:23:1|name:25:0", "D \\u{0}\\u{0}\\u{0}\\u{0}|row 0"]);
}

#[tokio::test]
async fn commands_without_rows_and_empty_statements() {
    let mut raw = Raw::connected().await;
    let insert = [parse("", "insert", &[]), bind("", "", &[], &[]), describe(b'P', ""), execute("", 0), sync()];
    assert_eq!(raw.ask(&all(&insert)).await, ["1", "2", "n", "C INSERT 0 1", "Z I"]);
    let empty = [parse("", "", &[]), describe(b'S', ""), bind("", "", &[], &[]), execute("", 0), sync()];
    assert_eq!(raw.ask(&all(&empty)).await, ["1", "t ", "n", "2", "I", "Z I"]);
}

#[tokio::test]
async fn after_an_error_all_is_ignored_up_to_sync() {
    let mut raw = Raw::connected().await;
    let answer = raw
        .ask(&all(&[
            parse("", "nonsense", &[]),
            bind("", "", &[], &[]),
            execute("", 0),
            query("insert"),
            execute("", 0),
            sync(),
        ]))
        .await;
    assert_eq!(answer.len(), 4, "{answer:?}");
    assert!(answer[2].starts_with("E S=ERROR C=42P01"));
    assert_eq!(raw.toy.log.take(), ["execute nonsense", "sync false", "sync true"]);
    assert_eq!(raw.ask(&query("insert")).await, ["C INSERT 0 1", "Z I"]);
}

#[tokio::test]
async fn an_error_does_not_wait_for_sync() {
    let mut raw = Raw::connected().await;
    raw.send(&all(&[parse("", "nonsense", &[]), bind("", "", &[], &[]), execute("", 0)])).await;
    let answer = raw.until(b'E').await;
    assert!(answer[2].starts_with("E S=ERROR C=42P01"), "{answer:?}");
}

#[tokio::test]
async fn commit_that_fails_at_sync_is_an_error() {
    let mut raw = Raw::connected().await;
    let answer = raw.ask(&all(&[parse("", "doom", &[]), bind("", "", &[], &[]), execute("", 0), sync()])).await;
    assert_eq!(answer, ["1", "2", "C INSERT 0 1", "E S=ERROR C=40001 M=could not serialize access", "Z I"]);
}

#[tokio::test]
async fn suspended_portal_goes_on_where_it_stopped() {
    let mut raw = Raw::connected().await;
    raw.ask(&query("begin")).await;
    let answer = raw.ask(&all(&[parse("", "rows 3", &[]), bind("p", "", &[], &[]), execute("p", 2), sync()])).await;
    assert_eq!(answer, ["1", "2", "D 0|row 0", "D 1|row 1", "s", "Z T"]);
    // Another statement runs in between: the rest of the rows is kept.
    assert_eq!(raw.ask(&query("insert")).await, ["C INSERT 0 1", "Z T"]);
    assert_eq!(raw.ask(&all(&[execute("p", 2), sync()])).await, ["D 2|row 2", "C SELECT 1", "Z T"]);
    assert_eq!(raw.ask(&all(&[execute("p", 2), sync()])).await, ["C SELECT 0", "Z T"]);
    assert_eq!(raw.ask(&query("commit")).await, ["C COMMIT", "Z I"]);
    let answer = raw.ask(&all(&[execute("p", 2), sync()])).await;
    assert_eq!(answer, ["E S=ERROR C=34000 M=portal \"p\" does not exist", "Z I"]);
}

#[tokio::test]
async fn portal_outside_a_block_ends_with_sync() {
    let mut raw = Raw::connected().await;
    let answer = raw
        .ask(&all(&[parse("", "rows 3", &[]), bind("p", "", &[], &[]), execute("p", 1), execute("p", 1), sync()]))
        .await;
    assert_eq!(answer, ["1", "2", "D 0|row 0", "s", "D 1|row 1", "s", "Z I"]);
    assert!(raw.ask(&all(&[execute("p", 1), sync()])).await[0].contains("C=34000"));
}

#[tokio::test]
async fn portal_with_too_many_rows_left_cannot_wait() {
    let mut raw = Raw::connected().await;
    raw.ask(&query("begin")).await;
    raw.ask(&all(&[parse("", "endless", &[]), bind("p", "", &[], &[]), execute("p", 1), sync()])).await;
    let answer = raw.ask(&query("insert")).await;
    assert!(answer[0].starts_with("E S=ERROR C=54000"), "{answer:?}");
    assert_eq!(answer[1], "Z E");
}

#[tokio::test]
async fn names_are_checked() {
    let mut raw = Raw::connected().await;
    raw.ask(&all(&[parse("s", "insert", &[]), sync()])).await;
    for (messages, expected) in [
        (parse("s", "insert", &[]), "C=42P05 M=prepared statement \"s\" already exists"),
        (bind("", "none", &[], &[]), "C=26000 M=prepared statement \"none\" does not exist"),
        (bind("", "", &[], &[]), "C=26000 M=unnamed prepared statement does not exist"),
        (describe(b'P', "none"), "C=34000 M=portal \"none\" does not exist"),
        (execute("none", 0), "C=34000 M=portal \"none\" does not exist"),
        (
            bind("", "s", &[Some("1")], &[]),
            "C=08P01 M=bind message supplies 1 parameters, but prepared statement \"s\" requires 0",
        ),
        (parse("", "insert; insert", &[]), "C=42601 M=cannot insert multiple commands into a prepared statement"),
        (parse("", "insert", &[999_999]), "C=42704 M=type with OID 999999 does not exist"),
    ] {
        let answer = raw.ask(&all(&[messages, sync()])).await;
        assert_eq!(answer, [format!("E S=ERROR {expected}"), "Z I".to_string()]);
    }
    // Closing makes the name free again; closing nothing is fine.
    let again = [close(b'S', "s"), close(b'P', "none"), parse("s", "insert", &[]), sync()];
    assert_eq!(raw.ask(&all(&again)).await, ["3", "3", "1", "Z I"]);
}

#[tokio::test]
async fn flush_sends_what_there_is_without_sync() {
    let mut raw = Raw::connected().await;
    raw.send(&all(&[parse("", "insert", &[]), message(b'H', |_| {})])).await;
    assert_eq!(raw.until(b'1').await, ["1"]);
    raw.send(&all(&[bind("", "", &[], &[]), execute("", 0), message(b'H', |_| {})])).await;
    assert_eq!(raw.until(b'C').await, ["2", "C INSERT 0 1"]);
    assert_eq!(raw.ask(&sync()).await, ["Z I"]);
}

#[tokio::test]
async fn finished_command_cannot_be_run_again() {
    let mut raw = Raw::connected().await;
    let answer = raw
        .ask(&all(&[parse("", "insert", &[]), bind("", "", &[], &[]), execute("", 0), execute("", 0), sync()]))
        .await;
    assert_eq!(answer[3], "E S=ERROR C=55000 M=portal \"\" cannot be run");
}

#[tokio::test]
async fn copy_in_by_extended_query_passes_over_the_pipelined_sync() {
    let mut raw = Raw::connected().await;
    raw.send(&all(&[parse("", "copy_in", &[]), bind("", "", &[], &[]), execute("", 0), sync()])).await;
    assert_eq!(raw.until(b'G').await, ["1", "2", "G"]);
    let data = message(b'd', |out| out.put_slice(b"1\tone\n"));
    assert_eq!(raw.ask(&all(&[data, message(b'c', |_| {}), sync()])).await, ["C COPY 1", "Z I"]);
}
