//! The simulated world, scenario files and judges.
//!
//! Reading order: [`world`] (machines, processes, faults, runs), then what it is made of: [`time`], [`net`],
//! [`disk`], [`clock`], [`tasks`], [`life`], [`chance`], [`record`], [`fingerprint`]; `warm_up` comes before the first
//! run of a process; [`fork`] and [`workers`] give every run a process of its own. The headers of `net`, `disk` and `clock` are
//! the fault model: what is injected, and what the system promises under it.
//!
//! On top of it: [`scenario`] (the language, and the runner that plays it), [`history`] and [`checker`] (what judges
//! have in common), [`picture`] (what a run looked like), [`shrink`] (less of it), [`why`] (when it went wrong).
//!
//! Nothing here knows what system runs in the world: hypertables are in `trial`.

pub mod chance;
pub mod checker;
pub mod clock;
pub mod disk;
pub mod fingerprint;
pub mod fork;
pub mod history;
pub mod life;
pub mod net;
pub mod picture;
pub mod record;
pub mod scenario;
pub mod shrink;
pub mod tasks;
pub mod time;
pub mod warm_up;
pub mod why;
pub mod workers;
pub mod world;

pub use world::{Run, World, WorldConfig, run_simulation, simulate};
