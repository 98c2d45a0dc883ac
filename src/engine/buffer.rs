//! Rows of one table that wait in memory for their segment.
//!
//! Rows come in whatever portions the client sends, often one at a time. Portions are joined in steps of
//! [`JOIN_FAN_IN`], so that a row is copied a logarithmic number of times and a scan meets few batches.

use super::segment;
use crate::error::Result;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

/// As many batches of similar size are joined to one.
const JOIN_FAN_IN: usize = 16;

/// Batches of this many rows are good for scanning as they are; joining goes on only when a segment is made.
const JOINED_ROWS_MIN: usize = 4096;

/// Rows in the order in which they were appended.
#[derive(Debug)]
pub(super) struct Buffer {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Buffer {
    pub fn new(schema: SchemaRef) -> Buffer {
        Buffer { schema, batches: Vec::new(), bytes: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.bytes = self.bytes.saturating_add(segment::estimated_bytes(&batch));
        self.batches.push(batch);
        while let Some(count) = joinable(&self.batches) {
            let tail = self.batches.split_off(self.batches.len() - count);
            self.batches.push(concat_batches(&self.schema, &tail)?);
        }
        Ok(())
    }

    /// Takes everything as one batch and leaves the buffer empty.
    pub fn take(&mut self) -> Result<RecordBatch> {
        let batch = concat_batches(&self.schema, &self.batches)?;
        self.batches.clear();
        self.bytes = 0;
        Ok(batch)
    }

    /// Takes the rows that fill whole segments. What is left at the end stays, unless nothing would be taken.
    pub fn take_full(&mut self) -> Result<RecordBatch> {
        let all = self.take()?;
        let full = all.num_rows() / segment::rows_per_segment(&all) * segment::rows_per_segment(&all);
        if full == 0 || full == all.num_rows() {
            return Ok(all);
        }
        self.push(all.slice(full, all.num_rows() - full))?;
        Ok(all.slice(0, full))
    }
}

/// How many batches at the end are to be joined: enough of them, none much larger than the last one.
fn joinable(batches: &[RecordBatch]) -> Option<usize> {
    let class = size_class(batches.last()?)?;
    let similar = batches.iter().rev().take_while(|b| size_class(b).is_some_and(|c| c <= class)).count();
    (similar >= JOIN_FAN_IN).then_some(similar)
}

/// `None`: large enough as it is.
fn size_class(batch: &RecordBatch) -> Option<u32> {
    (batch.num_rows() < JOINED_ROWS_MIN).then(|| batch.num_rows().max(1).ilog(JOIN_FAN_IN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn rows(values: std::ops::Range<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from_iter_values(values)) as ArrayRef)]).unwrap()
    }

    fn values(batches: &[RecordBatch]) -> Vec<i64> {
        batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn single_rows_are_joined_to_few_batches() {
        let mut buffer = Buffer::new(rows(0..0).schema());
        for i in 0..10_000 {
            buffer.push(rows(i..i + 1)).unwrap();
        }
        assert!(buffer.batches().len() < 64, "{} batches", buffer.batches().len());
        assert_eq!(values(buffer.batches()), (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn taking_full_segments_keeps_the_rest() {
        let mut buffer = Buffer::new(rows(0..0).schema());
        buffer.push(rows(0..200_000)).unwrap();
        let full = buffer.take_full().unwrap();
        let mut all = values(std::slice::from_ref(&full));
        assert_eq!(full.num_rows() % segment::rows_per_segment(&full), 0);
        all.extend(values(buffer.batches()));
        assert_eq!(all, (0..200_000).collect::<Vec<_>>());
        assert!(buffer.bytes() < 1 << 20);
    }

    proptest! {
        #[test]
        fn order_and_number_of_rows_are_kept(portions in prop::collection::vec(1i64..600, 0..80)) {
            let mut buffer = Buffer::new(rows(0..0).schema());
            let mut next = 0;
            for portion in portions {
                buffer.push(rows(next..next + portion)).unwrap();
                next += portion;
            }
            prop_assert_eq!(values(buffer.batches()), (0..next).collect::<Vec<_>>());
            prop_assert_eq!(buffer.bytes() as i64, next * 8);
        }
    }
}
