//! Real processes of this binary on 127.0.0.1, one a server.

use super::data_node_names;
use super::process::{Folder, free_port};
use super::real::{RealStage, server};
use crate::error::Result;
use crate::host::real::real;
use crate::sim::scenario::{ClusterSpec, WorldKind};
use std::collections::BTreeMap;
use std::path::Path;

/// Starts one scenario's servers and makes them a cluster. `program` is the hypertile binary.
pub async fn start(program: &Path, spec: &ClusterSpec, seed: u64) -> Result<RealStage> {
    let folder = Folder::new()?;
    let host = real("client", &folder.path().join("client"))?;
    let mut servers = BTreeMap::new();
    for name in data_node_names(spec) {
        let server = server(program, folder.path(), &name, free_port(&host).await?, &[]);
        servers.insert(name, server);
    }
    RealStage::start(WorldKind::Loopback, program, spec, seed, host, folder, servers).await
}
