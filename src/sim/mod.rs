//! The simulated world, scenario files and judges.
//!
//! Reading order: [`world`] (a deterministic world of nodes: [`net`], [`disk`], [`clock`]), [`scenario`] (the
//! language), [`stage`] (where a scenario is played), [`workload`] and [`history`] (what clients do and see),
//! [`checker`] (the judges), [`report`] (what a run prints).

pub mod checker;
pub mod history;
pub mod observe;
pub mod scenario;
pub mod stage;
pub mod workload;
