//! Which segments a scan need not read, by their smallest and largest values.

use super::segment;
use super::snapshot::Snapshot;
use super::store::{BOUNDS, storage};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

/// Keeps the segments (data id, rows) that may have rows which pass all filters. Errors are those of the store;
/// a filter that cannot be used for pruning keeps everything.
pub(super) fn keep(
    snapshot: &Snapshot,
    schema: &SchemaRef,
    segments: Vec<(u64, u64)>,
    filters: &[Expr],
    state: &dyn Session,
) -> Result<Vec<(u64, u64)>> {
    let Some(filter) = conjunction(filters.iter().cloned()).filter(|_| !segments.is_empty()) else {
        return Ok(segments);
    };
    let Ok(named) = DFSchema::try_from(schema.as_ref().clone()) else { return Ok(segments) };
    // Filters name columns with the relation's alias, which the store does not know.
    let filter = unnormalize_col(filter);
    let Ok(filter) = state.create_physical_expr(filter, &named) else { return Ok(segments) };
    let Some(predicate) = PruningPredicateBuilder::new().with_file_schema(schema.clone()).build(filter) else {
        return Ok(segments);
    };
    let bounds = Bounds::read(snapshot, schema, &segments)?;
    match predicate.prune(&bounds) {
        Ok(keep) => Ok(segments.into_iter().zip(keep).filter_map(|(segment, keep)| keep.then_some(segment)).collect()),
        Err(_) => Ok(segments),
    }
}

/// Bounds of many segments, column-wise; NULL where none is known.
struct Bounds {
    smallest: RecordBatch,
    largest: RecordBatch,
}

impl Bounds {
    fn read(snapshot: &Snapshot, schema: &SchemaRef, segments: &[(u64, u64)]) -> Result<Bounds> {
        let schema = segment::bounds_schema(schema);
        let table = snapshot.read.open_table(BOUNDS).map_err(storage)?;
        let unknown = arrow::array::RecordBatch::try_new(
            schema.clone(),
            schema.fields().iter().map(|field| arrow::array::new_null_array(field.data_type(), 2)).collect(),
        )?;
        let bounds = |(data, _): &(u64, u64)| match table.get(*data).map_err(storage)? {
            Some(bytes) => segment::decode(bytes.value(), &schema, None),
            None => Ok(unknown.clone()),
        };
        let all = segments.iter().map(bounds).collect::<Result<Vec<_>>>()?;
        let all = concat_batches(&schema, &all)?;
        let every_second = |first: u64| -> Result<RecordBatch> {
            let rows = UInt64Array::from_iter_values((0..segments.len() as u64).map(|i| 2 * i + first));
            let columns = all.columns().iter().map(|column| take(column, &rows, None));
            Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>().map_err(Error::from)?)?)
        };
        Ok(Bounds { smallest: every_second(0)?, largest: every_second(1)? })
    }
}

impl PruningStatistics for Bounds {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.smallest.column_by_name(&column.name).cloned()
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.largest.column_by_name(&column.name).cloned()
    }

    fn num_containers(&self) -> usize {
        self.smallest.num_rows()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    #[expect(clippy::disallowed_types, reason = "the trait asks for it; nothing iterates over it")]
    fn contained(&self, _: &Column, _: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
