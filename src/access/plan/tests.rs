//! Queries over a small hypertable whose data nodes are databases of their own: every answer must be the same
//! with pushdown, without it, and on one plain table.

mod cluster;
mod plans;
mod queries;
mod random;
