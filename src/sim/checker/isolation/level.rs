//! Names: of anomalies, and of the levels that forbid them.

use std::fmt;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A read shows a value that nobody appended.
    GarbageRead,
    /// A read shows a value twice.
    DuplicateElements,
    /// Two reads of a key, neither of which is the beginning of the other.
    IncompatibleOrder,
    /// A transaction does not see its own appends, sees them before it made them, or they came in another order.
    Internal,
    /// A transaction that read a key twice saw something else, though it had not touched it.
    UnrepeatableRead,
    /// G1a: a committed transaction read what a failed one had appended.
    AbortedRead,
    /// G1b: a transaction read what another appended before it appended more to the same key.
    IntermediateRead,
    /// A committed transaction appended behind a value of a failed one.
    DirtyUpdate,
    /// Several transactions read the same version of a key and then appended to it.
    LostUpdate,
    /// Dependencies go in a circle.
    Cycle(Cycle, Scope),
}

/// Cycles by the kinds of their edges, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cycle {
    /// Only `ww`.
    G0,
    /// `ww` and `wr`.
    G1c,
    /// Exactly one `rw`.
    GSingle,
    /// Several `rw`, never two in succession.
    GNonadjacent,
    /// Several `rw`, some of them in succession.
    G2Item,
}

/// Which dependencies a cycle needs; a name without suffix needs none but those of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Data,
    Process,
    Realtime,
}

/// What a system promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Adya's PL-2.
    ReadCommitted,
    /// PL-SI: a transaction reads one instant, and nobody else changes what it changes.
    SnapshotIsolation,
    /// Moreover, that instant is not before the transaction began: whatever had been acknowledged is seen (Daudjee and
    /// Salem, "Lazy Database Replication with Snapshot Isolation", VLDB 2006).
    StrongSnapshotIsolation,
    /// PL-3, as far as single keys go.
    Serializable,
    /// Moreover, in an order that agrees with real time.
    StrictSerializable,
}

impl Level {
    pub fn proscribes(self, kind: Kind) -> bool {
        let snapshots = self >= Level::SnapshotIsolation;
        match kind {
            Kind::GarbageRead
            | Kind::DuplicateElements
            | Kind::IncompatibleOrder
            | Kind::Internal
            | Kind::AbortedRead
            | Kind::IntermediateRead
            | Kind::DirtyUpdate => true,
            Kind::UnrepeatableRead | Kind::LostUpdate => snapshots,
            Kind::Cycle(cycle, scope) => cycle <= self.mildest_proscribed() && scope <= self.scope(),
        }
    }

    /// The mildest cycle that the level forbids.
    fn mildest_proscribed(self) -> Cycle {
        match self {
            Level::ReadCommitted => Cycle::G1c,
            // Snapshot isolation is exactly the absence of cycles without two `rw` in succession: Fekete, Liarokapis,
            // O'Neil, O'Neil and Shasha, "Making Snapshot Isolation Serializable", TODS 2005; Cerone and Gotsman,
            // "Analysing Snapshot Isolation", PODC 2016.
            Level::SnapshotIsolation | Level::StrongSnapshotIsolation => Cycle::GNonadjacent,
            Level::Serializable | Level::StrictSerializable => Cycle::G2Item,
        }
    }

    /// The dependencies that count.
    pub(super) fn scope(self) -> Scope {
        match self {
            Level::ReadCommitted | Level::SnapshotIsolation | Level::Serializable => Scope::Data,
            Level::StrongSnapshotIsolation | Level::StrictSerializable => Scope::Realtime,
        }
    }

    /// Whether cycles of this class are to be looked for.
    pub(super) fn looks_for(self, cycle: Cycle) -> bool {
        cycle <= self.mildest_proscribed()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Kind::GarbageRead => "garbage-read",
            Kind::DuplicateElements => "duplicate-elements",
            Kind::IncompatibleOrder => "incompatible-order",
            Kind::Internal => "internal",
            Kind::UnrepeatableRead => "unrepeatable-read",
            Kind::AbortedRead => "G1a",
            Kind::IntermediateRead => "G1b",
            Kind::DirtyUpdate => "dirty-update",
            Kind::LostUpdate => "lost-update",
            Kind::Cycle(Cycle::G0, _) => "G0",
            Kind::Cycle(Cycle::G1c, _) => "G1c",
            Kind::Cycle(Cycle::GSingle, _) => "G-single",
            Kind::Cycle(Cycle::GNonadjacent, _) => "G-nonadjacent",
            Kind::Cycle(Cycle::G2Item, _) => "G2-item",
        };
        let suffix = match self {
            Kind::Cycle(_, Scope::Process) => "-process",
            Kind::Cycle(_, Scope::Realtime) => "-realtime",
            _ => "",
        };
        write!(f, "{name}{suffix}")
    }
}
