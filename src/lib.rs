//! Hypertile: a distributed hypertable database and the deterministic simulator it is proven in.
//!
//! The modules in reading order; each may use those above it, never those below
//! (`tests/integration/tidy.rs` holds the exact edges):
//!
//! * base: [`error`], [`ids`], [`limits`], [`units`]: values everything else speaks in; [`probe`], [`buggify`],
//!   [`sabotage`]: what the code carries for the simulator.
//! * [`host`]: the only door to the world: network, clock, tasks, entropy, disk.
//! * [`chunk`]: partitioning mathematics: hash, slices, placement, exclusion. Pure.
//! * [`sql`]: the dialect: types, statements, functions.
//! * [`wire`]: the PostgreSQL protocol over any stream, server and client, COPY codecs.
//! * [`engine`]: embedded storage: tables, segments, snapshots, prepared transactions.
//! * [`catalog`]: what exists in a cluster, as a deterministic state machine and its store.
//! * [`session`]: one client session over an engine; knows no hypertable.
//! * [`access`]: hypertables over many nodes: planning, routing, distributed commit, administration.
//! * [`node`]: a server over a host: listener, databases, background tasks.
//! * [`sim`]: the simulated world, the language of scenarios: knows no hypertable.
//! * [`trial`]: hypertables in it: stages, workloads, judges.
//! * [`cli`]: the command line.

pub mod buggify;
pub mod error;
pub mod ids;
pub mod limits;
pub mod probe;
pub mod sabotage;
pub mod units;

pub mod host;

pub mod chunk;
pub mod sql;

pub mod engine;
pub mod wire;

pub mod catalog;
pub mod session;

pub mod access;

pub mod node;

#[cfg(madsim)]
pub mod sim;

#[cfg(madsim)]
pub mod trial;

pub mod cli;

pub use error::{Error, Result};
