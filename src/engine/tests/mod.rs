//! The engine as a session sees it.

mod crash;
mod ddl;
mod keys;
mod model;
mod query;
mod transactions;
