//! Segments: the immutable pieces in which a table's rows lie on disk.
//!
//! A segment is one Arrow IPC record batch without its schema message (the table knows its schema, and a row
//! inserted alone would otherwise drag a kilobyte of schema along): 4 bytes little-endian length of the message
//! header, the header, then the column buffers, 64-byte aligned relative to the first.
//!
//! Beside a segment of some size lie its bounds: a batch of two rows, the smallest and the largest value of each
//! column, in the same form. `NULL` there means "unknown".

use crate::error::{Error, Result, codes};
use crate::limits::SEGMENT_BYTES_MAX;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, StringArray, downcast_primitive_array, new_null_array,
};
use arrow::buffer::Buffer;
use arrow::compute;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::RecordBatchDecoder;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// Alignment of column buffers inside a segment: a cache line, and enough for every Arrow type.
const ALIGNMENT_BYTES: usize = 64;

/// Segments below this size carry no bounds: reading them costs no more than looking.
const BOUNDED_SEGMENT_BYTES_MIN: usize = 64 << 10;

/// Longer strings are no bounds: they would cost more than they save.
const BOUND_TEXT_BYTES_MAX: usize = 64;

/// A segment ready to be stored.
#[derive(Debug)]
pub(super) struct Encoded {
    pub rows: u64,
    pub bytes: Vec<u8>,
    /// See [`bounds`]; `None` for a small segment.
    pub bounds: Option<Vec<u8>>,
}

/// Bytes that the rows of `batch` will take in a segment, headers aside.
pub(super) fn estimated_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX / 1024)).sum()
}

/// Encodes `batch` as one segment whatever its size.
pub(super) fn encode(batch: &RecordBatch) -> Result<Encoded> {
    let bytes = encode_batch(batch)?;
    let bounds = if bytes.len() < BOUNDED_SEGMENT_BYTES_MIN { None } else { Some(encode_batch(&bounds(batch)?)?) };
    Ok(Encoded { rows: batch.num_rows() as u64, bytes, bounds })
}

/// Encodes `batch` as segments of at most [`SEGMENT_BYTES_MAX`]; only a single row may be larger than that.
pub(super) fn encode_pieces(batch: &RecordBatch) -> Result<Vec<(RecordBatch, Encoded)>> {
    let mut pieces = Vec::new();
    let rows_max = rows_per_segment(batch);
    for start in (0..batch.num_rows()).step_by(rows_max) {
        let piece = batch.slice(start, rows_max.min(batch.num_rows() - start));
        encode_halving(piece, &mut pieces)?;
    }
    Ok(pieces)
}

/// Rows of `batch` that make a well-filled segment, at least one.
pub(super) fn rows_per_segment(batch: &RecordBatch) -> usize {
    let rows = batch.num_rows().max(1);
    // One thirty-second is left for the header and for the padding of each column buffer.
    let budget = SEGMENT_BYTES_MAX - SEGMENT_BYTES_MAX / 32;
    (budget as u128 * rows as u128 / estimated_bytes(batch).max(1) as u128).clamp(1, rows as u128) as usize
}

/// The estimate is an average: rows may be larger at one end of the batch.
fn encode_halving(batch: RecordBatch, pieces: &mut Vec<(RecordBatch, Encoded)>) -> Result<()> {
    let encoded = encode(&batch)?;
    if encoded.bytes.len() <= SEGMENT_BYTES_MAX || batch.num_rows() < 2 {
        pieces.push((batch, encoded));
        return Ok(());
    }
    let half = batch.num_rows() / 2;
    encode_halving(batch.slice(0, half), pieces)?;
    encode_halving(batch.slice(half, batch.num_rows() - half), pieces)
}

fn encode_batch(batch: &RecordBatch) -> Result<Vec<u8>> {
    let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5)?;
    let mut tracker = DictionaryTracker::new(false);
    let (dictionaries, data) =
        IpcDataGenerator::default().encode(batch, &mut tracker, &options, &mut IpcWriteContext::default())?;
    if !dictionaries.is_empty() {
        return Err(Error::internal("a table column has a dictionary type"));
    }
    let header_bytes = u32::try_from(data.ipc_message.len()).expect("a message header describes columns, not rows");
    let mut bytes = Vec::with_capacity(4 + data.ipc_message.len() + data.arrow_data.len());
    bytes.extend_from_slice(&header_bytes.to_le_bytes());
    bytes.extend_from_slice(&data.ipc_message);
    bytes.extend_from_slice(&data.arrow_data);
    Ok(bytes)
}

/// Reads a segment's rows; with `projection` only those columns. Errors: `XX001`.
pub(super) fn decode(bytes: &[u8], schema: &SchemaRef, projection: Option<&[usize]>) -> Result<RecordBatch> {
    let corrupt = |what: &str| Error::new(codes::DATA_CORRUPTED, format!("invalid segment: {what}"));
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| corrupt("no header length"))?;
    let (header, body) =
        rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(|| corrupt("cut-off header"))?;
    let message = arrow::ipc::root_as_message(header).map_err(|e| corrupt(&e.to_string()))?;
    let batch = message.header_as_record_batch().ok_or_else(|| corrupt("not a record batch"))?;
    // Copied once: the store's page is not aligned and goes back to its cache soon.
    let body = Buffer::from(body);
    let dictionaries = Default::default();
    let version = message.version();
    RecordBatchDecoder::try_new(&body, batch, schema.clone(), &dictionaries, &version)
        .and_then(|decoder| decoder.with_projection(projection).read_record_batch())
        .map_err(|e| corrupt(&e.to_string()))
}

/// The schema of a bounds batch: that of the table with every column nullable.
pub(super) fn bounds_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()))
}

/// Two rows: the smallest and the largest value of each column; NULL where no bound is known.
fn bounds(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(column_bounds).collect();
    Ok(RecordBatch::try_new(bounds_schema(&batch.schema()), columns)?)
}

fn column_bounds(column: &ArrayRef) -> ArrayRef {
    let array = column.as_ref();
    downcast_primitive_array!(
        array => Arc::new(primitive_bounds(array)),
        DataType::Utf8 => {
            let text = array.as_string::<i32>();
            Arc::new(text_bounds(compute::min_string(text), compute::max_string(text)))
        }
        DataType::Boolean => {
            let flags = array.as_boolean();
            Arc::new(BooleanArray::from(vec![compute::min_boolean(flags), compute::max_boolean(flags)]))
        }
        other => new_null_array(other, 2),
    )
}

fn primitive_bounds<T>(array: &PrimitiveArray<T>) -> PrimitiveArray<T>
where
    T: arrow::datatypes::ArrowNumericType,
{
    let bounds = [compute::min(array), compute::max(array)];
    PrimitiveArray::<T>::from_iter(bounds).with_data_type(array.data_type().clone())
}

fn text_bounds(min: Option<&str>, max: Option<&str>) -> StringArray {
    let short = |text: Option<&str>| text.filter(|text| text.len() <= BOUND_TEXT_BYTES_MAX).map(str::to_string);
    StringArray::from(vec![short(min), short(max)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, ListArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Int32Type};

    fn sample(rows: usize) -> RecordBatch {
        let time =
            TimestampMicrosecondArray::from_iter_values((0..rows as i64).map(|i| i * 10)).with_timezone("+00:00");
        let text = StringArray::from_iter((0..rows).map(|i| (i % 3 != 0).then(|| format!("device-{i}"))));
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
            (0..rows).map(|i| (i % 5 != 0).then(|| vec![Some(i as i32), None])),
        );
        RecordBatch::try_from_iter_with_nullable([
            ("time", Arc::new(time) as ArrayRef, false),
            ("device", Arc::new(text) as ArrayRef, true),
            ("list", Arc::new(list) as ArrayRef, true),
        ])
        .unwrap()
    }

    #[test]
    fn a_batch_comes_back_as_it_was_stored() {
        for rows in [1, 2, 1000] {
            let batch = sample(rows);
            assert_eq!(decode(&encode(&batch).unwrap().bytes, &batch.schema(), None).unwrap(), batch);
        }
    }

    #[test]
    fn a_slice_stores_only_its_own_rows() {
        let batch = sample(10_000);
        let slice = batch.slice(5_000, 3);
        let encoded = encode(&slice).unwrap();
        assert!(encoded.bytes.len() < 2_000, "{} bytes", encoded.bytes.len());
        assert_eq!(decode(&encoded.bytes, &batch.schema(), None).unwrap(), slice);
    }

    #[test]
    fn a_projection_reads_only_the_columns_asked_for() {
        let batch = sample(100);
        let bytes = encode(&batch).unwrap().bytes;
        assert_eq!(decode(&bytes, &batch.schema(), Some(&[1])).unwrap(), batch.project(&[1]).unwrap());
        assert_eq!(decode(&bytes, &batch.schema(), Some(&[])).unwrap().num_rows(), 100);
    }

    #[test]
    fn large_batches_are_cut_below_the_limit_and_lose_no_row() {
        let narrow = "x".repeat(10);
        let wide = "y".repeat(4_000);
        // Uneven on purpose: the average misleads at the wide end.
        let text = StringArray::from_iter_values((0..3_000).map(|i| if i < 2_000 { &narrow } else { &wide }));
        let batch = RecordBatch::try_from_iter([("t", Arc::new(text) as ArrayRef)]).unwrap();
        let pieces = encode_pieces(&batch).unwrap();
        assert!(pieces.len() > 3);
        assert!(pieces.iter().all(|(_, e)| e.bytes.len() <= SEGMENT_BYTES_MAX));
        let back = pieces.iter().map(|(_, e)| decode(&e.bytes, &batch.schema(), None).unwrap()).collect::<Vec<_>>();
        assert_eq!(compute::concat_batches(&batch.schema(), &back).unwrap(), batch);
    }

    #[test]
    fn one_huge_row_is_one_segment() {
        let text = StringArray::from(vec!["z".repeat(3 << 20)]);
        let batch = RecordBatch::try_from_iter([("t", Arc::new(text) as ArrayRef)]).unwrap();
        assert_eq!(encode_pieces(&batch).unwrap().len(), 1);
    }

    #[test]
    fn bounds_hold_smallest_and_largest_and_null_where_unknown() {
        let batch = sample(20_000);
        let encoded = encode(&batch).unwrap();
        let bounds = decode(&encoded.bounds.unwrap(), &bounds_schema(&batch.schema()), None).unwrap();
        let time = bounds.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        assert_eq!(time.values(), &[0, 199_990]);
        assert_eq!(bounds.column(1).as_string::<i32>().value(0), "device-1");
        assert_eq!(bounds.column(2).null_count(), 2);
    }

    #[test]
    fn small_segments_carry_no_bounds() {
        assert!(encode(&sample(10)).unwrap().bounds.is_none());
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let batch = RecordBatch::try_new(
            Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)])),
            vec![Arc::new(Int64Array::from(vec![1, 2, 3]))],
        )
        .unwrap();
        let bytes = encode(&batch).unwrap().bytes;
        for cut in [0, 3, 4, 20, bytes.len() / 2] {
            assert_eq!(decode(&bytes[..cut], &batch.schema(), None).unwrap_err().code(), codes::DATA_CORRUPTED);
        }
    }
}
