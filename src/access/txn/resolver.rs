//! The resolver: finishes what a crash or a lost connection left prepared.
