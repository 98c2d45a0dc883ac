//! How fast rows go in: `COPY … FROM STDIN` of the CPU data set into a distributed hypertable on one access node and three
//! data nodes (real processes, loopback, fsync on), beside the same COPY into one PostgreSQL table in the same run.
//!
//! Look at the ratio of the two, not at the absolute figures: machines are noisy.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::{SinkExt, pin_mut};
use hypertile::cli::generate::Generator;
use hypertile::sim::scenario::ClusterSpec;
use hypertile::sim::scenario::stage::Stage;
use hypertile::trial::stage::loopback;
use hypertile::trial::stage::postgres::{self, installed};
use hypertile::trial::stage::{ACCESS_NODE, Cluster};
use hypertile::wire::client::Connection;
use std::path::Path;
use tokio::runtime::Runtime;

const HOSTS: u32 = 100;
/// Ten-second steps: 100 hosts x 360 = 36,000 rows.
const STEPS: u32 = 360;

const COLUMNS: &str = "time timestamptz NOT NULL, hostname text NOT NULL, region text, datacenter text, team text, \
    usage_user float8, usage_system float8, usage_idle float8, usage_nice float8, usage_iowait float8, \
    usage_irq float8, usage_softirq float8, usage_steal float8, usage_guest float8, usage_guest_nice float8";

/// The data set in pieces as a client would send them.
fn pieces() -> Vec<Bytes> {
    let mut generator = Generator::new(HOSTS, 10, 123);
    let step = |_| {
        let mut text = String::new();
        generator.next_moment(&mut text);
        Bytes::from(text)
    };
    (0..STEPS).map(step).collect()
}

async fn fresh_table(connection: &Connection, distributed: bool) {
    connection.run("DROP TABLE IF EXISTS cpu").await.expect("drops the table of the last round");
    connection.run(&format!("CREATE TABLE cpu ({COLUMNS})")).await.expect("creates the table");
    if distributed {
        let call = "SELECT create_distributed_hypertable('cpu', 'time', 'hostname', chunk_time_interval => interval '12 hours')";
        connection.run(call).await.expect("makes it a hypertable");
    }
}

async fn copy(connection: &Connection, pieces: &[Bytes]) {
    let sink = connection.client().copy_in("COPY cpu FROM STDIN WITH (FORMAT csv)").await.expect("starts COPY");
    pin_mut!(sink);
    for piece in pieces {
        sink.send(piece.clone()).await.expect("sends rows");
    }
    let rows = sink.finish().await.expect("ends COPY");
    assert_eq!(rows, u64::from(HOSTS) * u64::from(STEPS));
}

fn bench(
    criterion: &mut Criterion,
    name: &str,
    runtime: &Runtime,
    connection: &Connection,
    distributed: bool,
    pieces: &[Bytes],
) {
    let mut group = criterion.benchmark_group("copy_36k_rows");
    group.throughput(Throughput::Elements(u64::from(HOSTS) * u64::from(STEPS))).sample_size(10);
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || runtime.block_on(fresh_table(connection, distributed)),
            |()| runtime.block_on(copy(connection, pieces)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn ingest(criterion: &mut Criterion) {
    let program = Path::new(env!("CARGO_BIN_EXE_hypertile"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("starts a runtime");
    let pieces = pieces();
    {
        let stage = runtime.block_on(loopback::start(program, &ClusterSpec::default(), 1)).expect("starts a cluster");
        let address = stage.address(ACCESS_NODE).expect("has an access node");
        let connection = runtime.block_on(Connection::open(stage.host(), &address)).expect("connects");
        bench(criterion, "hypertile_1_access_3_data_nodes", &runtime, &connection, true, &pieces);
    }
    let Some(bin) = installed() else {
        eprintln!("no PostgreSQL server is installed here: nothing to compare with");
        return;
    };
    let spec = ClusterSpec { data: 1, ..ClusterSpec::default() };
    let settings = ["max_prepared_transactions=64", "fsync=on"];
    let stage = runtime.block_on(postgres::start(program, &bin, &spec, 1, &settings)).expect("starts PostgreSQL");
    let address = stage.address("node0").expect("has a data node");
    let connection = runtime.block_on(Connection::open(stage.host(), &address)).expect("connects");
    bench(criterion, "postgresql_1_table", &runtime, &connection, false, &pieces);
}

criterion_group!(benches, ingest);
criterion_main!(benches);
