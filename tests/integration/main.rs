//! The one integration binary: the source tree itself, scenarios in all worlds, psql, stock PostgreSQL.

mod command_line;
mod determinism;
mod docs;
mod postgres;
mod psql;
mod scenarios;
mod support;
mod tidy;
