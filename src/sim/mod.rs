//! The simulated world, scenario files and judges.
//!
//! The world stands behind the same [`Host`](crate::host::Host) as the operating system does, so a node cannot
//! tell. Everything in it follows from one seed.
//!
//! Reading order: [`world`] (machines, processes, faults, runs), then what it is made of: [`time`], [`net`],
//! [`disk`], [`clock`], [`tasks`], [`life`], [`chance`], [`record`]. The headers of `net`, `disk` and `clock` are
//! the fault model: what is injected, and what the system promises under it.

pub mod chance;
pub mod clock;
pub mod disk;
pub mod fingerprint;
pub mod life;
pub mod net;
pub mod record;
pub mod tasks;
pub mod time;
mod warm_up;
pub mod world;

pub use world::{Run, World, WorldConfig, run_simulation, simulate};
