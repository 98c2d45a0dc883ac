//! Every limit with its unit and its arithmetic.

use std::time::Duration;

/// Rows in one Arrow batch between operators, COPY decoding and storage.
pub const BATCH_ROWS_MAX: usize = 8192;

/// Bytes of CopyData a session buffers before it hands a batch on.
pub const COPY_BUFFER_BYTES_MAX: usize = 1 << 20;

/// Batches in flight between a session and one data node's writer: back-pressure, not throughput.
pub const WRITER_QUEUE_BATCHES_MAX: usize = 2;

/// Bytes of one stored segment. redb rounds a large value up to a power of two, so stay just below one.
pub const SEGMENT_BYTES_MAX: usize = (1 << 20) - 256;

/// Longest protocol message accepted from a client (PostgreSQL: 1 GiB; a bounded buffer serves us better).
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// How long a connect to another node may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A node that has not answered a heartbeat for this long is taken for down; requests in flight to it fail.
pub const NODE_DOWN_AFTER: Duration = Duration::from_secs(5);

/// Pause between heartbeats to a data node.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Pause between two rounds of the transaction resolver.
pub const RESOLVER_INTERVAL: Duration = Duration::from_secs(2);

/// Pause between two rounds of the resolver over all nodes, also those that nobody suspects of leftovers.
pub const RESOLVER_SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Idle connections kept for one data node and user.
pub const IDLE_CONNECTIONS_MAX: usize = 8;

/// How long `add_data_node` and `delete_data_node` wait for the node to set up or drop its database: the catalog is
/// locked meanwhile.
pub const NODE_SETUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a data node may take to PREPARE, or to commit in one phase: it syncs its disk.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a commit waits for COMMIT PREPARED. Multi-node reads wait as long, so it is short: later than this the
/// transaction counts as unresolved on that node and the resolver takes over.
pub const COMMIT_PREPARED_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a ROLLBACK may take before the connection is closed instead.
pub const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long opening the snapshots of one statement may take. Commits wait as long.
pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a statement waits for a data node with an unresolved transaction.
pub const RESOLUTION_WAIT_MAX: Duration = Duration::from_secs(15);

/// How long a transaction waits for the catalog lock.
pub const CATALOG_LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a data node may let a row wait, most likely for another transaction's lock. Transactions that wait for each
/// other on different nodes are not seen by either node: this ends them.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a data node may take nothing of a COPY. Beyond [`LOCK_TIMEOUT`], which both kinds of data nodes enforce.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// A connection on which nothing has been heard for so long is probed by TCP, whichever end opened it: a machine that lost
/// its power says nothing, and who only waits for its next statement would keep its locks for ever.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// Pause between two probes, and after the last one.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// So many unanswered probes break the connection.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Rows that nobody wants any more are read to their end for so long, to keep the connection.
pub const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a new chunk is tried to be made while an unresolved transaction is in its way, half a
/// [`RESOLVER_INTERVAL`] apart.
pub const CHUNK_CREATION_ATTEMPTS_MAX: u32 = 8;

/// Rows that one data node's writer keeps back to send them chunk by chunk (at most so many batches' worth).
pub const WRITER_STASH_ROWS_MAX: usize = 4 * BATCH_ROWS_MAX;

/// How long a client has for its start-up and authentication messages.
pub const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// Data nodes of one hypertable (TimescaleDB's bound).
pub const DATA_NODES_MAX: usize = 32767;

/// Longest identifier in bytes (PostgreSQL's NAMEDATALEN - 1).
pub const IDENTIFIER_BYTES_MAX: usize = 63;

const _: () = assert!((SEGMENT_BYTES_MAX + 256).is_power_of_two());
const _: () = assert!(HEARTBEAT_INTERVAL.as_millis() < NODE_DOWN_AFTER.as_millis());
const _: () = assert!(LOCK_TIMEOUT.as_millis() < WRITE_STALL_MAX.as_millis());
// A node that is down is noticed, and one that came back is resolved, before a waiting statement gives up.
const _: () =
    assert!(NODE_DOWN_AFTER.as_millis() + 2 * RESOLVER_INTERVAL.as_millis() < RESOLUTION_WAIT_MAX.as_millis());

/// Pause after a failed accept (out of file descriptors, …).
pub const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);
