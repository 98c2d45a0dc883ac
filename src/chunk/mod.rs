//! Partitioning mathematics: pure functions over values, no SQL, no I/O.
//!
//! A hypertable has one *open* dimension (time) and any number of *closed* ones (a hash of a column). A value has a
//! coordinate in each; a *slice* is a half-open range of coordinates; a *hypercube* is one slice per dimension, and a
//! chunk is the table that holds the rows of one hypercube.
//!
//! ```text
//!  hash |        |        |            a row -> coordinates (time, hash) -> the cube that contains them
//!       | cube 2 | cube 4 |            no cube there yet -> a new one, cut so that it overlaps none
//!       |--------+--------|
//!       | cube 1 | cube 3 |
//!       +-----------------+- time
//! ```
//!
//! Promises: cubes of one hypertable never overlap; the same row and the same chunks give the same answer on any
//! machine. Must not know: catalogs, statements, nodes beyond their names.
//!
//! Reading order: [`dimension`], [`hash`], [`slice`], [`coordinate`], [`route`], [`placement`], [`exclusion`].

pub mod coordinate;
pub mod dimension;
pub mod exclusion;
pub mod hash;
pub mod placement;
pub mod route;
pub mod slice;
