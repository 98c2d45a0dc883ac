//! The dialect: PostgreSQL's statements, types and functions as Hypertile understands them.
//!
//! Promises: text in, values out; no storage, no network. Knows nothing of hypertables beyond the names of the
//! scalar and aggregate functions that TimescaleDB users write in queries (`time_bucket`, `first`, `last` …).
//!
//! Reading order: [`types`], [`type_names`], [`statement`] and [`copy_options`], [`rewrite`], [`patterns`],
//! [`column_names`], [`time_zone`], [`functions`].

pub mod column_names;
pub mod copy_options;
pub mod functions;
pub mod patterns;
pub mod rewrite;
pub mod statement;
pub mod time_zone;
pub mod type_names;
pub mod types;
