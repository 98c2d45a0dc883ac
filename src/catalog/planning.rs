//! From requests to changes: pure functions of the state that decide, and say what the client is told.
//!
//! Messages and SQLSTATEs are TimescaleDB's (measured on 2.13.1).

use super::{Change, Chunk, DataNode, Dimension, DimensionKind, Hypertable, HypertableNode, Partition, State};
use crate::chunk::dimension::{IntervalArgument, PARTITIONS_MAX, slice_interval};
use crate::chunk::hash::check_hashable;
use crate::chunk::placement::{deal_partitions, place_in_partition, place_in_time};
use crate::chunk::slice::Hypercube;
use crate::error::{Error, Notice, Result, Severity, SqlState, codes};
use crate::ids::{ChunkId, DimensionId, HypertableId, RelationName};
use crate::limits::{DATA_NODES_MAX, IDENTIFIER_BYTES_MAX};
use postgres_types::Type;
use std::collections::BTreeSet;

/// Schema of chunk tables unless the user names another.
pub const CHUNK_SCHEMA: &str = "_timescaledb_internal";

/// One change and the messages that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub change: Change,
    pub notices: Vec<Notice>,
}

/// `create_distributed_hypertable`, its columns looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HypertableRequest {
    pub name: RelationName,
    pub owner: String,
    /// Column and PostgreSQL type oid.
    pub time: (String, u32),
    /// `None`: the type's default.
    pub interval: Option<IntervalArgument>,
    pub space: Option<(String, u32)>,
    /// `None`: as many as data nodes.
    pub number_partitions: Option<i64>,
    /// `None`: 1.
    pub replication_factor: Option<i64>,
    /// `None`: all.
    pub data_nodes: Option<Vec<String>>,
    /// `None`: [`CHUNK_SCHEMA`].
    pub chunk_schema: Option<String>,
    /// `None`: `_dist_hyper_<id>`.
    pub chunk_prefix: Option<String>,
}

/// The chunk for a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkPlan {
    Exists(ChunkId),
    /// To be created with [`Change::CreateChunk`].
    Create {
        chunk: Chunk,
        notices: Vec<Notice>,
    },
}

impl State {
    /// `add_data_node`. `cluster` names the cluster if this is its first node. Errors: `42710`.
    pub fn plan_data_node(&self, node: DataNode, cluster: String) -> Result<Change> {
        if self.node(&node.name).is_some() {
            let message = format!("server \"{}\" already exists", node.name);
            return Err(Error::new(codes::DUPLICATE_OBJECT, message)
                .with_hint("Use if_not_exists => true to skip a data node that exists."));
        }
        let cluster = self.cluster.clone().unwrap_or(cluster);
        Ok(Change::AddDataNode { node, cluster })
    }

    /// `create_distributed_hypertable`. Errors: `TS110` if it is one already, `TS170`, `22023` and `42704` for nodes and
    /// replicas, `42809`, `42883`, `22023` and `TS160` for dimensions.
    pub fn plan_hypertable(&self, request: HypertableRequest) -> Result<Planned> {
        let name = &request.name;
        if self.hypertable(name).is_some() {
            let message = format!("table \"{}\" is already a hypertable", name.name);
            return Err(Error::new(codes::TS_ALREADY_HYPERTABLE, message)
                .with_hint("Use if_not_exists => true to skip a table that is one."));
        }
        let nodes = self.chosen_nodes(request.data_nodes)?;
        let replication_factor = checked_replicas(name, request.replication_factor.unwrap_or(1), nodes.len())?;
        let (interval, mut notices) = slice_interval(&request.time.0, &type_of(request.time.1), request.interval)?;
        let mut dimensions = vec![Dimension {
            id: DimensionId(self.next_dimension),
            column: request.time.0,
            type_oid: request.time.1,
            kind: DimensionKind::Open { interval },
        }];
        if let Some((column, type_oid)) = request.space {
            check_hashable(&type_of(type_oid))?;
            if column == dimensions[0].column {
                return Err(Error::new(
                    codes::TS_DUPLICATE_DIMENSION,
                    format!("column \"{column}\" is already a dimension"),
                ));
            }
            let partitions = checked_partitions(&column, request.number_partitions, nodes.len())?;
            if usize::from(partitions) < nodes.len() {
                notices.push(too_few_partitions(&column));
            }
            let id = DimensionId(self.next_dimension + 1);
            dimensions.push(Dimension { id, column, type_oid, kind: DimensionKind::Closed { partitions } });
        }
        if nodes.len() == 1 {
            notices.push(single_node());
        }
        let chunk_prefix = match request.chunk_prefix {
            Some(prefix) => checked_prefix(prefix)?,
            None => format!("_dist_hyper_{}", self.next_hypertable),
        };
        let mut hypertable = Hypertable {
            id: HypertableId(self.next_hypertable),
            name: request.name,
            owner: request.owner,
            dimensions,
            replication_factor,
            nodes: nodes.into_iter().map(|name| HypertableNode { name, block_chunks: false }).collect(),
            partitions: Vec::new(),
            chunk_schema: request.chunk_schema.unwrap_or_else(|| CHUNK_SCHEMA.to_string()),
            chunk_prefix,
        };
        hypertable.partitions = self.dealt(&hypertable);
        Ok(Planned { change: Change::CreateHypertable { hypertable }, notices })
    }

    /// `attach_data_node`. With fewer partitions than nodes, `repartition` adds partitions (for chunks yet to be made);
    /// without it there is a warning. Errors: `TS001`, `42704`, `TS172`, `54000` for more nodes than are allowed.
    pub fn plan_attachment(&self, node: &str, table: &RelationName, repartition: bool) -> Result<Planned> {
        let hypertable = self.hypertable(table).ok_or_else(|| {
            Error::new(codes::TS_NOT_A_HYPERTABLE, format!("table \"{}\" is not a hypertable", table.name))
        })?;
        self.known_node(node)?;
        if hypertable.nodes.iter().any(|attached| attached.name == node) {
            let message = format!("data node \"{node}\" is already attached to hypertable \"{}\"", table.name);
            return Err(Error::new(codes::TS_ALREADY_ATTACHED, message)
                .with_hint("Use if_not_attached => true to skip a data node that is."));
        }
        let mut nodes = hypertable.nodes.clone();
        nodes.push(HypertableNode { name: node.to_string(), block_chunks: false });
        check_node_count(nodes.len())?;
        let mut notices = Vec::new();
        let mut slices = None;
        if let Some(dimension) = hypertable.closed_dimension()
            && hypertable.partition_count().is_some_and(|count| usize::from(count) < nodes.len())
        {
            if repartition {
                slices = Some(nodes.len() as u16);
                notices.push(more_partitions(&dimension.column, nodes.len()));
            } else {
                notices.push(too_few_partitions(&dimension.column));
            }
        }
        let change = self.plan_nodes(hypertable, nodes, slices);
        Ok(Planned { change, notices })
    }

    /// Gives a hypertable these nodes (in order of name from now on) and deals its partitions anew. Chunks that exist
    /// stay where they are. `slices`: the new partition count.
    pub fn plan_nodes(&self, hypertable: &Hypertable, mut nodes: Vec<HypertableNode>, slices: Option<u16>) -> Change {
        nodes.sort_by(|one, two| one.name.cmp(&two.name));
        let mut next = Hypertable { nodes, ..hypertable.clone() };
        if let Some(partitions) = slices
            && let Some(closed) = next.dimensions.iter_mut().find(|dimension| !dimension.is_open())
        {
            closed.kind = DimensionKind::Closed { partitions };
        }
        let partitions = self.dealt(&next);
        Change::SetHypertableNodes { hypertable: hypertable.id, nodes: next.nodes, slices, partitions }
    }

    /// The chunk that holds `point` (one coordinate per dimension), or the one to be made. New chunks avoid the nodes in
    /// `down`. Errors: `TS170` when no node can take the chunk.
    pub fn plan_chunk(
        &self,
        id: HypertableId,
        point: &[i64],
        created_at: i64,
        down: &BTreeSet<String>,
    ) -> Result<ChunkPlan> {
        let hypertable =
            self.hypertables.get(&id).ok_or_else(|| Error::internal(format!("hypertable {id} does not exist")))?;
        if point.len() != hypertable.dimensions.len() {
            return Err(Error::internal(format!("a point of {} has {} coordinates", hypertable.name, point.len())));
        }
        if let Some(chunk) = self.chunks_of(id).find(|chunk| chunk.cube.contains(point)) {
            return Ok(ChunkPlan::Exists(chunk.id));
        }
        let cube = Hypercube::cut(&hypertable.dimensions, self.chunks_of(id).map(|chunk| &chunk.cube), point)?;
        let nodes = self.homes(hypertable, &cube, down)?;
        let missing = usize::from(hypertable.replication_factor).saturating_sub(nodes.len());
        let notices = if missing > 0 { vec![under_replicated(hypertable, missing)] } else { Vec::new() };
        let chunk = Chunk {
            id: ChunkId(self.next_chunk),
            hypertable: id,
            table: RelationName::new(
                hypertable.chunk_schema.clone(),
                format!("{}_{}_chunk", hypertable.chunk_prefix, self.next_chunk),
            ),
            cube,
            nodes,
            created_at,
        };
        Ok(ChunkPlan::Create { chunk, notices })
    }

    /// Data nodes for a new chunk: never none.
    fn homes(&self, hypertable: &Hypertable, cube: &Hypercube, down: &BTreeSet<String>) -> Result<Vec<String>> {
        if hypertable.nodes.is_empty() {
            let message = format!("no data nodes associated with hypertable \"{}\"", hypertable.name.name);
            return Err(Error::new(codes::TS_INSUFFICIENT_NODES, message)
                .with_hint("Attach a data node to the hypertable with attach_data_node()."));
        }
        let open: Vec<String> = self.open_nodes(hypertable).into_iter().filter(|node| !down.contains(node)).collect();
        let replicas = hypertable.replication_factor;
        let nodes = match hypertable.dimensions.iter().position(|dimension| !dimension.is_open()) {
            Some(closed) => place_in_partition(&hypertable.partitions, cube.0[closed].start, &open, replicas),
            None => {
                let placed = self.chunks_of(hypertable.id).map(|chunk| (chunk.cube.0[0], &*chunk.nodes[0]));
                place_in_time(&cube.0[0], placed, hypertable.id, &open, replicas)
            }
        };
        if nodes.is_empty() {
            let hint =
                format!("Increase the number of available data nodes on hypertable \"{}\".", hypertable.name.name);
            return Err(Error::new(codes::TS_INSUFFICIENT_NODES, "insufficient number of data nodes").with_hint(hint));
        }
        Ok(nodes)
    }

    /// Nodes of the hypertable that may take new chunks: neither blocked nor marked unavailable.
    pub fn open_nodes(&self, hypertable: &Hypertable) -> Vec<String> {
        let available = |name: &str| self.node(name).is_some_and(|node| node.available != Some(false));
        let open = hypertable.nodes.iter().filter(|node| !node.block_chunks && available(&node.name));
        open.map(|node| node.name.clone()).collect()
    }

    /// The hypertable's partitions over its open nodes; none without a closed dimension.
    fn dealt(&self, hypertable: &Hypertable) -> Vec<Partition> {
        match hypertable.partition_count() {
            Some(count) => deal_partitions(count, &self.open_nodes(hypertable), hypertable.replication_factor),
            None => Vec::new(),
        }
    }

    fn known_node(&self, name: &str) -> Result<()> {
        match self.node(name) {
            Some(_) => Ok(()),
            None => Err(Error::new(codes::UNDEFINED_OBJECT, format!("server \"{name}\" does not exist"))
                .with_hint("Add it with add_data_node().")),
        }
    }

    /// The nodes for a new hypertable: those listed, in that order, else all.
    fn chosen_nodes(&self, listed: Option<Vec<String>>) -> Result<Vec<String>> {
        let nodes = match listed {
            None => self.nodes.iter().map(|node| node.name.clone()).collect(),
            Some(listed) => listed,
        };
        for (nth, name) in nodes.iter().enumerate() {
            self.known_node(name)?;
            if nodes[..nth].contains(name) {
                let message = format!("data node \"{name}\" is listed more than once");
                return Err(Error::new(codes::INVALID_PARAMETER_VALUE, message));
            }
        }
        if nodes.is_empty() {
            return Err(Error::new(codes::TS_INSUFFICIENT_NODES, "no data nodes can be assigned to the hypertable")
                .with_detail("No data nodes were available to assign to the hypertable.")
                .with_hint("Add data nodes to the database."));
        }
        check_node_count(nodes.len())?;
        Ok(nodes)
    }
}

/// The type of a dimension's column; a type that is not built in has no hash and no time line here.
fn type_of(oid: u32) -> Type {
    Type::from_oid(oid).unwrap_or(Type::UNKNOWN)
}

fn check_node_count(count: usize) -> Result<()> {
    if count <= DATA_NODES_MAX {
        return Ok(());
    }
    let message = format!("a hypertable can have at most {DATA_NODES_MAX} data nodes");
    Err(Error::new(SqlState::new("54000"), message))
}

fn checked_replicas(table: &RelationName, replicas: i64, nodes: usize) -> Result<u16> {
    if replicas < 1 {
        return Err(Error::new(codes::INVALID_PARAMETER_VALUE, "invalid replication factor")
            .with_hint("A hypertable's replication factor must be between 1 and 32767."));
    }
    if replicas > nodes as i64 {
        let message = format!("replication factor too large for hypertable \"{}\"", table.name);
        let detail =
            format!("The hypertable has {nodes} data nodes attached, while the replication factor is {replicas}.");
        return Err(Error::new(codes::TS_INSUFFICIENT_NODES, message)
            .with_detail(detail)
            .with_hint("Decrease the replication factor or attach more data nodes to the hypertable."));
    }
    Ok(replicas as u16)
}

fn checked_partitions(column: &str, requested: Option<i64>, nodes: usize) -> Result<u16> {
    let partitions = requested.unwrap_or(nodes as i64);
    if (1..=i64::from(PARTITIONS_MAX)).contains(&partitions) {
        return Ok(partitions as u16);
    }
    let message = format!("invalid number of partitions for dimension \"{column}\"");
    Err(Error::new(codes::INVALID_PARAMETER_VALUE, message)
        .with_hint("A closed (space) dimension must specify between 1 and 32767 partitions."))
}

/// Chunk names must not be cut off, or two chunks could get the same one.
fn checked_prefix(prefix: String) -> Result<String> {
    let longest = IDENTIFIER_BYTES_MAX - format!("_{}_chunk", u32::MAX).len();
    if prefix.len() <= longest {
        return Ok(prefix);
    }
    Err(Error::new(SqlState::new("42622"), "associated_table_prefix too long")
        .with_hint(format!("Use at most {longest} bytes.")))
}

fn warning(code: SqlState, message: String, detail: &str, hint: String) -> Notice {
    Notice { severity: Severity::Warning, error: Error::new(code, message).with_detail(detail).with_hint(hint) }
}

fn too_few_partitions(column: &str) -> Notice {
    warning(
        codes::WARNING,
        format!("insufficient number of partitions for dimension \"{column}\""),
        "There are not enough partitions to make use of all data nodes.",
        format!(
            "Increase the number of partitions in dimension \"{column}\" to match or exceed the number of attached data nodes."
        ),
    )
}

fn single_node() -> Notice {
    warning(
        codes::WARNING,
        "only one data node was assigned to the hypertable".to_string(),
        "A distributed hypertable should have at least two data nodes for best performance.",
        "Add more data nodes to the database and attach them to the hypertable.".to_string(),
    )
}

fn under_replicated(hypertable: &Hypertable, missing: usize) -> Notice {
    warning(
        codes::TS_INSUFFICIENT_NODES,
        "insufficient number of data nodes".to_string(),
        "There are not enough data nodes to replicate chunks according to the configured replication factor.",
        format!("Attach {missing} or more data nodes to hypertable \"{}\".", hypertable.name.name),
    )
}

fn more_partitions(column: &str, count: usize) -> Notice {
    let message = format!("the number of partitions in dimension \"{column}\" was increased to {count}");
    let detail = "To make use of all attached data nodes, a distributed hypertable needs at least as many partitions in \
                  the first closed (space) dimension as there are attached data nodes.";
    Notice { severity: Severity::Notice, error: Error::new(codes::SUCCESS, message).with_detail(detail) }
}

#[cfg(test)]
mod tests;
