//! An access node and its data nodes in one process: real files, real loopback connections between the servers.

mod cluster;
mod harness;
mod local;
mod transactions;
