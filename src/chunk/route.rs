//! From rows to chunks.
//!
//! A [`Router`] knows the cubes of one hypertable's chunks. It sorts the rows of a batch into groups, one per chunk;
//! rows that lie in no chunk yet are grouped by the cube that a new chunk for them would get.

use super::coordinate::batch_coordinates;
use super::dimension::Dimension;
use super::slice::{Hypercube, Slice};
use crate::error::Result;
use crate::ids::ChunkId;
use arrow::array::UInt32Array;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Chunk(ChunkId),
    /// No chunk holds these rows. A chunk made for `point` gets `cube`, unless another session changed the catalog in
    /// between: if the chunk's cube is a different one, route the group's rows again.
    Missing {
        cube: Hypercube,
        /// The coordinates of the group's first row.
        point: Vec<i64>,
    },
}

/// The rows of a batch that go to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowGroup {
    pub target: Target,
    /// Row numbers, ascending.
    pub rows: Vec<u32>,
}

impl RowGroup {
    /// The group's rows as a batch; the batch itself if they are all of it.
    pub fn select(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.rows.len() == batch.num_rows() {
            return Ok(batch.clone());
        }
        Ok(arrow::compute::take_record_batch(batch, &UInt32Array::from(self.rows.clone()))?)
    }
}

/// The chunks of one hypertable, by the space they cover.
#[derive(Clone, Debug)]
pub struct Router {
    dimensions: Vec<Dimension>,
    chunks: CubeIndex<ChunkId>,
}

impl Router {
    /// The chunks' cubes must not overlap, and must have one slice per dimension.
    pub fn new<'a>(dimensions: &[Dimension], chunks: impl IntoIterator<Item = (ChunkId, &'a Hypercube)>) -> Router {
        let mut router = Router { dimensions: dimensions.to_vec(), chunks: CubeIndex::default() };
        for (id, cube) in chunks {
            router.insert(id, cube.clone());
        }
        router
    }

    /// Adds a chunk that was made meanwhile.
    pub fn insert(&mut self, id: ChunkId, cube: Hypercube) {
        self.chunks.insert(cube, id);
    }

    /// The chunk that holds a point (one coordinate per dimension).
    pub fn find(&self, point: &[i64]) -> Option<ChunkId> {
        self.chunks.find(point).map(|(_, id)| *id)
    }

    /// Groups a batch's rows by target, in the order of the groups' first rows. Cubes of missing chunks overlap neither
    /// each other nor any chunk. Errors: those of [`batch_coordinates`].
    pub fn route(&self, batch: &RecordBatch) -> Result<Vec<RowGroup>> {
        let columns = batch_coordinates(&self.dimensions, batch)?;
        let mut grouping = Grouping::new(self);
        let mut point = vec![0; columns.len()];
        for row in 0..batch.num_rows() {
            for (at, column) in point.iter_mut().zip(&columns) {
                *at = column[row];
            }
            grouping.add(row as u32, &point)?;
        }
        Ok(grouping.groups)
    }
}

/// The groups of one batch while they fill.
struct Grouping<'a> {
    router: &'a Router,
    groups: Vec<RowGroup>,
    /// The cube of each group.
    cubes: Vec<Hypercube>,
    /// Group numbers of the chunks met so far.
    of_chunk: BTreeMap<ChunkId, usize>,
    /// Group numbers of the chunks to be made.
    missing: CubeIndex<usize>,
    /// The group of the last row.
    last: usize,
}

impl<'a> Grouping<'a> {
    fn new(router: &'a Router) -> Grouping<'a> {
        Grouping {
            router,
            groups: Vec::new(),
            cubes: Vec::new(),
            of_chunk: BTreeMap::new(),
            missing: CubeIndex::default(),
            last: 0,
        }
    }

    fn add(&mut self, row: u32, point: &[i64]) -> Result<()> {
        // Neighbouring rows mostly lie in one chunk.
        if !self.cubes.get(self.last).is_some_and(|cube| cube.contains(point)) {
            self.last = self.group_of(point)?;
        }
        self.groups[self.last].rows.push(row);
        Ok(())
    }

    /// The number of the group that a point belongs to, which may be new.
    fn group_of(&mut self, point: &[i64]) -> Result<usize> {
        if let Some((cube, id)) = self.router.chunks.find(point) {
            if let Some(group) = self.of_chunk.get(id) {
                return Ok(*group);
            }
            self.of_chunk.insert(*id, self.groups.len());
            return Ok(self.open(Target::Chunk(*id), cube.clone()));
        }
        if let Some((_, group)) = self.missing.find(point) {
            return Ok(*group);
        }
        let existing = self.router.chunks.cubes().chain(self.missing.cubes());
        let cube = Hypercube::cut(&self.router.dimensions, existing, point)?;
        self.missing.insert(cube.clone(), self.groups.len());
        Ok(self.open(Target::Missing { cube: cube.clone(), point: point.to_vec() }, cube))
    }

    fn open(&mut self, target: Target, cube: Hypercube) -> usize {
        self.groups.push(RowGroup { target, rows: Vec::new() });
        self.cubes.push(cube);
        self.groups.len() - 1
    }
}

/// Values by disjoint cubes. The first slices (time) are equal or disjoint, so they make a sorted list of spans; a span
/// holds the cubes that differ in the other slices only.
#[derive(Clone, Debug)]
struct CubeIndex<T> {
    /// By the start of the time slice.
    spans: BTreeMap<i64, Span<T>>,
}

#[derive(Clone, Debug)]
struct Span<T> {
    time: Slice,
    /// Sorted by the start of the second slice.
    cubes: Vec<(Hypercube, T)>,
}

impl<T> Default for CubeIndex<T> {
    fn default() -> CubeIndex<T> {
        CubeIndex { spans: BTreeMap::new() }
    }
}

impl<T> CubeIndex<T> {
    fn insert(&mut self, cube: Hypercube, value: T) {
        let Some(time) = cube.0.first().copied() else { return };
        let span = self.spans.entry(time.start).or_insert_with(|| Span { time, cubes: Vec::new() });
        let at = span.cubes.partition_point(|(other, _)| other.0[1..] < cube.0[1..]);
        span.cubes.insert(at, (cube, value));
    }

    fn find(&self, point: &[i64]) -> Option<(&Hypercube, &T)> {
        let at = *point.first()?;
        let (_, span) = self.spans.range(..=at).next_back()?;
        if !span.time.contains(at) {
            return None;
        }
        // Cubes of two dimensions are disjoint in the second one: the last that starts at or before the point is the
        // only one that can hold it. With more dimensions many cubes may share that start, or start before it.
        let candidates = match point {
            [_, second] => {
                let end = span.cubes.partition_point(|(cube, _)| cube.0[1].start <= *second);
                &span.cubes[end.saturating_sub(1)..end]
            }
            _ => &span.cubes[..],
        };
        candidates.iter().find(|(cube, _)| cube.contains(point)).map(|(cube, value)| (cube, value))
    }

    fn cubes(&self) -> impl Iterator<Item = &Hypercube> + Clone {
        self.spans.values().flat_map(|span| span.cubes.iter().map(|(cube, _)| cube))
    }
}

#[cfg(test)]
mod tests;
