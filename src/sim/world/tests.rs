//! A toy service in a rough world: what a crash undoes, what it cannot, and that a seed is a run.

use super::*;
use crate::host::StoreFile;
use crate::probe;
use rand::Rng;
use redb::{Builder, Database, ReadableDatabase, TableDefinition};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TABLE: TableDefinition<u64, u64> = TableDefinition::new("acknowledged");
const PORT: u16 = 5432;

fn store(host: &Host) -> Database {
    let file = host.disk().open("store.redb").unwrap();
    Builder::new().set_cache_size(1 << 20).create_with_backend(StoreFile::new(file)).unwrap()
}

fn put(store: &Database, key: u64) -> Result<(), redb::Error> {
    let write = store.begin_write()?;
    write.open_table(TABLE)?.insert(key, 1)?;
    Ok(write.commit()?)
}

fn holds(store: &Database, key: u64) -> bool {
    let read = store.begin_read().unwrap();
    read.open_table(TABLE).is_ok_and(|table| table.get(key).unwrap().is_some())
}

/// Stores each number it is sent, durably, and says it back.
async fn counter(host: Host) {
    let store = Arc::new(store(&host));
    let mut listener = host.net().listen("0.0.0.0", PORT).await.unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (host, store) = (host.clone(), store.clone());
        host.clone().spawn("session", async move {
            while let Ok(key) = stream.read_u64().await {
                probe!(host, "counter.received");
                let (worker, store) = (host.clone(), store.clone());
                let stored = move || {
                    probe!(worker, "counter.storing");
                    let stored = put(&store, key);
                    probe!(worker, "counter.stored");
                    stored
                };
                if host.blocking(stored).await.is_err() || stream.write_u64(key).await.is_err() {
                    break;
                }
                probe!(host, "counter.acknowledged");
            }
        });
    }
}

/// Sends numbers until `until`; what was said back was stored.
async fn count(host: Host, server: &str, first: u64, until: Duration, acknowledged: Arc<Mutex<Vec<u64>>>) {
    let mut key = first;
    while host.monotonic() < until {
        let Ok(Ok(mut stream)) = host.timeout(Duration::from_secs(1), host.net().connect(server, PORT)).await else {
            host.sleep(Duration::from_millis(100)).await;
            continue;
        };
        loop {
            key += 1;
            let asked = async {
                stream.write_u64(key).await?;
                stream.read_u64().await
            };
            match host.timeout(Duration::from_secs(1), asked).await {
                Ok(Ok(answer)) => lock(&acknowledged).push(answer),
                _ => break,
            }
            host.sleep(Duration::from_millis(host.random_u64() % 50)).await;
        }
    }
}

/// Two servers, three clients, faults of every kind for twenty seconds, then a check. Returns how many numbers
/// were acknowledged.
async fn rough_weather(world: World, sync_lies: f64) -> usize {
    world.start("dn1", counter);
    world.start("dn2", counter);
    for node in ["dn1", "dn2"] {
        world.disk(node).set_faults(DiskFaults { sync_lies, ..DiskFaults::none() });
    }
    let until = Duration::from_secs(20);
    let books: Vec<Arc<Mutex<Vec<u64>>>> = (0..3).map(|_| Arc::default()).collect();
    for (index, book) in books.iter().enumerate() {
        let host = world.node(&format!("client{index}"));
        let server = ["dn1", "dn2", "dn1.example.com"][index];
        let work = count(host.clone(), server, index as u64 * 1_000_000, until, book.clone());
        host.spawn("client", work);
    }
    world.strike_at_node("dn2", "counter.stored", 40, Fault::bounce("dn2", Crash::PowerLoss, Duration::from_secs(1)));
    let mut chance = world.stream("faults");
    while world.elapsed() < until {
        world.sleep(Duration::from_millis(chance.random_range(100..2_000))).await;
        let node = ["dn1", "dn2"][chance.random_range(0..2)];
        let how = if chance.random_bool(0.5) { Crash::PowerLoss } else { Crash::Process };
        match chance.random_range(0..6) {
            0 => world.inflict(&Fault::bounce(node, how, Duration::from_millis(500))),
            1 => world.partition(&[node], &["client0", "client1", "client2"]),
            2 => world.partition_one_way(&[node], &["client0"]),
            3 => world.set_clock(node, ClockFault::Step(chance.random_range(-5_000_000..5_000_000))),
            4 => world.pause(node),
            _ => {
                world.heal();
                world.resume("dn1");
                world.resume("dn2");
            }
        }
    }
    for node in ["dn1", "dn2"] {
        world.crash(node, Crash::PowerLoss);
    }
    let mut total = 0;
    for (index, book) in books.iter().enumerate() {
        let node = ["dn1", "dn2", "dn1"][index];
        world.crash(node, Crash::Process);
        let store = store(&world.inspect(node));
        for key in lock(book).iter() {
            assert!(holds(&store, *key), "{key} was acknowledged and is gone");
        }
        total += lock(book).len();
    }
    total
}

fn rough_run(seed: u64) -> Run<usize> {
    simulate(seed, WorldConfig::default(), |world| rough_weather(world, 0.0))
}

#[test]
fn acknowledged_numbers_survive_rough_weather() {
    let mut total = 0;
    for seed in 0..10 {
        let run = rough_run(seed);
        total += run.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    assert!(total > 500, "only {total} numbers: the weather was too rough to prove anything");
}

#[test]
fn a_process_that_ends_by_itself_is_started_again_unless_its_machine_is_down() {
    let config = WorldConfig { supervised: Some(Duration::from_secs(1)), ..WorldConfig::default() };
    run_simulation(1, config, |world| async move {
        let lives = Arc::new(AtomicU32::new(0));
        let counted = lives.clone();
        world.start("dn1", move |host| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { host.sleep(Duration::from_secs(1)).await }
        });
        world.sleep(Duration::from_millis(9_500)).await;
        assert_eq!(lives.load(Ordering::Relaxed), 5);
        assert!(!world.is_up("dn1"), "it has just ended");
        world.crash("dn1", Crash::PowerLoss);
        world.sleep(Duration::from_secs(60)).await;
        assert_eq!(lives.load(Ordering::Relaxed), 5);
    });
}

#[test]
fn a_process_that_a_sync_has_failed_is_started_anew_when_the_disk_is_in_order() {
    run_simulation(3, WorldConfig::default(), |world| async move {
        let lives = Arc::new(AtomicU32::new(0));
        let counted = lives.clone();
        world.start("dn1", move |host| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                let file = host.disk().open("f").unwrap();
                loop {
                    let _ = file.write(0, b"x").and_then(|()| file.sync_data());
                    host.sleep(Duration::from_millis(100)).await;
                }
            }
        });
        let on_dn1 = |trouble| Fault::DiskTrouble { whom: Whom::Node("dn1".into()), trouble };
        let for_a_second = |fault| Fault::For(Duration::from_secs(1), Box::new(fault));
        world.inflict(&for_a_second(on_dn1(DiskTrouble::Full { leaving_bytes: 0 })));
        world.sleep(Duration::from_secs(2)).await;
        assert_eq!(lives.load(Ordering::Relaxed), 1, "no sync has failed");
        world.inflict(&for_a_second(on_dn1(DiskTrouble::Failing(0.9))));
        world.sleep(Duration::from_secs(2)).await;
        assert_eq!(lives.load(Ordering::Relaxed), 2);
        world.inflict(&on_dn1(DiskTrouble::Failing(0.9)));
        world.sleep(Duration::from_secs(2)).await;
        world.recover();
        world.sleep(Duration::from_secs(2)).await;
        assert_eq!(lives.load(Ordering::Relaxed), 3);
        world.inflict(&for_a_second(Fault::LoseDisk { whom: Whom::Node("dn1".into()) }));
        assert!(!world.is_up("dn1"));
        world.sleep(Duration::from_millis(1_500)).await;
        assert_eq!(world.node("dn1").disk().list("").unwrap(), ["f"], "made again by the next life");
    });
}

#[test]
fn the_same_weather_over_lying_disks_is_noticed() {
    let lying = |seed| simulate(seed, WorldConfig::default(), |world| rough_weather(world, 1.0));
    let noticed = (0..5).filter(|&seed| lying(seed).result.is_err()).count();
    assert!(noticed >= 4, "only {noticed} of 5 seeds noticed");
}

#[test]
fn a_seed_is_a_run() {
    let first = rough_run(1);
    let again = rough_run(1);
    assert_eq!(first.kept, again.kept, "the same last events");
    assert_eq!(first.fingerprint, again.fingerprint, "twice in one process");
    assert_eq!((first.events, first.simulated, &first.probes), (again.events, again.simulated, &again.probes));

    let others: Vec<u64> = (2..6).map(|seed| rough_run(seed).fingerprint).collect();
    assert!(!others.contains(&first.fingerprint), "other seeds, other runs");
    assert_eq!(rough_run(1).fingerprint, first.fingerprint, "after other seeds");
}

#[test]
fn a_turn_leaves_what_came_before_it_and_changes_what_comes_after() {
    let run = |turn| {
        let config = WorldConfig { keep_events: usize::MAX, turn, ..WorldConfig::default() };
        simulate(7, config, |world| rough_weather(world, 0.0))
    };
    let turned = |salt| run(Some(Turn { at: Duration::from_secs(3), salt }));
    let (plain, control, one, again, two) = (run(None), turned(0), turned(1), turned(1), turned(2));
    assert_eq!((control.fingerprint, control.events), (plain.fingerprint, plain.events));
    assert_eq!(one.fingerprint, again.fingerprint);
    assert_ne!(one.fingerprint, plain.fingerprint);
    assert_ne!(one.fingerprint, two.fingerprint);
    let until = |run: &Run<usize>, at: Duration| -> Vec<String> {
        run.kept.iter().filter(|moment| moment.at < at).map(ToString::to_string).collect()
    };
    assert_eq!(until(&one, Duration::from_secs(3)), until(&plain, Duration::from_secs(3)));
    assert_ne!(until(&one, Duration::from_secs(6)), until(&plain, Duration::from_secs(6)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is about threads")]
fn runs_in_parallel_threads_do_not_disturb_each_other() {
    let alone: Vec<u64> = (1..5).map(|seed| rough_run(seed).fingerprint).collect();
    let threads: Vec<_> = (1..5).map(|seed| std::thread::spawn(move || rough_run(seed).fingerprint)).collect();
    let together: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(alone, together);
}

#[test]
fn seeds_are_the_same_runs_in_the_opposite_order() {
    let forwards: Vec<u64> = (1..5).map(|seed| rough_run(seed).fingerprint).collect();
    let mut backwards: Vec<u64> = (1..5).rev().map(|seed| rough_run(seed).fingerprint).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
}

/// Entropy, the keys of the standard library's hash maps, both clocks, the number of processors.
#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the test is about what libraries do")]
fn what_libraries_ask_the_system_is_answered_from_the_seed() {
    let ask = |seed| {
        run_simulation(seed, WorldConfig::default(), |world| async move {
            let mut bytes = [0_u8; 16];
            // SAFETY: the buffer is as long as it says.
            assert_eq!(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) }, 16);
            let order: Vec<u32> = (0..50).collect::<std::collections::HashSet<u32>>().into_iter().collect();
            let (started, clock) = (std::time::Instant::now(), std::time::SystemTime::now());
            world.sleep(Duration::from_secs(5)).await;
            let passed = (started.elapsed(), clock.elapsed().unwrap());
            assert!(
                passed.0.as_secs() == 5 && passed.1.as_secs() == 5,
                "simulated time, not the machine's: {passed:?}"
            );
            (bytes, order, passed, clock, std::thread::available_parallelism().unwrap())
        })
    };
    let (first, again, other) = (ask(1), ask(1), ask(2));
    assert_eq!(first, again);
    assert!(first.0 != other.0 && first.1 != other.1, "another seed, other answers");
}

#[test]
fn a_crash_at_a_probe_undoes_everything_after_it() {
    run_simulation(5, WorldConfig::default(), |world| async move {
        let seen = Arc::new(AtomicU32::new(0));
        let after = seen.clone();
        let strike = world.strike_at("toy.now", 2, Fault::Crash { whom: Whom::Striker, how: Crash::Process });
        world.start("dn2", |host| async move {
            let mut listener = host.net().listen("0.0.0.0", PORT).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            host.disk().write("received", &received).unwrap();
            std::future::pending::<()>().await;
        });
        world.start("dn1", move |host| {
            let after = after.clone();
            async move {
                let mut stream = loop {
                    match host.net().connect("dn2", PORT).await {
                        Ok(stream) => break stream,
                        Err(_) => host.sleep(Duration::from_millis(1)).await,
                    }
                };
                let store = store(&host);
                put(&store, 1).unwrap();
                stream.write_all(b"before").await.unwrap();
                probe!(host, "toy.now");
                probe!(host, "toy.now");
                // Still the same poll: the code runs, the world does not move.
                assert!(put(&store, 2).is_err());
                assert!(host.disk().write("small", b"x").is_err());
                let task = after.clone();
                host.spawn("never", async move {
                    task.fetch_add(100, Ordering::Relaxed);
                });
                probe!(host, "toy.now");
                after.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b"after").await;
                after.fetch_add(10, Ordering::Relaxed);
            }
        });
        assert!(world.until(Duration::from_secs(10), || world.has_struck(strike)).await);
        assert!(!world.is_up("dn1"));
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(seen.load(Ordering::Relaxed), 1, "the code ran to its next await and no further");
        assert_eq!(world.node("dn2").disk().read("received").unwrap(), b"before");
        assert_eq!(world.probe_hits()[&("dn1".to_string(), "toy.now")], 2);

        let store = store(&world.inspect("dn1"));
        assert!(holds(&store, 1) && !holds(&store, 2));
    });
}

#[test]
fn what_dies_with_a_node_may_panic_without_failing_the_run() {
    struct Sore;
    impl Drop for Sore {
        fn drop(&mut self) {
            panic!("a destructor that finds its node dead");
        }
    }
    let run = simulate(5, WorldConfig::default(), |world| async move {
        world.strike_at("toy.now", 1, Fault::Crash { whom: Whom::Striker, how: Crash::PowerLoss });
        world.start("dn1", |host| async move {
            host.spawn("sore", async move {
                let _sore = Sore;
                std::future::pending::<()>().await;
            });
            host.sleep(Duration::from_millis(1)).await;
            probe!(host, "toy.now");
            host.disk().write("small", b"x").expect("the disk of a dead node refuses");
        });
        world.sleep(Duration::from_secs(1)).await;
        world.is_up("dn1")
    });
    assert_eq!(run.result, Ok(false));
}

#[test]
fn a_panic_on_a_node_fails_the_run_by_name() {
    let run = simulate(5, WorldConfig::default(), |world| async move {
        let host = world.node("dn7");
        host.spawn("accident", {
            let host = host.clone();
            async move {
                host.sleep(Duration::from_secs(3)).await;
                panic!("two and two are {}", 5);
            }
        });
        world.sleep(Duration::from_secs(10)).await;
    });
    let failure = run.result.unwrap_err();
    assert_eq!((failure.node.as_deref(), failure.task), (Some("dn7"), "accident"));
    assert_eq!(failure.message, "two and two are 5");
    assert_eq!(failure.at.as_secs(), 3);
}

#[test]
fn a_story_that_fails_or_never_ends_is_a_failed_run() {
    let failed = simulate(5, WorldConfig::default(), |_| async move { assert_eq!(1, 2, "checked") });
    assert!(failed.result.unwrap_err().message.contains("checked"));
    let config = WorldConfig { time_limit: Duration::from_secs(60), ..WorldConfig::default() };
    let endless = simulate(5, config, |world| async move {
        loop {
            world.sleep(Duration::from_secs(1)).await;
        }
    });
    let failure: Failure = Result::<(), Failure>::unwrap_err(endless.result);
    assert!(failure.message.contains("time limit"), "{failure}");
    let stuck = simulate(5, WorldConfig::default(), |_| std::future::pending::<()>());
    assert!(stuck.result.is_err());
}

#[test]
fn clocks_differ_by_node_and_true_time_starts_as_configured() {
    run_simulation(5, WorldConfig::default(), |world| async move {
        let (an, dn) = (world.node("an"), world.node("dn1"));
        assert_eq!(an.utc_micros(), world.true_utc_micros());
        assert_eq!(an.utc_micros() / 1_000_000, 1_704_067_200);
        world.set_clock("dn1", ClockFault::Step(-3_600_000_000));
        let before = (dn.utc_micros(), dn.monotonic());
        assert_eq!(world.true_utc_micros() - before.0, 3_600_000_000);
        world.sleep(Duration::from_secs(10)).await;
        assert!(dn.monotonic() - before.1 >= Duration::from_secs(10));
        world.crash("dn1", Crash::PowerLoss);
        let dn = world.node("dn1");
        assert!(dn.utc_micros() < an.utc_micros(), "a wrong clock stays wrong across a restart");
        world.set_clock("dn1", ClockFault::Correct);
        assert_eq!(dn.utc_micros(), an.utc_micros());
    });
}

#[test]
fn a_main_task_that_ends_is_an_exit() {
    run_simulation(5, WorldConfig::default(), |world| async move {
        world.start("dn1", |host| async move {
            let mut listener = host.net().listen("0.0.0.0", PORT).await.unwrap();
            listener.accept().await.unwrap();
        });
        let client = world.node("client");
        let mut stream = loop {
            match client.net().connect("dn1", PORT).await {
                Ok(stream) => break stream,
                Err(_) => client.sleep(Duration::from_millis(1)).await,
            }
        };
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(!world.is_up("dn1"));
    });
}

#[test]
fn work_goes_on_when_nobody_waits_for_it_any_more() {
    run_simulation(5, WorldConfig::default(), |world| async move {
        let host = world.node("dn1");
        let store = Arc::new(store(&host));
        let shared = store.clone();
        let commit = host.blocking(move || put(&shared, 9).unwrap());
        assert!(host.timeout(Duration::from_nanos(1), commit).await.is_err());
        world.sleep(Duration::from_secs(1)).await;
        assert!(holds(&store, 9));
    });
}

#[test]
fn a_busy_task_with_a_long_deadline_leaves_no_timers_behind() {
    run_simulation(5, WorldConfig::default(), |world| async move {
        let host = world.node("dn1");
        let busy = async {
            for _ in 0..1_000 {
                host.sleep(Duration::from_micros(10)).await;
            }
        };
        host.timeout(Duration::MAX, busy).await.unwrap();
        assert!(world.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_run_leaves_nothing_behind() {
    let token = Arc::new(());
    let held = token.clone();
    let run = simulate(5, WorldConfig::default(), move |world| async move {
        world.strike_at("never", 1, Fault::Heal);
        let main = held.clone();
        world.start("dn1", move |host| {
            let main = main.clone();
            async move {
                let _main = main;
                counter(host).await;
            }
        });
        let host = world.node("client");
        let waits = held.clone();
        host.clone().spawn("waits for an answer that never comes", async move {
            let _waits = waits;
            host.sleep(Duration::from_millis(10)).await;
            let mut stream = host.net().connect("dn1", PORT).await.unwrap();
            let _ = stream.read_u8().await;
        });
        let world_held = world.clone();
        world.spawn(async move {
            let _held = held;
            world_held.sleep(Duration::MAX).await;
        });
        world.sleep(Duration::from_secs(1)).await;
        panic!("even when it fails");
    });
    assert!(Result::<(), Failure>::is_err(&run.result));
    assert_eq!(Arc::strong_count(&token), 1);
}
