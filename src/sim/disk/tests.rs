use super::super::chance::stream;
use super::super::life::Life;
use super::super::time::SimTime;
use super::bytes::FileBytes;
use super::*;
use crate::host::{Disk, StoreFile};
use rand::seq::IndexedRandom;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableError};
use std::ops::Bound;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

type Rows = BTreeMap<u64, Vec<u8>>;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new("dn1".into(), Recorder::new(SimTime::still(), usize::MAX), stream(seed, "disk"))
}

fn open(disk: &SimDisk, life: &Life) -> Result<Database, redb::DatabaseError> {
    let file = DiskDoor::new(disk.clone(), life.clone()).open("db/store.redb").expect("the process lives");
    Builder::new().set_cache_size(1 << 20).create_with_backend(StoreFile::new(file))
}

fn rows(database: &Database) -> Rows {
    let read = database.begin_read().unwrap();
    let table = match read.open_table(TABLE) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Rows::new(),
        Err(error) => panic!("{error}"),
    };
    table.iter().unwrap().map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())).unwrap()).collect()
}

/// What one transaction is going to do: keys to remove or to set.
type Changes = Vec<(u64, Option<Vec<u8>>)>;

fn plan(chance: &mut Stream) -> Changes {
    let change = |_| {
        let key = chance.random_range(0..100);
        let length = *[10, 300, 5_000, 40_000].choose(chance).unwrap();
        (key, chance.random_bool(0.7).then(|| vec![chance.random::<u8>(); length]))
    };
    (0..8).map(change).collect()
}

fn applied(changes: &Changes, model: &Rows) -> Rows {
    let mut after = model.clone();
    for (key, value) in changes {
        match value {
            Some(value) => after.insert(*key, value.clone()),
            None => after.remove(key),
        };
    }
    after
}

fn commit(database: &Database, changes: &Changes) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(TABLE)?;
        for (key, value) in changes {
            match value {
                Some(value) => table.insert(*key, value.as_slice())?,
                None => table.remove(*key)?,
            };
        }
    }
    Ok(write.commit()?)
}

/// Lives of one store that each end in a power loss at a random write or sync. What is found after each must be
/// the acknowledged rows, or those plus the transaction that was under way.
fn survives_power_losses(seed: u64, lives: u32, sync_lies: f64) -> Result<u64, String> {
    let disk = disk(seed);
    disk.set_faults(DiskFaults { sync_lies, ..DiskFaults::none() });
    let mut chance = stream(seed, "workload");
    let mut acknowledged = Rows::new();
    let mut commits = 0;
    for _ in 0..lives {
        let life = Life::begin();
        let database = open(&disk, &life).map_err(|error| format!("does not open: {error}"))?;
        for _ in 0..chance.random_range(0..6) {
            let changes = plan(&mut chance);
            commit(&database, &changes).map_err(|error| error.to_string())?;
            acknowledged = applied(&changes, &acknowledged);
            commits += 1;
        }
        drop(database);
        // One more transaction, at some operation of which the process dies.
        let last = plan(&mut chance);
        let under_way = applied(&last, &acknowledged);
        let fuse = Fuse::new(&disk, &life, chance.random_range(0..30));
        if Builder::new().create_with_backend(fuse).is_ok_and(|database| commit(&database, &last).is_ok()) {
            acknowledged = under_way.clone();
            commits += 1;
        }
        life.end();
        disk.lose_power();

        let database = open(&disk, &Life::begin()).map_err(|error| format!("does not reopen: {error}"))?;
        let found = rows(&database);
        if found != acknowledged && found != under_way {
            return Err(format!("after {commits} commits the rows are neither the acknowledged ones nor the next"));
        }
        acknowledged = found;
    }
    Ok(commits)
}

/// A store whose process dies before its n-th change.
#[derive(Debug)]
struct Fuse {
    inner: Box<dyn StorageBackend>,
    life: Life,
    left: std::sync::atomic::AtomicI64,
}

impl Fuse {
    fn new(disk: &SimDisk, life: &Life, operations: i64) -> Fuse {
        let inner = DiskDoor::new(disk.clone(), life.clone()).open("db/store.redb").unwrap();
        Fuse { inner, life: life.clone(), left: operations.into() }
    }

    fn burn(&self) {
        if self.left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0 {
            self.life.end();
        }
    }
}

impl StorageBackend for Fuse {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.burn();
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.burn();
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.burn();
        self.inner.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

#[test]
fn what_redb_acknowledged_survives_every_power_loss() {
    let mut commits = 0;
    for seed in 0..40 {
        commits += survives_power_losses(seed, 5, 0.0).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(commits > 400, "only {commits} commits: the lives are too short to prove anything");
}

#[test]
fn a_sync_that_lies_is_noticed() {
    let failed = (0..40).filter(|&seed| {
        std::panic::catch_unwind(|| survives_power_losses(seed, 5, 0.3)).map_or(true, |outcome| outcome.is_err())
    });
    let failed = failed.count();
    assert!(failed > 10, "only {failed} of 40 seeds noticed");
}

#[test]
fn a_handle_of_a_dead_process_changes_nothing() {
    let disk = disk(1);
    let life = Life::begin();
    let database = open(&disk, &life).unwrap();
    let changes = plan(&mut stream(1, "workload"));
    commit(&database, &changes).unwrap();
    life.end();
    let syncs = disk.work();
    assert!(commit(&database, &plan(&mut stream(2, "workload"))).is_err());
    // redb's destructor would mark the file as cleanly closed.
    drop(database);
    assert_eq!(disk.work(), syncs);
    assert_eq!(rows(&open(&disk, &Life::begin()).unwrap()), applied(&changes, &Rows::new()));
    let door = DiskDoor::new(disk, life);
    assert!(door.write("a", b"").is_err() && door.open("b").is_err() && door.list("").is_err());
}

#[test]
fn a_process_crash_keeps_written_bytes_and_frees_the_lock() {
    let disk = disk(1);
    let (first, second) = (Life::begin(), Life::begin());
    let file = DiskDoor::new(disk.clone(), first.clone()).open("f").unwrap();
    assert!(file.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
    file.write(0, b"unsynced").unwrap();
    let other = DiskDoor::new(disk, second).open("f").unwrap();
    assert!(!other.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
    first.end();
    assert!(other.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
    let mut bytes = [0; 8];
    other.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"unsynced");
}

#[test]
fn small_files_and_folders_behave_like_the_real_ones() {
    let disk = disk(1);
    let door = DiskDoor::new(disk.clone(), Life::begin());
    assert_eq!(door.read("a/b").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(door.list("a").unwrap().is_empty());
    door.write("a/b", b"one").unwrap();
    door.write("./a//b", b"two").unwrap();
    door.write("a/a", b"").unwrap();
    door.create_dir("c/d").unwrap();
    disk.lose_power();
    assert_eq!(door.read("a/b").unwrap(), b"two");
    assert_eq!(door.list("").unwrap(), ["a", "c"]);
    assert_eq!(door.list("a").unwrap(), ["a", "b"]);
    door.remove("a").unwrap();
    door.remove("a").unwrap();
    assert_eq!(door.read("a/b").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(door.write("../x", b"").unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_full_disk_refuses_and_a_failing_one_errs() {
    let disk = disk(1);
    let file = DiskDoor::new(disk.clone(), Life::begin()).open("f").unwrap();
    let block = BLOCK_BYTES as u64;
    disk.set_faults(DiskFaults { capacity_bytes: Some(2 * block), ..DiskFaults::none() });
    file.set_len(100 * block).expect("a hole takes no room");
    file.write(50 * block - 1, &[1; 2]).expect("two blocks");
    assert_eq!(file.write(0, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write(49 * block, &[1; 2 * BLOCK_BYTES]).expect("no more blocks");
    file.set_len(50 * block).expect("one block is free again");
    file.write(0, &[1; BLOCK_BYTES]).expect("and can be used");
    assert_eq!(file.write(block, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.set_faults(DiskFaults { sync_fails: 1.0, ..DiskFaults::none() });
    assert!(file.sync_data().is_err());
    disk.set_faults(DiskFaults { write_fails: 1.0, ..DiskFaults::none() });
    assert!(file.write(0, &[2; 10]).is_err());
    let mut first = [0];
    file.read(0, &mut first).unwrap();
    assert_eq!(first, [1]);
}

#[test]
fn a_trouble_that_ends_takes_only_its_own_away() {
    let disk = disk(1);
    let door = DiskDoor::new(disk.clone(), Life::begin());
    let file = door.open("f").unwrap();
    file.write(0, &[1; 10]).unwrap();
    disk.trouble(1, DiskTrouble::Full { leaving_bytes: 0 });
    disk.trouble(2, DiskTrouble::Full { leaving_bytes: 2 * BLOCK_BYTES as u64 });
    file.write(10, &[1; 10]).expect("the block is there");
    let far = BLOCK_BYTES as u64;
    assert_eq!(file.write(far, &[1; 10]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(door.write("small", b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.mend(1);
    file.write(far, &[1; 10]).expect("the other one has left room");
    disk.trouble(3, DiskTrouble::Failing(1.0));
    assert!(file.write(0, &[1]).is_err() && file.sync_data().is_err() && disk.has_failed_to_sync());
    disk.recover();
    file.write(9 * far, &[1; 2 * BLOCK_BYTES]).expect("nothing is wrong any more");
    file.sync_data().unwrap();
    assert!(disk.has_failed_to_sync(), "the process remembers");
    disk.begin_life();
    assert!(!disk.has_failed_to_sync());
}

#[test]
fn a_slow_disk_takes_longer_for_each_sync() {
    let disk = disk(1);
    let work = Work { syncs: 3, written_bytes: 0 };
    assert!(disk.time_for(work) < 3 * SYNC_MAX);
    disk.trouble(1, DiskTrouble::Slow(Duration::from_millis(50)));
    assert!(disk.time_for(work) > Duration::from_millis(150));
    disk.mend(1);
    assert!(disk.time_for(work) < 3 * SYNC_MAX);
}

/// A store on a disk that fails now and then, written to as a careful program does: an error, and it is opened anew; a
/// failed sync, and its process begins anew. What was acknowledged is there, whatever happens to the power.
fn survives_a_failing_disk(seed: u64) -> Result<(u32, u32), String> {
    let disk = disk(seed);
    let mut chance = stream(seed, "workload");
    let mut life = Life::begin();
    drop(open(&disk, &life).map_err(|error| error.to_string())?);
    let mut acknowledged = Rows::new();
    let (mut commits, mut errors) = (0, 0);
    for round in 0..30 {
        let trouble = match chance.random_range(0..3) {
            0 => DiskTrouble::Failing(0.05),
            1 => DiskTrouble::Full { leaving_bytes: chance.random_range(0..200_000) },
            _ => DiskTrouble::Slow(Duration::from_millis(1)),
        };
        disk.trouble(round, trouble);
        let changes = plan(&mut chance);
        let next = applied(&changes, &acknowledged);
        let done = open(&disk, &life).is_ok_and(|database| commit(&database, &changes).is_ok());
        disk.mend(round);
        if done {
            (acknowledged, commits) = (next.clone(), commits + 1);
        }
        if disk.has_failed_to_sync() || chance.random_bool(0.2) {
            life.end();
            if chance.random_bool(0.5) {
                disk.lose_power();
            }
            life = Life::begin();
            disk.begin_life();
        }
        let database = open(&disk, &life).map_err(|error| format!("round {round} does not open: {error}"))?;
        let found = rows(&database);
        if found != acknowledged && (done || found != next) {
            return Err(format!("round {round}: the rows are neither the acknowledged ones nor the next"));
        }
        errors += u32::from(!done);
        acknowledged = found;
    }
    Ok((commits, errors))
}

#[test]
fn what_redb_acknowledged_survives_a_failing_and_a_full_disk() {
    let (mut commits, mut errors) = (0, 0);
    for seed in 0..30 {
        let done = survives_a_failing_disk(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        (commits, errors) = (commits + done.0, errors + done.1);
    }
    assert!(commits > 300 && errors > 100, "{commits} commits and {errors} errors prove nothing");
}

#[test]
fn rot_turns_over_one_bit_of_what_was_written() {
    for seed in 0..50 {
        let disk = disk(seed);
        let door = DiskDoor::new(disk.clone(), Life::begin());
        disk.rot();
        door.write("small", b"is not a store").unwrap();
        let file = door.open("f").unwrap();
        file.set_len(20_000).unwrap();
        file.write(10_000, &[0; 100]).unwrap();
        file.sync_data().unwrap();
        disk.rot();
        disk.lose_power();
        let bytes = door.read("f").unwrap();
        let flipped: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        let at = bytes.iter().position(|byte| *byte != 0).expect("one bit");
        assert_eq!(flipped, 1);
        assert!((2 * BLOCK_BYTES..3 * BLOCK_BYTES).contains(&at), "{at} lies in a hole");
        assert_eq!(door.read("small").unwrap(), b"is not a store");
    }
}

/// A control: rot is not harmless, and nobody promises anything yet.
#[test]
fn rot_in_a_store_is_noticed_in_some_seeds() {
    let noticed = |seed| {
        let disk = disk(seed);
        let mut chance = stream(seed, "workload");
        let changes = plan(&mut chance);
        commit(&open(&disk, &Life::begin()).unwrap(), &changes).unwrap();
        (0..20).for_each(|_| disk.rot());
        let read = || open(&disk, &Life::begin()).map(|database| rows(&database));
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
        !matches!(found, Ok(Ok(found)) if found == applied(&changes, &Rows::new()))
    };
    let count = (0..20).filter(|&seed| noticed(seed)).count();
    assert!(count > 5, "only {count} of 20 seeds noticed");
}

#[test]
fn a_lost_disk_is_empty() {
    let disk = disk(1);
    let door = DiskDoor::new(disk.clone(), Life::begin());
    door.write("a/b", b"one").unwrap();
    door.open("f").unwrap().write(0, b"two").unwrap();
    disk.lose();
    assert!(door.list("").unwrap().is_empty());
    assert_eq!(door.open("f").unwrap().len().unwrap(), 0);
}

#[test]
fn a_power_loss_leaves_only_what_was_there_or_what_was_written() {
    for seed in 0..300 {
        let mut chance = stream(seed, "power");
        let mut file = FileBytes::default();
        file.write(0, &[1; 4 * SECTOR_BYTES]);
        file.sync();
        file.resize(SECTOR_BYTES as u64);
        file.resize(8 * SECTOR_BYTES as u64);
        file.write(100, &[2; 2 * SECTOR_BYTES]);
        file.write(50, &[3; 100]);
        let odds = Odds::draw(&mut chance);
        let outcome = file.lose_power(&mut chance, odds);
        assert_eq!(outcome.sectors(), 4);
        for (index, byte) in file.live().iter().enumerate() {
            let possible: &[u8] = match index {
                50..100 => &[1, 3],
                100..150 => &[1, 2, 3],
                150..512 => &[1, 2],
                512..1124 => &[0, 1, 2],
                _ => &[0, 1],
            };
            assert!(possible.contains(byte), "seed {seed}: byte {index} is {byte}");
        }
        if odds.kept == 0.0 {
            assert!(file.live().iter().all(|byte| [0, 1].contains(byte)));
        }
    }
}

#[test]
fn without_writes_a_power_loss_changes_nothing() {
    let mut file = FileBytes::default();
    file.write(10, &[7; 2_000]);
    file.sync();
    let before = file.live().to_vec();
    let outcome = file.lose_power(&mut stream(1, "power"), Odds { kept: 0.5, torn: 0.5 });
    assert_eq!((file.live(), outcome.sectors()), (before.as_slice(), 0));
}
