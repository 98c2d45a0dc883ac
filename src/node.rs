//! A server over a host: listener, databases, background tasks.
