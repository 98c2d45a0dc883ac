//! Where rows belong, computed by `chunk` from their values alone: not by the plan of the access node that put them there.

use super::{ChunkRow, FinalState, HypertableRow};
use crate::chunk::coordinate::coordinates;
use crate::chunk::dimension::Dimension;
use crate::sql::types::field;
use crate::trial::history::Row;
use crate::wire::values::{Format, parse_text};

/// The coordinate of a value that came as text; `None` for a type or a value that has none.
pub fn coordinate(dimension: &Dimension, value: &str) -> Option<i64> {
    let field = field(&dimension.column, &dimension.column_type(), true).ok()?;
    let value = parse_text(&field, (value != "NULL").then_some(value), &Format::default()).ok()?;
    coordinates(&value, dimension).ok()?.first().copied()
}

/// The chunk that a workload's row belongs to; `None` if there is none.
pub fn home<'a>(state: &'a FinalState, hypertable: &HypertableRow, row: &Row) -> Option<&'a ChunkRow> {
    let point = point(hypertable, row)?;
    state.chunks.iter().find(|chunk| chunk.hypertable == hypertable.name && chunk.cube.contains(&point))
}

fn point(hypertable: &HypertableRow, row: &Row) -> Option<Vec<i64>> {
    let of = |dimension: &Dimension| match dimension.is_open() {
        true => Some(row.time),
        false => coordinate(dimension, &row.place),
    };
    hypertable.dimensions.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{DAY, row, state};
    use super::*;

    #[test]
    fn a_row_belongs_where_its_values_say() {
        let state = state(&[]);
        let hypertable = &state.hypertables[0];
        let of = |row: &Row| home(&state, hypertable, row).map(|chunk| chunk.table.clone());
        assert_eq!(of(&row(0, 0)).as_deref(), Some("c0"));
        assert_eq!(of(&row(0, 1)).as_deref(), Some("c1"));
        assert_eq!(of(&row(0, 2)), None);
        assert_eq!(coordinate(&hypertable.dimensions[0], "1970-01-02 00:00:00+00"), Some(DAY));
        assert_eq!(coordinate(&hypertable.dimensions[0], "soon"), None);
        assert_eq!(coordinate(&hypertable.dimensions[1], "a"), Some(1_075_015_857));
    }
}
