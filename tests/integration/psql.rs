//! The cluster as a person meets it: `hypertile up` and stock psql.

use super::support::{Folder, Up, free_ports, hypertile, stdout};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

/// The statements of the document that the product grew out of, as they are written there.
const SEED_DOCUMENT: &str = "\
CREATE TABLE conditions (
  time        TIMESTAMPTZ       NOT NULL,
  location    TEXT              NOT NULL,
  temperature DOUBLE PRECISION  NULL,
  humidity    DOUBLE PRECISION  NULL
);
SELECT create_distributed_hypertable('conditions', 'time', 'location');
SELECT add_data_node('node3', host => 'dn3.example.com');
SELECT attach_data_node('node3', hypertable => 'conditions');
";

#[test]
fn the_seed_document_works_as_it_is_written_and_survives_kill_9() {
    let folder = Folder::new();
    let port = free_ports(4);
    let up = Up::start(&folder.0, port, &[]);
    let said: Vec<String> = SEED_DOCUMENT.split_inclusive(";\n").map(|sql| up.psql(sql)).collect();
    assert_eq!(said[0], "CREATE TABLE\n");
    assert_eq!(said[1], "(1,public,conditions,t)\n");
    assert!(said[2].starts_with("(node3,dn3.example.com,"), "{}", said[2]);
    assert!(said[3].contains("(1,1,node3)"), "{}", said[3]);
    for statement in [
        "SELECT detach_data_node('node1', hypertable => 'conditions')",
        "SELECT block_new_chunks('node1', hypertable => 'conditions')",
    ] {
        let answer = up.psql(statement);
        assert!(answer.contains("not available yet"), "{answer}");
    }
    assert_eq!(up.psql("INSERT INTO conditions SELECT '2023-01-01'::timestamptz + i * interval '1 hour', 'place ' || i, i, i FROM generate_series(1, 500) AS t(i)"), "INSERT 0 500\n");
    drop(up);

    let up = Up::start(&folder.0, port, &[]);
    assert_eq!(up.psql("SELECT count(*), sum(temperature) FROM conditions"), "500|125250\n");
    assert_eq!(up.psql("SELECT count(DISTINCT data_nodes) FROM timescaledb_information.chunks"), "4\n");
}

/// The seed document typed into one psql session, in order.
#[test]
fn one_psql_session_takes_many_statements() {
    let folder = Folder::new();
    let up = Up::start(&folder.0, free_ports(4), &[]);
    let mut psql = up
        .psql_command()
        .args(["-AtX", "-v", "ON_ERROR_STOP=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!(
        "{SEED_DOCUMENT}BEGIN;\nINSERT INTO conditions VALUES (now(), 'here', 1, NULL);\nCOMMIT;\nSELECT location, temperature, humidity IS NULL FROM conditions;\n"
    );
    psql.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = psql.wait_with_output().unwrap();
    let (out, err) = (stdout(&output), super::support::stderr(&output));
    assert!(output.status.success() && out.contains("here|1|t"), "{out}{err}");
}

#[test]
fn a_session_is_told_when_the_server_goes() {
    let folder = Folder::new();
    let up = Up::start(&folder.0, free_ports(4), &[]);
    let mut psql = up
        .psql_command()
        .arg("-AtX")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut lines) = (psql.stdin.take().unwrap(), BufReader::new(psql.stdout.take().unwrap()));
    input.write_all(b"SELECT 1;\n\\! echo connected\n").unwrap();
    let mut seen = String::new();
    while !seen.contains("connected") {
        assert_ne!(lines.read_line(&mut seen).unwrap(), 0, "{seen}");
    }
    assert!(up.terminate().success());
    input.write_all(b"SELECT 2;\n").unwrap();
    drop(input);
    let error = super::support::stderr(&psql.wait_with_output().unwrap());
    assert!(error.contains("administrator command"), "{error}");
}

#[test]
fn copy_of_generated_rows_gives_what_postgresql_would_say() {
    let folder = Folder::new();
    let up = Up::start(&folder.0, free_ports(4), &[]);
    let file = folder.0.join("cpu.csv");
    let generated = hypertile(&["generate", "cpu", "--hosts", "20", "--hours", "3", "--out", file.to_str().unwrap()]);
    assert!(generated.status.success());
    up.psql(
        "CREATE TABLE cpu (time timestamptz NOT NULL, hostname text NOT NULL, region text, datacenter text, team text, \
         usage_user float8, usage_system float8, usage_idle float8, usage_nice float8, usage_iowait float8, \
         usage_irq float8, usage_softirq float8, usage_steal float8, usage_guest float8, usage_guest_nice float8)",
    );
    up.psql(
        "SELECT create_distributed_hypertable('cpu', 'time', 'hostname', chunk_time_interval => interval '1 hour')",
    );
    assert_eq!(up.psql(&format!("\\copy cpu FROM '{}' WITH (FORMAT csv)", file.display())), "COPY 21600\n");
    // The same average, computed from the file itself.
    let text = std::fs::read_to_string(&file).unwrap();
    let values: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("2023-01-01 01:") && line.contains(",host_7,"))
        .map(|line| line.split(',').nth(5).unwrap().parse().unwrap())
        .collect();
    let average: f64 = values.iter().sum::<f64>() / values.len() as f64;
    let answer = up.psql(
        "SELECT avg(usage_user), count(*) FROM cpu WHERE hostname = 'host_7' AND time_bucket('1 hour', time) = '2023-01-01 01:00+00'",
    );
    let (mean, count) = answer.trim().split_once('|').unwrap_or_else(|| panic!("{answer}"));
    assert_eq!((mean.parse::<f64>().unwrap(), count), (average, "360"));
    let groups = up.psql("SELECT count(*) FROM (SELECT time_bucket('1 hour', time), hostname, avg(usage_user) FROM cpu GROUP BY 1, 2) AS g");
    assert_eq!(groups, "60\n");
    let copied = up
        .psql("COPY (SELECT hostname, count(*) FROM cpu GROUP BY 1 ORDER BY 1 LIMIT 2) TO STDOUT (FORMAT csv, HEADER)");
    assert_eq!(copied, "hostname,count\nhost_0,1080\nhost_1,1080\n");
}

#[test]
fn explain_shows_what_each_data_node_is_asked() {
    let folder = Folder::new();
    let up = Up::start(&folder.0, free_ports(4), &[]);
    up.psql("CREATE TABLE m (time timestamptz NOT NULL, device text NOT NULL, value float8)");
    up.psql("SELECT create_distributed_hypertable('m', 'time', 'device')");
    up.psql("INSERT INTO m SELECT '2023-01-01'::timestamptz, 'd' || i, i FROM generate_series(1, 30) AS t(i)");
    let plan = up.psql("EXPLAIN SELECT device, avg(value) FROM m WHERE time > '2022-12-31' GROUP BY device");
    assert!(plan.contains("Remote SQL: ") && plan.contains("GROUP BY"), "{plan}");
    for node in ["node0", "node1", "node2"] {
        assert!(plan.contains(&format!("Data node: {node}")), "{plan}");
    }
    let one = up.psql("EXPLAIN SELECT * FROM m WHERE device = 'd7'");
    assert_eq!(one.matches("Data node: ").count(), 1, "{one}");
}

#[test]
fn malformed_bytes_end_only_their_own_connection() {
    let folder = Folder::new();
    let up = Up::start(&folder.0, free_ports(4), &[]);
    let messages: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 0],
        &[0xff; 64],
        &[0, 0, 0, 9, 0, 3, 0, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
    ];
    for message in messages {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", up.port)).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(message);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(up.psql("SELECT 1"), "1\n");
    }
}

#[test]
fn errors_carry_sqlstate_position_and_hint() {
    let folder = Folder::new();
    let up = Up::start(&folder.0, free_ports(4), &[]);
    let answer = |sql: &str| {
        let output = up.psql_command().args(["-AtX", "-v", "VERBOSITY=verbose", "-c", sql]).output().unwrap();
        stdout(&output) + &super::support::stderr(&output)
    };
    let missing = answer("SELECT * FROM missing");
    assert!(missing.contains("42P01") && missing.contains("relation \"missing\" does not exist"), "{missing}");
    let syntax = answer("SELEKT 1");
    assert!(syntax.contains("42601") && syntax.contains("LINE 1"), "{syntax}");
    let nodes = answer("SELECT add_data_node('node9', host => 'nowhere.invalid')");
    assert!(nodes.contains("08001") && nodes.contains("could not connect to \"node9\""), "{nodes}");
    let division = answer("SELECT 1 / 0");
    assert!(division.contains("22012"), "{division}");
}
