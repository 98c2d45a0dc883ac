//! One client's session.
pub mod copy;
pub mod databases;
pub mod overlay;
pub mod refused;
