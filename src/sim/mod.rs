//! The simulated world, scenario files and judges.
//!
//! Reading order: [`world`] (machines, processes, faults, runs), then what it is made of: [`time`], [`net`],
//! [`disk`], [`clock`], [`tasks`], [`life`], [`chance`], [`record`], [`fingerprint`]; `warm_up` comes before the first
//! run of a process. The headers of `net`, `disk` and `clock` are
//! the fault model: what is injected, and what the system promises under it.
//!
//! On top of it: [`scenario`] (the language), [`stage`] (where a scenario is played), [`workload`] and [`history`]
//! (what clients do and see), [`observe`] (what is there in the end), [`checker`] (the judges), [`report`] and [`golden`] (what a run leaves behind),
//! [`picture`] (what it looked like).

pub mod chance;
pub mod checker;
pub mod clock;
pub mod disk;
pub mod fingerprint;
pub mod golden;
pub mod history;
pub mod life;
pub mod net;
pub mod observe;
pub mod picture;
pub mod record;
pub mod report;
pub mod scenario;
pub mod stage;
pub mod tasks;
pub mod time;
mod warm_up;
pub mod workload;
pub mod world;

pub use world::{Run, World, WorldConfig, run_simulation, simulate};
