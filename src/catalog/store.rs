//! The catalog's durable form: the log of changes and the open commit decisions, in one redb file.

use super::{Change, State};
use crate::error::Result;
use crate::host::Host;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// "This transaction commits": written before anybody is told to commit, removed when all participants have confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Global transaction id, as prepared on every participant.
    pub gid: String,
    /// Data node names that have prepared it.
    pub participants: Vec<String>,
}

/// Open catalog of one access-node database.
pub struct Store {
    _todo: (),
}

impl Store {
    /// Opens or creates; replays the changes. Counts the opening: see `incarnation`.
    pub async fn open(host: &Host, path: &str) -> Result<Arc<Store>> {
        let _ = (host, path);
        todo!()
    }

    /// How often this store has been opened: part of every gid, so that a restart never reuses one.
    pub fn incarnation(&self) -> u64 {
        todo!()
    }

    /// The current state; cheap (an `Arc` clone).
    pub fn state(&self) -> Arc<State> {
        todo!()
    }

    /// Makes `changes` and the decision durable in one step, then visible. Durable before it returns, unless the
    /// sabotage switch `decision.sync` is set.
    pub async fn commit(&self, changes: Vec<Change>, decision: Option<Decision>) -> Result<()> {
        let _ = (changes, decision);
        todo!()
    }

    /// All open decisions, by gid.
    pub fn decisions(&self) -> Vec<Decision> {
        todo!()
    }

    /// All participants have confirmed. Not synced: losing it costs one round of the resolver.
    pub async fn forget(&self, gid: &str) -> Result<()> {
        let _ = gid;
        todo!()
    }
}
