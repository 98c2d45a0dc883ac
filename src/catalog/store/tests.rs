use super::file::{CHANGES, LOG_CHANGES_MAX, META};
use super::*;
use crate::catalog::DataNode;
use crate::error::{Kind, codes};
use crate::host::{Clock, Disk, Entropy, Listener, Net, Stream, TaskHandle, Tasks};
use crate::sabotage::{Sabotage, plant};
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// One file on a disk that can lose power and refuse to sync. Clones are the same disk.
#[derive(Clone, Debug, Default)]
struct TestDisk(Arc<Mutex<Bytes>>);

#[derive(Debug, Default)]
struct Bytes {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// Writes since the last sync. A sync that fails forgets them: like Linux, the next one has nothing to do.
    dirty: Vec<(usize, Vec<u8>)>,
    /// Syncs that work before so many fail.
    good_syncs: usize,
    bad_syncs: usize,
    /// The same for writes.
    good_writes: usize,
    bad_writes: usize,
}

impl TestDisk {
    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap()
    }

    /// The disk as the next start finds it: all that was not synced is gone. The old one lives on, unseen.
    fn after_power_loss(&self) -> TestDisk {
        let synced = self.bytes().synced.clone();
        TestDisk(Arc::new(Mutex::new(Bytes { live: synced.clone(), synced, ..Bytes::default() })))
    }

    fn fail_syncs(&self, after: usize, count: usize) {
        let mut bytes = self.bytes();
        (bytes.good_syncs, bytes.bad_syncs) = (after, count);
    }

    fn fail_writes(&self, after: usize, count: usize) {
        let mut bytes = self.bytes();
        (bytes.good_writes, bytes.bad_writes) = (after, count);
    }
}

impl StorageBackend for TestDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        out.copy_from_slice(&self.bytes().live[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.bytes().live.resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut bytes = self.bytes();
        if bytes.good_syncs > 0 {
            bytes.good_syncs -= 1;
        } else if bytes.bad_syncs > 0 {
            bytes.bad_syncs -= 1;
            bytes.dirty.clear();
            return Err(io::Error::other("sync failed"));
        }
        let length = bytes.live.len();
        bytes.synced.resize(length, 0);
        for (start, data) in std::mem::take(&mut bytes.dirty) {
            let end = length.min(start + data.len());
            if start < end {
                bytes.synced[start..end].copy_from_slice(&data[..end - start]);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (start, mut bytes) = (offset as usize, self.bytes());
        if bytes.good_writes > 0 {
            bytes.good_writes -= 1;
        } else if bytes.bad_writes > 0 {
            bytes.bad_writes -= 1;
            return Err(io::Error::other("write failed"));
        }
        bytes.live[start..start + data.len()].copy_from_slice(data);
        bytes.dirty.push((start, data.to_vec()));
        Ok(())
    }
}

impl Disk for TestDisk {
    fn open(&self, _: &str) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        unreachable!("the store opens its file and nothing else")
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        unreachable!("the store opens its file and nothing else")
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        unreachable!("the store opens its file and nothing else")
    }

    fn read(&self, _: &str) -> io::Result<Vec<u8>> {
        unreachable!("the store opens its file and nothing else")
    }

    fn write(&self, _: &str, _: &[u8]) -> io::Result<()> {
        unreachable!("the store opens its file and nothing else")
    }
}

/// Runs storage work inline; has no network and no clock.
struct Inline;

impl Tasks for Inline {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) -> TaskHandle {
        unreachable!("the store spawns nothing")
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

/// Runs storage work on a thread that waits for leave, like a slow disk.
struct Gated(Arc<Mutex<()>>);

impl Tasks for Gated {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) -> TaskHandle {
        unreachable!("the store spawns nothing")
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let gate = self.0.clone();
        let (done, finished) = tokio::sync::oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "this is a host")]
        std::thread::spawn(move || {
            drop(gate.lock().unwrap());
            work();
            let _ = done.send(());
        });
        Box::pin(async move { finished.await.unwrap_or(()) })
    }
}

impl Net for Inline {
    fn listen(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        unreachable!("the store has no peers")
    }

    fn connect(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Stream>> {
        unreachable!("the store has no peers")
    }
}

impl Clock for Inline {
    fn utc_micros(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        unreachable!("the store does not wait")
    }
}

impl Entropy for Inline {
    fn fill(&self, _: &mut [u8]) {
        unreachable!("the store rolls no dice")
    }
}

fn host(disk: &TestDisk, tasks: impl Tasks + 'static) -> Host {
    Host::new("an", Arc::new(Inline), Arc::new(Inline), Arc::new(tasks), Arc::new(Inline), Arc::new(disk.clone()))
}

fn open(disk: &TestDisk) -> Result<Arc<Store>> {
    block_on(Store::open(&host(disk, Inline), "catalog.redb"))
}

fn add(name: &str) -> Change {
    let node = DataNode {
        name: name.into(),
        host: "::1".into(),
        port: 5432,
        database: "db".into(),
        user: None,
        password: None,
        owner: "postgres".into(),
        available: None,
    };
    Change::AddDataNode { node, cluster: "c1".into() }
}

fn decision(gid: &str) -> Decision {
    Decision { gid: gid.into(), participants: vec!["dn1".into(), "dn2".into()] }
}

fn names(store: &Store) -> Vec<String> {
    store.state().nodes.iter().map(|node| node.name.clone()).collect()
}

fn gids(store: &Store) -> Vec<String> {
    store.decisions().into_iter().map(|decision| decision.gid).collect()
}

#[test]
fn what_was_committed_survives_power_loss() {
    let disk = TestDisk::default();
    let store = open(&disk).unwrap();
    assert_eq!((store.incarnation(), names(&store).len()), (1, 0));
    block_on(store.commit(vec![add("dn1"), add("dn2")], Some(decision("g1")))).unwrap();
    block_on(store.commit(vec![], Some(decision("g2")))).unwrap();
    assert_eq!((names(&store), gids(&store)), (vec!["dn1".into(), "dn2".into()], vec!["g1".into(), "g2".into()]));

    let again = open(&disk.after_power_loss()).unwrap();
    assert_eq!(again.incarnation(), 2);
    assert_eq!(again.state(), store.state());
    assert_eq!(again.decisions(), store.decisions());
}

#[test]
fn a_forgotten_decision_is_gone_at_once_and_durably_with_the_next_commit() {
    let disk = TestDisk::default();
    let store = open(&disk).unwrap();
    block_on(store.commit(vec![], Some(decision("g1")))).unwrap();
    block_on(store.forget("g1")).unwrap();
    block_on(store.forget("g1")).unwrap();
    assert_eq!(gids(&store), [""; 0]);
    assert_eq!(gids(&open(&disk.after_power_loss()).unwrap()), ["g1"]);
    block_on(store.commit(vec![], Some(decision("g2")))).unwrap();
    assert_eq!(gids(&open(&disk.after_power_loss()).unwrap()), ["g2"]);
}

#[test]
fn a_sabotaged_store_loses_what_it_acknowledged() {
    let disk = TestDisk::default();
    let store = open(&disk).unwrap();
    let planted = plant(&Sabotage::from_names(&["decision.sync".to_string()]).unwrap());
    block_on(store.commit(vec![add("dn1")], Some(decision("g1")))).unwrap();
    assert_eq!((names(&store).len(), gids(&store).len(), planted.hits()["decision.sync"]), (1, 1, 1));
    let after = open(&disk.after_power_loss()).unwrap();
    assert_eq!((names(&after).len(), gids(&after).len()), (0, 0));
}

#[test]
fn a_change_that_does_not_fit_takes_the_whole_commit_with_it() {
    let disk = TestDisk::default();
    let store = open(&disk).unwrap();
    let error = block_on(store.commit(vec![add("dn1"), add("dn1")], Some(decision("g1")))).unwrap_err();
    assert_eq!(error.code(), codes::INTERNAL);
    block_on(store.commit(vec![], Some(decision("g2")))).unwrap();
    assert!(block_on(store.commit(vec![add("dn1")], Some(decision("g2")))).is_err());
    for store in [store, open(&disk.after_power_loss()).unwrap()] {
        assert_eq!((names(&store).len(), gids(&store)), (0, vec!["g2".to_string()]));
    }
}

#[test]
fn a_commit_that_the_disk_breaks_off_is_looked_up_in_the_file() {
    let mut outcomes = [0, 0, 0];
    for (after, count) in (0..40).flat_map(|after| [(after, 1), (after, 2), (after, 3)]) {
        let disk = TestDisk::default();
        let store = open(&disk).unwrap();
        block_on(store.commit(vec![add("dn1")], None)).unwrap();
        disk.fail_writes(after, count);
        let outcome = block_on(store.commit(vec![add("dn2")], Some(decision("g1"))));
        // What was said about the transaction must be true after the worst that can happen next.
        let found = open(&disk.after_power_loss()).unwrap();
        let took_place = (names(&found).len(), gids(&found).len()) == (2, 1);
        assert!(took_place || (names(&found).len(), gids(&found).len()) == (1, 0), "half a commit");
        match &outcome {
            Ok(()) => assert!(took_place, "lost, after {after} writes"),
            Err(error) if error.kind() == Kind::Unknown => assert_eq!(store.in_doubt().as_deref(), Some("g1")),
            Err(error) => assert!(!took_place, "there although {error}"),
        }
        outcomes[outcome.map_or_else(|error| if error.kind() == Kind::Unknown { 2 } else { 1 }, |()| 0)] += 1;

        disk.fail_writes(0, 0);
        block_on(store.settle()).unwrap();
        assert_eq!(store.in_doubt(), None);
        block_on(store.commit(vec![add("dn3")], Some(decision("g2")))).unwrap();
        assert_eq!(open(&disk.after_power_loss()).unwrap().state(), store.state());
    }
    assert!(outcomes[0] > 0 && outcomes[2] > 0, "the faults missed the commit: {outcomes:?}");
}

#[test]
fn after_a_failed_sync_the_file_is_not_believed_before_a_restart() {
    for after in 0..3 {
        let disk = TestDisk::default();
        let store = open(&disk).unwrap();
        block_on(store.commit(vec![add("dn1")], Some(decision("g0")))).unwrap();
        disk.fail_syncs(after, 1);
        let outcome = block_on(store.commit(vec![add("dn2")], Some(decision("g1"))));
        let found = open(&disk.after_power_loss()).unwrap();
        match outcome {
            // The failure comes later, if at all.
            Ok(()) => assert_eq!(gids(&found), ["g0", "g1"]),
            Err(error) => {
                assert_eq!(error.code(), codes::TRANSACTION_RESOLUTION_UNKNOWN);
                assert_eq!(store.in_doubt().as_deref(), Some("g1"));
                assert_eq!(block_on(store.settle()).unwrap_err().code(), codes::IO_ERROR);
                assert_eq!(block_on(store.commit(vec![add("dn3")], None)).unwrap_err().code(), codes::IO_ERROR);
                assert_eq!(gids(&store), ["g0"], "what was confirmed can still be read");
                assert_eq!(gids(&open(&disk.after_power_loss()).unwrap()), ["g0"]);
            }
        }
    }
}

#[test]
fn while_the_disk_is_broken_readers_see_the_last_state_and_writers_an_error() {
    let disk = TestDisk::default();
    let store = open(&disk).unwrap();
    block_on(store.commit(vec![add("dn1")], Some(decision("g0")))).unwrap();
    disk.fail_syncs(0, usize::MAX);
    let error = block_on(store.commit(vec![add("dn2")], Some(decision("g1")))).unwrap_err();
    assert_eq!(error.code(), codes::TRANSACTION_RESOLUTION_UNKNOWN);
    assert_eq!(block_on(store.commit(vec![add("dn3")], None)).unwrap_err().code(), codes::IO_ERROR);
    assert_eq!(block_on(store.settle()).unwrap_err().code(), codes::IO_ERROR);
    assert_eq!((names(&store), gids(&store)), (vec!["dn1".to_string()], vec!["g0".to_string()]));
    assert_eq!(store.in_doubt().as_deref(), Some("g1"));
}

#[test]
fn a_commit_whose_caller_goes_away_still_ends_and_shows() {
    let disk = TestDisk::default();
    let gate = Arc::new(Mutex::new(()));
    let store = block_on(Store::open(&host(&disk, Gated(gate.clone())), "catalog.redb")).unwrap();
    let closed = gate.lock().unwrap();
    {
        let mut first = Box::pin(store.commit(vec![add("dn1")], Some(decision("g1"))));
        assert!((&mut first).now_or_never().is_none());
    }
    let mut second = Box::pin(store.commit(vec![add("dn2")], None));
    assert!((&mut second).now_or_never().is_none());
    drop(closed);
    // The second waits for the first, whose caller is gone, and builds on it.
    block_on(second).unwrap();
    assert_eq!((names(&store), gids(&store)), (vec!["dn1".into(), "dn2".into()], vec!["g1".to_string()]));
}

#[test]
fn a_file_of_another_format_is_named_and_left_alone() {
    let write = |fill: fn(&WriteTransaction)| {
        let disk = TestDisk::default();
        let database = Database::builder().create_with_backend(disk.clone()).unwrap();
        let transaction = database.begin_write().unwrap();
        fill(&transaction);
        transaction.commit().unwrap();
        drop(database);
        disk
    };
    let newer = write(|transaction| drop(transaction.open_table(META).unwrap().insert("format", 9).unwrap()));
    let stranger = write(|transaction| drop(transaction.open_table(TableDefinition::<u64, u64>::new("x")).unwrap()));
    for disk in [newer, stranger] {
        let error = open(&disk).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), codes::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert!(error.message().contains("\"catalog.redb\""), "{error}");
    }
}

#[test]
fn damage_is_reported_with_its_place() {
    let disk = TestDisk::default();
    drop(open(&disk).unwrap());
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(CHANGES).unwrap().insert(1, "{\"DropChunk\":{\"chunk\":5}}").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open(&disk).map(|_| ()).unwrap_err();
    assert_eq!((error.code(), error.message()), (codes::DATA_CORRUPTED, "change 1 in \"catalog.redb\" cannot be read"));

    let garbage = TestDisk::default();
    garbage.bytes().live = vec![7; 8192];
    let error = open(&garbage).map(|_| ()).unwrap_err();
    assert!(error.message().contains("catalog.redb"), "{error}");
}

#[test]
fn a_long_log_is_folded_and_goes_on_counting() {
    let disk = TestDisk::default();
    let store = open(&disk).unwrap();
    let many = (0..=LOG_CHANGES_MAX).map(|nth| add(&format!("dn{nth}"))).collect();
    block_on(store.commit(many, Some(decision("g1")))).unwrap();
    drop(store);
    let log = |disk: TestDisk| {
        let database = Database::builder().create_with_backend(disk.clone()).unwrap();
        let table = database.begin_read().unwrap().open_table(CHANGES).unwrap();
        table.iter().unwrap().map(|entry| entry.unwrap().0.value()).collect::<Vec<u64>>()
    };
    assert_eq!(log(disk.after_power_loss()).len(), LOG_CHANGES_MAX + 1);
    let store = open(&disk).unwrap();
    assert_eq!(log(disk.after_power_loss()), [0; 0]);
    block_on(store.commit(vec![add("last")], None)).unwrap();
    assert_eq!(log(disk.after_power_loss()), [LOG_CHANGES_MAX as u64 + 2]);
    let again = open(&disk.after_power_loss()).unwrap();
    assert_eq!(again.state(), store.state());
    assert_eq!(gids(&again), ["g1"]);
}
