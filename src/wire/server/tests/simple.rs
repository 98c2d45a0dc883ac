use super::*;

#[tokio::test]
async fn start_up_refuses_encryption_and_reports_settings() {
    let mut raw = Raw::silent(1);
    for code in [80_877_104_u32, 80_877_103] {
        let mut request = vec![0, 0, 0, 8];
        request.extend_from_slice(&code.to_be_bytes());
        raw.send(&request).await;
        assert_eq!(raw.stream.read_u8().await.unwrap(), b'N');
    }
    raw.send(&startup(&[("user", "alice")], VERSION_3_0)).await;
    let answer = raw.until(b'Z').await;
    assert_eq!(answer, ["R", "S server_version=15.0 (Hypertile toy)", "S client_encoding=UTF8", "K", "Z I"]);
    assert_eq!(raw.toy.log.take(), ["open alice/alice"]);
}

#[tokio::test]
async fn newer_minor_version_is_negotiated_down() {
    let mut raw = Raw::silent(1);
    raw.send(&startup(&[("user", "alice"), ("_pq_.novelty", "on")], VERSION_3_0 + 2)).await;
    assert_eq!(raw.until(b'Z').await[0], "v");
}

#[tokio::test]
async fn start_up_failures_are_fatal() {
    for (packet, expected) in [
        (
            startup(&[("user", "a"), ("database", "missing")], VERSION_3_0),
            "S=FATAL C=3D000 M=database \"missing\" does not exist",
        ),
        (startup(&[], VERSION_3_0), "S=FATAL C=28000 M=no PostgreSQL user name specified in startup packet"),
        (
            startup(&[("user", "a")], 2 << 16),
            "S=FATAL C=0A000 M=unsupported frontend protocol 2.0: server supports 3.0 to 3.0",
        ),
        (vec![0, 0, 0, 3], "S=FATAL C=08P01 M=invalid length of startup packet"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "S=FATAL C=08P01 M=invalid length of startup packet"),
    ] {
        let mut raw = Raw::silent(1);
        raw.send(&packet).await;
        let end = raw.rest_of_stream().await;
        assert_eq!(end.last().unwrap(), &format!("E {expected}"));
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let mut raw = Raw::silent(1000);
    assert_eq!(raw.rest_of_stream().await, ["E S=FATAL C=28000 M=canceling authentication due to timeout"]);
}

#[tokio::test]
async fn last_statement_commits_before_it_completes() {
    let mut raw = Raw::connected().await;
    assert_eq!(
        raw.ask(&query("insert; rows 2")).await,
        ["C INSERT 0 1", "T id:23:0|name:25:0", "D 0|row 0", "D 1|row 1", "C SELECT 2", "Z I"]
    );
    assert_eq!(raw.toy.log.take(), ["execute insert", "execute rows 2", "sync true"]);
}

#[tokio::test]
async fn failing_commit_takes_the_place_of_completion() {
    let mut raw = Raw::connected().await;
    let answer = raw.ask(&query("doom")).await;
    assert_eq!(answer, ["E S=ERROR C=40001 M=could not serialize access", "Z I"]);
    assert_eq!(raw.toy.log.take(), ["execute doom", "sync true", "sync false"]);
}

#[tokio::test]
async fn error_stops_a_script_and_fails_its_block() {
    let mut raw = Raw::connected().await;
    let answer = raw.ask(&query("begin; nonsense; insert")).await;
    let error = "E S=ERROR C=42P01 M=relation \"nonsense\" does not exist D=a detail H=a hint P=3";
    assert_eq!(answer, ["C BEGIN", error, "Z E"]);
    assert_eq!(raw.ask(&query("insert")).await, ["E S=ERROR C=25P02 M=current transaction is aborted", "Z E"]);
    assert_eq!(raw.ask(&query("rollback")).await, ["C ROLLBACK", "Z I"]);
}

#[tokio::test]
async fn syntax_errors_have_a_position_and_nothing_runs() {
    let mut raw = Raw::connected().await;
    let answer = raw.ask(&query("insert; syntax")).await;
    assert_eq!(answer, ["E S=ERROR C=42601 M=syntax error at or near \"syntax\" P=9", "Z I"]);
    assert_eq!(raw.toy.log.take(), ["sync false"]);
}

#[tokio::test]
async fn empty_query_and_text_that_is_not_utf8() {
    let mut raw = Raw::connected().await;
    assert_eq!(raw.ask(&query(" ; ")).await, ["I", "Z I"]);
    let bad = message(b'Q', |out| out.put_slice(b"ro\xffws\0"));
    assert_eq!(raw.ask(&bad).await, ["E S=ERROR C=22021 M=invalid byte sequence for encoding \"UTF8\": 0xff", "Z I"]);
}

#[tokio::test]
async fn notices_come_before_completion_and_settings_before_ready() {
    let mut raw = Raw::connected().await;
    let answer = raw.ask(&query("notice look out; zone Asia/Kolkata; at")).await;
    assert_eq!(
        answer,
        [
            "N S=WARNING C=01000 M=look out",
            "C NOTICE",
            "C SET",
            "T at:1184:0",
            "D 2023-01-01 05:30:00+05:30",
            "C SELECT 1",
            "S TimeZone=Asia/Kolkata",
            "Z I"
        ]
    );
}

#[tokio::test]
async fn copy_in_and_out_by_simple_query() {
    let mut raw = Raw::connected().await;
    raw.send(&query("copy_in")).await;
    assert_eq!(raw.until(b'G').await, ["G"]);
    for piece in ["1\ton", "e\n2\ttw", "o\n"] {
        raw.send(&message(b'd', |out| out.put_slice(piece.as_bytes()))).await;
    }
    assert_eq!(raw.ask(&message(b'c', |_| {})).await, ["C COPY 2", "Z I"]);
    let answer = raw.ask(&query("copy_out")).await;
    assert_eq!(answer, ["H", "d 1\\trow 1\\n", "d 2\\trow 2\\n", "d 3\\trow 3\\n", "c", "C COPY 3", "Z I"]);
}

#[tokio::test]
async fn copy_in_fails_by_client_or_by_data_and_the_connection_goes_on() {
    let mut raw = Raw::connected().await;
    raw.send(&query("copy_in")).await;
    raw.until(b'G').await;
    let answer = raw.ask(&message(b'f', |out| text("no more", out))).await;
    assert_eq!(answer, ["E S=ERROR C=57014 M=COPY from stdin failed: no more", "Z I"]);
    raw.send(&query("copy_in")).await;
    raw.until(b'G').await;
    let answer = raw.ask(&message(b'd', |out| out.put_slice(b"x\ty\n"))).await;
    assert_eq!(
        answer,
        ["E S=ERROR C=22P02 M=invalid input syntax for type integer: \"x\" D=COPY t, line 1, column id: \"x\"", "Z I"]
    );
    // What the client had sent before it knew is passed over.
    raw.send(&message(b'd', |out| out.put_slice(b"1\ty\n"))).await;
    raw.send(&message(b'c', |_| {})).await;
    assert_eq!(raw.ask(&query("insert")).await, ["C INSERT 0 1", "Z I"]);
}

#[tokio::test]
async fn slow_sink_slows_the_client_down() {
    let mut raw = Raw::connected().await;
    raw.send(&query("copy_in stuck")).await;
    raw.until(b'G').await;
    let piece = message(b'd', |out| out.put_bytes(b'x', 10_000));
    let mut taken = 0;
    let endless = async {
        loop {
            raw.stream.write_all(&piece).await.unwrap();
            taken += piece.len();
        }
    };
    assert!(raw.host.timeout(Duration::from_millis(300), endless).await.is_err());
    assert!(taken < 400_000, "{taken} bytes were taken while the sink was stuck");
    // Going away is noticed once the read-ahead is drained or the stream breaks; here the bound was reached.
    raw.toy.backends.cancel(1);
    let answer = raw.until(b'E').await;
    assert_eq!(answer, ["E S=ERROR C=57014 M=canceling statement due to user request"]);
}

#[tokio::test]
async fn client_that_leaves_stops_its_statement() {
    for sql in ["sleep", "copy_in"] {
        let mut raw = Raw::connected().await;
        raw.send(&query(sql)).await;
        while raw.toy.log.take() != [format!("execute {sql}")] {
            raw.host.sleep(Duration::from_millis(5)).await;
        }
        let Raw { host, toy, stream, .. } = raw;
        drop(stream);
        host.timeout(Duration::from_secs(5), toy.backends.drained()).await.expect("the backend leaves");
        let dropped = if sql == "sleep" { "sleep dropped" } else { "sink dropped" };
        assert_eq!(toy.log.take(), [dropped]);
    }
}

#[tokio::test]
async fn cancel_needs_the_right_key_and_only_hits_a_running_statement() {
    let mut raw = Raw::connected().await;
    assert!(!raw.toy.backends.cancel_with_key(1, 12345), "a guess");
    assert!(!raw.toy.backends.cancel(99), "nobody");
    // Cancelled while idle: forgotten.
    assert!(raw.toy.backends.cancel(1));
    assert_eq!(raw.ask(&query("insert")).await, ["C INSERT 0 1", "Z I"]);
}

#[tokio::test]
async fn terminated_backend_is_told_why() {
    let mut raw = Raw::connected().await;
    assert!(raw.toy.backends.terminate(1));
    assert_eq!(raw.rest_of_stream().await, ["E S=FATAL C=57P01 M=terminating connection due to administrator command"]);
}

#[tokio::test]
async fn a_client_that_is_idle_too_long_is_sent_away_but_not_within_a_statement() {
    let mut raw = Raw::connected().await;
    assert_eq!(raw.ask(&query("impatient")).await, ["C SET", "Z I"]);
    // Not idle: its Sync has yet to come.
    raw.send(&parse("", "insert", &[])).await;
    raw.host.sleep(Duration::from_millis(150)).await;
    assert_eq!(raw.ask(&sync()).await, ["1", "Z I"]);
    assert_eq!(raw.rest_of_stream().await, ["E S=FATAL C=01000 M=idle"]);
}

#[tokio::test]
async fn commit_is_seen_through_although_cancelled() {
    let mut raw = Raw::connected().await;
    raw.send(&query("stubborn")).await;
    while raw.toy.log.take() != ["execute stubborn"] {
        raw.host.sleep(Duration::from_millis(5)).await;
    }
    assert!(raw.toy.backends.cancel(1));
    raw.host.sleep(Duration::from_millis(20)).await;
    raw.toy.release.notify_one();
    assert_eq!(raw.until(b'Z').await, ["C STUBBORN", "Z I"]);
    assert_eq!(raw.ask(&query("insert")).await, ["C INSERT 0 1", "Z I"]);
}
