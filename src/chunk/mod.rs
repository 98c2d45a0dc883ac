//! Partitioning mathematics: pure functions over values, no SQL, no I/O.
//!
//! A hypertable has one *open* dimension (time) and any number of *closed* ones (a hash of a column). A value has a
//! coordinate in each; a *slice* is a half-open range of coordinates; a *hypercube* is one slice per dimension, and a
//! chunk is the table that holds the rows of one hypercube.
//!
//! Reading order: [`hash`], [`slice`], [`coordinate`], [`route`], [`placement`], [`exclusion`].

pub mod coordinate;
pub mod exclusion;
pub mod hash;
pub mod placement;
pub mod route;
pub mod slice;
