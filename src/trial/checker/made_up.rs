//! Made-up histories and states for the judges' tests.

use super::*;
use crate::chunk::dimension::DimensionKind;
use crate::chunk::slice::Slice;
use crate::ids::DimensionId;
use crate::sim::history::Ending;
use crate::trial::history::{Batch, Batches};
use postgres_types::Type;

pub const DAY: i64 = 86_400_000_000;

/// Row `row` of batch 0.`number` of two rows, at noon of the day after 1970-01-01 that its number says.
pub fn row(number: u32, row: u32) -> Row {
    Row {
        writer: 0,
        number,
        row,
        rows: 2,
        time: i64::from(row) * DAY + DAY / 2,
        place: "device 1".to_string(),
        value: i64::from(number) * 10 + i64::from(row),
    }
}

pub fn batch(number: u32, ending: Ending, invoked: u64, completed: u64) -> Batch {
    Batch { writer: 0, number, rows: 2, ending, invoked, completed, content: vec![row(number, 0), row(number, 1)] }
}

pub fn history(written: Vec<Batch>) -> History {
    History { batches: [("t".to_string(), Batches { written, reads: vec![] })].into(), ..History::default() }
}

/// As a data node shows it.
pub fn text(row: &Row) -> Vec<String> {
    let time = chrono::DateTime::from_timestamp_micros(row.time).unwrap().format("%Y-%m-%d %H:%M:%S+00").to_string();
    let mut line = vec![time, row.place.clone()];
    line.extend([row.writer, row.number.into(), row.row.into(), row.rows.into(), row.value].map(|n| n.to_string()));
    line
}

/// Hypertable `t` with a chunk for each of two days, `c0` and `c1`, both on `node0` and `node1`, which hold the rows.
pub fn state(rows: &[Row]) -> FinalState {
    let kind = DimensionKind::Open { interval: DAY };
    let time = Dimension { id: DimensionId(1), column: "time".into(), type_oid: Type::TIMESTAMPTZ.oid(), kind };
    let kind = DimensionKind::Closed { partitions: 1 };
    let space = Dimension { id: DimensionId(2), column: "device".into(), type_oid: Type::TEXT.oid(), kind };
    let both = || vec!["node0".to_string(), "node1".to_string()];
    let chunk = |day: i64| ChunkRow {
        table: format!("c{day}"),
        hypertable: "t".into(),
        cube: Hypercube(vec![Slice { start: day * DAY, end: (day + 1) * DAY }, Slice::ALL]),
        nodes: both(),
    };
    let table = |day: i64| {
        let columns = ["time", "device", "writer", "batch", "row", "rows", "value"].map(str::to_string).to_vec();
        let mut rows: Vec<Vec<String>> = rows.iter().filter(|row| row.time / DAY == day).map(text).collect();
        rows.sort();
        ChunkTable { name: format!("c{day}"), columns, rows }
    };
    let node = |name: String| NodeState { name, tables: vec![table(0), table(1)], ..NodeState::default() };
    FinalState {
        hypertables: vec![HypertableRow {
            name: "t".into(),
            replication: 2,
            nodes: both(),
            dimensions: vec![time, space],
        }],
        chunks: vec![chunk(0), chunk(1)],
        nodes: both().into_iter().map(node).collect(),
        rows: [("t".to_string(), rows.to_vec())].into(),
        tables: vec!["t".into()],
        ..FinalState::default()
    }
}
