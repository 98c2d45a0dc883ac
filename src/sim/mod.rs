//! The simulated world, scenario files and judges.

pub mod chance;
pub mod clock;
pub mod disk;
pub mod fingerprint;
pub mod life;
pub mod record;
pub mod time;
