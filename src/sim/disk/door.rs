//! The disk as one process of the node sees it: the host's `Disk`, and the files that redb holds open.

use super::super::life::Life;
use super::bytes::FileBytes;
use super::{Entry, SimDisk, lock_file};
use crate::host::Disk;
use redb::{BackendError, StorageBackend};
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

/// A disk for as long as one process lives.
pub struct DiskDoor {
    disk: SimDisk,
    life: Life,
}

impl DiskDoor {
    pub fn new(disk: SimDisk, life: Life) -> DiskDoor {
        DiskDoor { disk, life }
    }
}

impl Disk for DiskDoor {
    fn open(&self, path: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.life.check()?;
        let path = plain(path)?;
        let mut state = self.disk.lock();
        state.create_parents(&path);
        state.next_handle += 1;
        let handle = state.next_handle;
        let entry = state.entries.entry(path.clone()).or_insert_with(|| Entry::Store(Arc::default()));
        let Entry::Store(bytes) = entry else {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{path} is not a store")));
        };
        let bytes = bytes.clone();
        drop(state);
        Ok(Box::new(SimFile { disk: self.disk.clone(), life: self.life.clone(), name: path, handle, bytes }))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.life.check()?;
        let mut below = plain(path)?;
        if !below.is_empty() {
            below.push('/');
        }
        let state = self.disk.lock();
        let names = state.entries.keys().filter_map(|name| name.strip_prefix(below.as_str()));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_string).collect())
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.life.check()?;
        let path = plain(path)?;
        let mut state = self.disk.lock();
        state.create_parents(&path);
        match state.entries.entry(path.clone()).or_insert(Entry::Folder) {
            Entry::Folder => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{path} is a file"))),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.life.check()?;
        self.disk.remove(&plain(path)?);
        Ok(())
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.life.check()?;
        let path = plain(path)?;
        match self.disk.lock().entries.get(&path) {
            Some(Entry::Small(bytes)) => Ok(bytes.clone()),
            Some(Entry::Store(file)) => Ok(lock_file(file).live().to_vec()),
            Some(Entry::Folder) => Err(io::Error::new(io::ErrorKind::IsADirectory, format!("{path} is a folder"))),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("cannot read {path}: no such file"))),
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.life.check()?;
        self.disk.replace(&plain(path)?, bytes)
    }
}

/// The one spelling of a path. Errors: `InvalidInput` for a path that would leave the root.
fn plain(path: &str) -> io::Result<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if path.starts_with('/') || parts.contains(&"..") {
        let message = format!("the path {path:?} does not stay below the data folder");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(parts.join("/"))
}

/// A file that one process has open.
struct SimFile {
    disk: SimDisk,
    life: Life,
    name: String,
    handle: u64,
    bytes: Arc<Mutex<FileBytes>>,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({} on {})", self.name, self.disk.0.node)
    }
}

impl SimFile {
    fn unlock(&self) {
        let mut bytes = lock_file(&self.bytes);
        bytes.locked_by.take_if(|(handle, _)| *handle == self.handle);
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.life.check()?;
        Ok(lock_file(&self.bytes).len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.life.check()?;
        let bytes = lock_file(&self.bytes);
        let Some(found) = bytes.read(offset, out.len()) else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("read beyond the end of {}", self.name)));
        };
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.life.check()?;
        // A hole takes no room.
        self.disk.admit(0, 0)?;
        lock_file(&self.bytes).resize(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.life.check()?;
        self.disk.sync(&self.name, &self.bytes)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.life.check()?;
        let growth = lock_file(&self.bytes).growth(offset, data.len());
        self.disk.admit(data.len(), growth)?;
        lock_file(&self.bytes).write(offset, data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.life.check()?;
        self.unlock();
        Ok(())
    }

    /// Only the whole file can be locked, which is all that redb's exclusive writer needs.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if !is_whole_file(start, end) {
            return Err(BackendError::Unsupported);
        }
        let mut bytes = lock_file(&self.bytes);
        // The lock of a dead process went with it.
        let taken = bytes.locked_by.as_ref().is_some_and(|(_, life)| !life.is_over());
        if !taken {
            bytes.locked_by = Some((self.handle, self.life.clone()));
        }
        Ok(!taken)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if !is_whole_file(start, end) {
            return Err(BackendError::Unsupported);
        }
        self.unlock();
        Ok(())
    }
}

fn is_whole_file(start: Bound<u64>, end: Bound<u64>) -> bool {
    matches!(start, Bound::Unbounded | Bound::Included(0)) && end == Bound::Unbounded
}
