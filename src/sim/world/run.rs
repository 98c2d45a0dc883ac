//! From a seed to a verdict: one run on a thread of its own.

use super::{Failure, Fires, World, WorldConfig, lock};
use crate::sim::record::Moment;
use crate::sim::tasks::panic_message;
use crate::sim::warm_up;
use crate::{buggify, probe, sabotage};
use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

/// What is left of a run.
#[derive(Debug)]
pub struct Run<T> {
    pub seed: u64,
    /// What the story returned, or the first panic: of the story or of any node's task. Running out of simulated
    /// time and coming to a standstill are panics too.
    pub result: Result<T, Failure>,
    /// Equal for equal runs.
    pub fingerprint: u64,
    /// How many events the fingerprint covers.
    pub events: u64,
    /// How many faults came to pass: crashes, cuts, jumps of clocks ….
    pub faults: u64,
    /// Simulated time that passed.
    pub simulated: Duration,
    /// The last events, as many as the configuration says.
    pub kept: Vec<Moment>,
    /// How often each node reached each probe.
    pub probes: BTreeMap<(String, &'static str), u64>,
    /// How often all nodes together came to each point of [`buggify`](crate::buggify), and how often it fired.
    pub buggify: BTreeMap<&'static str, Fires>,
    /// How often all nodes together came to each planted bug.
    pub sabotage: sabotage::Hits,
}

/// Stack of the run's thread. Planning deep queries recurses; only touched pages cost memory.
const STACK_BYTES: usize = 256 << 20;

/// Runs `story` in a new world. Any number may run at once, each on its own thread.
///
/// Must not be called from inside a simulation.
pub fn simulate<T, Story, Work>(seed: u64, config: WorldConfig, story: Story) -> Run<T>
where
    T: Send + 'static,
    Story: FnOnce(World) -> Work + Send + 'static,
    Work: Future<Output = T>,
{
    warm_up::warm_up();
    on_fresh_thread(move || run_here(seed, config, story))
}

/// As [`simulate`], for tests: returns what the story returns, panics with the seed if the run fails.
pub fn run_simulation<T, Story, Work>(seed: u64, config: WorldConfig, story: Story) -> T
where
    T: Send + 'static,
    Story: FnOnce(World) -> Work + Send + 'static,
    Work: Future<Output = T>,
{
    let run = simulate(seed, config, story);
    match run.result {
        Ok(value) => value,
        Err(failure) => {
            let last: Vec<String> = run.kept.iter().rev().take(30).rev().map(Moment::to_string).collect();
            panic!("seed {seed}: {failure}\nthe last events:\n{}", last.join("\n"))
        }
    }
}

/// A fresh thread, because madsim seeds the standard library's hash maps once per thread.
#[expect(clippy::disallowed_methods, reason = "the thread is that of the simulation itself")]
pub(in crate::sim) fn on_fresh_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().name("simulation".to_string()).stack_size(STACK_BYTES);
    let work = move || {
        // Parser and planner ask how much stack is left. The answer is found out once a thread, by a call that madsim
        // refuses inside a simulation; without it every deep call would get a new stack of its own from the kernel.
        let _ = stacker::remaining_stack();
        work()
    };
    let thread = thread.spawn(work).expect("a thread can be started; simulations do not nest");
    thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

pub(in crate::sim) fn run_here<T, Story, Work>(seed: u64, config: WorldConfig, story: Story) -> Run<T>
where
    Story: FnOnce(World) -> Work,
    Work: Future<Output = T>,
{
    let planted = sabotage::plant(&config.sabotage);
    let mut runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.set_time_limit(config.time_limit);
    let world = OnceLock::new();
    let told = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let world = world.get_or_init(|| World::new(seed, config));
            world.watch_probes();
            world.watch_points();
            story(world.clone()).await
        })
    }));
    let world: World = world.into_inner().expect("building a world does not panic");
    let run = verdict(&world, told, planted.hits());
    runtime.set_time_limit(Duration::MAX);
    clean_up(&runtime, &world);
    run
}

fn verdict<T>(world: &World, told: Result<T, Box<dyn Any + Send>>, sabotage: sabotage::Hits) -> Run<T> {
    let simulated = world.elapsed();
    let result =
        told.map_err(|payload| Failure { node: None, task: "main", message: panic_message(&*payload), at: simulated });
    // A node's panic is what ended the run, whatever the story then made of it.
    let result = match lock(&world.0.failure).take() {
        Some(failure) => Err(failure),
        None => result,
    };
    let recorder = world.recorder();
    Run {
        seed: world.seed(),
        result,
        fingerprint: recorder.fingerprint(),
        events: recorder.events(),
        faults: recorder.faults(),
        simulated,
        kept: recorder.kept(),
        probes: world.probe_hits(),
        buggify: world.fires(),
        sabotage,
    }
}

/// Has the executor drop every task. A task that waits for a message is held by the waker that the network holds,
/// and holds the network: without this each run would leak its world.
fn clean_up(runtime: &madsim::runtime::Runtime, world: &World) {
    let cleaned = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            world.tear_down();
            madsim::time::sleep(Duration::from_millis(1)).await;
        });
    }));
    probe::set_hook(None);
    buggify::set_hook(None);
    // What a task's destructor says after the verdict is of no interest.
    drop(cleaned);
}
