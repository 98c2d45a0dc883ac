//! The one integration binary: the source tree itself, scenarios in all worlds, psql, stock PostgreSQL.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the nodes: they are a part of the world"
)]

mod command_line;
mod determinism;
mod docs;
mod nemesis;
mod picture;
mod plans;
mod postgres;
mod psql;
mod replicated_log;
mod sabotage;
mod scenarios;
mod shrink;
mod support;
mod swarm;
mod tidy;
