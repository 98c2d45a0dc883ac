//! Thousands of simulated worlds in one process leave nothing behind. A test binary of its own, with this one test in it:
//! whatever ran beside it would be counted, too.

#![expect(clippy::disallowed_methods, reason = "the test stands outside the nodes: it looks at its own process")]

use hypertile::sim::record::Crash;
use hypertile::sim::world::{Fault, World, WorldConfig, simulate};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Counts the bytes that are in use.
struct Counting;

static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

fn count(bytes: usize) {
    LIVE_BYTES.fetch_add(bytes as i64, Ordering::Relaxed);
}

fn discount(bytes: usize) {
    LIVE_BYTES.fetch_sub(bytes as i64, Ordering::Relaxed);
}

// SAFETY: the system's allocator does it all; only numbers are counted besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        discount(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        discount(layout.size());
        count(new_size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Resident memory of this process in kilobytes.
fn resident_kilobytes() -> i64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of kB")
}

const PORT: u16 = 7;

/// Echoes, and keeps the last byte in a store and in a small file.
async fn echo(host: hypertile::host::Host) {
    let file = host.disk().open("store").expect("the disk is well");
    let mut listener = host.net().listen("0.0.0.0", PORT).await.expect("nobody else listens");
    while let Ok((mut stream, _)) = listener.accept().await {
        while let Ok(byte) = stream.read_u8().await {
            let kept = file.write(0, &[byte; 700]).and_then(|()| file.sync_data());
            if kept.and_then(|()| host.disk().write("small", &[byte])).is_err() || stream.write_u8(byte).await.is_err()
            {
                break;
            }
        }
    }
}

/// Nodes, traffic, disks, crashes, and much that is still under way when the story ends: tasks that wait for a message,
/// bytes that a partition holds up, a fault that never strikes, a task outside all nodes.
async fn story(world: World) {
    for name in ["n0", "n1", "n2"] {
        world.start(name, echo);
    }
    for (index, server) in ["n0", "n1", "n2"].into_iter().enumerate() {
        let host = world.node(&format!("client{index}"));
        host.clone().spawn("talk", async move {
            loop {
                if let Ok(mut stream) = host.net().connect(server, PORT).await {
                    while stream.write_u8(1).await.is_ok() && stream.read_u8().await.is_ok() {
                        host.sleep(Duration::from_millis(5)).await;
                    }
                }
                host.sleep(Duration::from_millis(10)).await;
            }
        });
    }
    world.strike_at("never", 1, Fault::Heal);
    world.inflict(&Fault::After(Duration::from_secs(3600), Box::new(Fault::Heal)));
    world.inflict(&Fault::After(
        Duration::from_millis(20),
        Box::new(Fault::bounce("n0", Crash::PowerLoss, Duration::from_millis(20))),
    ));
    world.inflict(&Fault::After(Duration::from_millis(60), Box::new(Fault::crash("n1", Crash::Process))));
    world.sleep(Duration::from_millis(80)).await;
    world.partition(&["n2"], &["client2"]);
    world.pause("n0");
    let outside = world.clone();
    world.spawn(async move { outside.sleep(Duration::MAX).await });
    world.sleep(Duration::from_millis(20)).await;
}

/// So many worlds, of which every fiftieth ends with a panic.
fn worlds(seeds: std::ops::Range<u64>) -> u64 {
    let mut events = 0;
    for seed in seeds {
        let run = simulate(seed, WorldConfig::default(), move |world| async move {
            story(world).await;
            assert!(!seed.is_multiple_of(50), "on purpose");
        });
        assert_eq!(run.result.is_err(), seed.is_multiple_of(50), "{:?}", run.result);
        events += run.events;
    }
    events
}

/// Worlds in each of the two halves that are compared.
const HALF: u64 = 1_500;

#[test]
fn thousands_of_worlds_in_one_process_leave_nothing_behind() {
    // Panics on purpose, thousands of them, need not be read.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some("simulation") {
            told(panic);
        }
    }));
    // What is made once and kept: lazies of libraries, the allocator's arenas.
    worlds(0..HALF / 5);
    let measure = || (LIVE_BYTES.load(Ordering::Relaxed), resident_kilobytes());
    let before = measure();
    let events = worlds(0..HALF);
    let between = measure();
    worlds(HALF..2 * HALF);
    let after = measure();
    println!("live bytes and resident kB: {before:?}, {between:?}, {after:?}; {events} events in a half");
    assert!(events > 100 * HALF, "only {events} events: these worlds prove nothing");
    // A world that leaks holds at least its network and a few tasks, some kilobytes.
    let grown = (after.0 - between.0).max(between.0 - before.0);
    assert!(grown < 16 * HALF as i64, "{grown} bytes grown in {HALF} worlds");
    let resident = after.1 - between.1;
    assert!(resident < 8 * 1024, "{resident} kB grown in {HALF} worlds");
}
