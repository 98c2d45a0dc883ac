//! The simulated world, scenario files and judges.
//!
//! Reading order: [`world`] (a deterministic world of nodes: [`net`], [`disk`], [`clock`], all chance from [`chance`],
//! all events into [`record`]), [`scenario`] (the language), [`stage`] (where a scenario is played), [`workload`] and
//! [`history`] (what clients do and see), [`checker`] (the judges), [`report`] (what a run prints).

pub mod chance;
pub mod checker;
pub mod clock;
pub mod disk;
pub mod fingerprint;
pub mod history;
pub mod life;
pub mod observe;
pub mod record;
pub mod scenario;
pub mod stage;
pub mod time;
pub mod workload;
