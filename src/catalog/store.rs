//! The catalog's durable form: the log of changes and the open commit decisions, in one redb file.
//!
//! What a commit promises: changes and decision become durable together or not at all; readers see them only when the
//! disk has confirmed; commits take effect one after the other.
//!
//! When the disk fails in the middle of a commit, only the file knows whether it took place. The store closes the file,
//! opens it again and looks. If that fails as well (the disk is full, or dying), the caller gets `08007`, the
//! transaction is [in doubt](Store::in_doubt), and every later call tries again to open the file.
//!
//! After a failed *sync* not even the file can be asked: the kernel may show pages that the disk does not have, count
//! them as written, and sync them never again. A decision read there would be acted upon, and be gone after a power
//! loss. So the commit is in doubt, and the file stays closed until the server is restarted; readers go on with what was
//! confirmed before. (The engine's writer does the same.)

mod file;

use super::{Change, State};
use crate::buggify;
use crate::error::Result;
use crate::host::Host;
use file::File;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long a commit may dawdle where a simulation asks for it.
const SLOW: Duration = Duration::from_millis(40);

/// "This transaction commits": written before anybody is told to commit, removed when all participants have confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Global transaction id, as prepared on every participant.
    pub gid: String,
    /// Who has prepared it: names of data nodes, and the empty name for the access node's own database.
    pub participants: Vec<String>,
}

/// Open catalog of one access-node database.
pub struct Store {
    host: Host,
    incarnation: u64,
    /// Held from reading the state to publishing the next one. It moves into the storage work, so that a caller that
    /// goes away cannot let a second commit in before the first has ended.
    writer: Arc<tokio::sync::Mutex<()>>,
    file: Arc<File>,
}

impl Store {
    /// Opens or creates; replays the changes. Counts the opening: see [`Store::incarnation`].
    /// Errors: `55000` for a file of another format, `XX001` for a damaged one, `58030` and `53100` from the disk.
    pub async fn open(host: &Host, path: &str) -> Result<Arc<Store>> {
        let file = Arc::new(File::new(host.clone(), path));
        let opening = file.clone();
        let incarnation = host.blocking(move || opening.open()).await?;
        let writer = Arc::new(tokio::sync::Mutex::new(()));
        Ok(Arc::new(Store { host: host.clone(), incarnation, writer, file }))
    }

    /// How often this store has been opened: part of every gid, so that a restart never reuses one.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The current state; cheap (an `Arc` clone).
    pub fn state(&self) -> Arc<State> {
        self.file.published().state.clone()
    }

    /// Makes `changes` and the decision durable in one step, then visible. Once begun it runs to its end, even if the
    /// caller goes away.
    ///
    /// Errors: `08007` when the disk failed in the commit itself and cannot say whether it took place (the participants
    /// must stay prepared, see [`Store::in_doubt`]); any other error means that nothing changed.
    pub async fn commit(&self, changes: Vec<Change>, decision: Option<Decision>) -> Result<()> {
        if changes.is_empty() && decision.is_none() {
            return Ok(());
        }
        self.write(move |file| file.commit(&changes, decision)).await
    }

    /// All open decisions, by gid.
    pub fn decisions(&self) -> Vec<Decision> {
        self.file.published().decisions.values().cloned().collect()
    }

    /// The transaction whose [`Store::commit`] ended in `08007`, as long as the file cannot be read: it is neither decided
    /// nor to be presumed aborted. [`Store::settle`] finds out.
    pub fn in_doubt(&self) -> Option<String> {
        self.file.published().in_doubt.clone()
    }

    /// Opens the file again if a disk error closed it. `Ok` means that nothing is in doubt.
    /// Errors: those of [`Store::open`]; try again later. `58030` until a restart once a sync has failed.
    pub async fn settle(&self) -> Result<()> {
        self.write(|file| file.open().map(|_| ())).await
    }

    /// All participants have confirmed. Not synced: losing it costs one round of the resolver.
    pub async fn forget(&self, gid: &str) -> Result<()> {
        let gid = gid.to_string();
        self.write(move |file| file.forget(&gid)).await
    }

    /// Does storage work in turn.
    async fn write(&self, work: impl FnOnce(&File) -> Result<()> + Send + 'static) -> Result<()> {
        let turn = self.writer.clone().lock_owned().await;
        if buggify!(self.host, "catalog.slow") {
            self.host.sleep(SLOW).await;
        }
        let file = self.file.clone();
        self.host
            .blocking(move || {
                let done = work(&file);
                drop(turn);
                done
            })
            .await
    }
}

#[cfg(test)]
mod tests;
