//! The simulated world, scenario files and judges.
