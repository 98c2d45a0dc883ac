//! tokio and the operating system.
