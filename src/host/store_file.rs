//! What [`Disk::open`](super::Disk::open) returns, in the form that redb takes.

use crate::sabotage;
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A boxed backend as a backend: redb asks for a type, a host's disk gives a trait object.
///
/// `redb::Builder::new().create_with_backend(StoreFile::new(host.disk().open("store.redb")?))`
#[derive(Debug)]
pub struct StoreFile {
    file: Box<dyn StorageBackend>,
    sync_failed: Arc<AtomicBool>,
}

impl StoreFile {
    pub fn new(backend: Box<dyn StorageBackend>) -> StoreFile {
        StoreFile::watched(backend, Arc::default())
    }

    /// Sets `sync_failed` when a sync fails. What the kernel says it holds may then differ from what the disk holds, and a
    /// second sync would succeed: the file must not be believed in this process any more.
    pub fn watched(backend: Box<dyn StorageBackend>, sync_failed: Arc<AtomicBool>) -> StoreFile {
        StoreFile { file: backend, sync_failed }
    }
}

/// Every method is passed on, the locks too: the trait's defaults would turn a real file's locks off.
impl StorageBackend for StoreFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if sabotage!("host.file.sync") {
            return Ok(());
        }
        self.file.sync_data().inspect_err(|_| self.sync_failed.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
