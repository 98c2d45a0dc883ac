//! Histories that others have published, in the order of their publication. Registers became lists: a write appends, and a read
//! shows what had been written before too. x is key 1, y is key 2, z is key 3; initial values are empty lists.

use super::super::Level::{
    ReadCommitted, Serializable, SnapshotIsolation, StrictSerializable, StrongSnapshotIsolation,
};
use super::super::{Kind, Level};
use super::{LEVELS, forbidden_at, history, kinds, only};

/// From snapshot isolation on.
const SNAPSHOTS: [Level; 4] = [SnapshotIsolation, StrongSnapshotIsolation, Serializable, StrictSerializable];
/// Only the serializable ones.
const SERIAL: [Level; 2] = [Serializable, StrictSerializable];

/// Berenson, Bernstein, Gray, Melton, O'Neil and O'Neil, "A Critique of ANSI SQL Isolation Levels", SIGMOD 1995, P4:
/// r1[x=100] r2[x=100] w2[x=120] c2 w1[x=130] c1.
#[test]
fn lost_update() {
    let text = "T1: r1[] a1.130\nT2: r1[] a1.120\nT3: r1[120 130]";
    assert_eq!(forbidden_at(text), SNAPSHOTS);
    assert_eq!(kinds(text, SnapshotIsolation), ["lost-update", "G-single"]);
}

/// The same, A5A: r1[x] w2[x] w2[y] c2 r1[y].
#[test]
fn read_skew() {
    let text = "T1: r1[] r2[20]\nT2: a1.10 a2.20\nT3: r1[10]";
    assert_eq!(forbidden_at(text), SNAPSHOTS);
    assert_eq!(kinds(text, SnapshotIsolation), ["G-single"]);
}

/// The same, A5B: r1[x] r2[y] w1[y] w2[x].
#[test]
fn write_skew_is_allowed_under_snapshot_isolation_and_not_serializable() {
    let text = "T1: r1[] a2.1\nT2: r2[] a1.2\nT3: r1[2] r2[1]";
    assert_eq!(forbidden_at(text), SERIAL);
    assert_eq!(kinds(text, Serializable), ["G2-item"]);
}

/// Adya, "Weak Consistency: A Generalized Theory and Optimistic Implementations for Distributed Transactions", MIT 1999
/// (also Adya, Liskov and O'Neil, "Generalized Isolation Level Definitions", ICDE 2000), H-wcycle:
/// w1(x1) w2(x2) w2(y2) c2 w1(y1) c1 [x1 << x2, y2 << y1].
#[test]
fn write_cycle_is_g0() {
    let text = "T1: a1.1 a2.1\nT2: a1.2 a2.2\nT3: r1[1 2]\nT4: r2[2 1]";
    assert_eq!(forbidden_at(text), LEVELS);
    let found = only(text, ReadCommitted);
    assert_eq!(found.kind.to_string(), "G0");
    assert_eq!(
        found.to_string(),
        "G0: T1 -ww-> T2: T1 appended 1 to key 1, T2 appended 2 behind it; \
         T2 -ww-> T1: T2 appended 2 to key 2, T1 appended 1 behind it"
    );
}

/// The same, H1a: w1(x1) r2(x1) (a1 and c2, in any order).
#[test]
fn aborted_read_is_g1a() {
    let text = "T1 failed: a1.1\nT2: r1[1]";
    assert_eq!(forbidden_at(text), LEVELS);
    assert_eq!(only(text, ReadCommitted).kind, Kind::AbortedRead);
}

/// The same, H1b: w1(x1,1) r2(x1,1) w1(x1,2) (c1 and c2, in any order).
#[test]
fn intermediate_read_is_g1b() {
    let text = "T1: a1.1 a1.2\nT2: r1[1]\nT3: r1[1 2]";
    assert_eq!(forbidden_at(text), LEVELS);
    assert_eq!(only("T1: a1.1 a1.2\nT2: r1[1]", ReadCommitted).kind, Kind::IntermediateRead);
}

/// The same, H1c: w1(x1,5) w2(y2,8) r2(x1,5) r1(y2,8) c1 c2.
#[test]
fn circular_information_flow_is_g1c() {
    let text = "T1: a1.5 r2[8]\nT2: a2.8 r1[5]";
    assert_eq!(forbidden_at(text), LEVELS);
    assert_eq!(kinds(text, ReadCommitted), ["G1c"]);
}

/// Adya, Liskov and O'Neil 2000, section 3, H1 and H2: x + y = 10 is broken for a reader between two writes.
#[test]
fn a_reader_between_two_writes_is_g_single() {
    let first = "T1: r1[] a1.1 r2[] a2.9\nT2: r1[1] r2[]\nT3: r1[1] r2[9]";
    let second = "T1: r1[] a1.1 r2[] a2.9\nT2: r1[] r2[9]\nT3: r1[1] r2[9]";
    for text in [first, second] {
        assert_eq!(forbidden_at(text), SNAPSHOTS);
        assert_eq!(kinds(text, Serializable), ["G-single"]);
    }
}

/// The same, H1' and H2': what the preventative definitions forbid without need.
#[test]
fn readers_of_all_or_nothing_are_well() {
    for text in ["T1: r1[] a1.1 r2[] a2.9\nT2: r1[1] r2[9]", "T1: r1[] a1.1 r2[] a2.9\nT2: r1[] r2[]\nT3: r1[1] r2[9]"]
    {
        assert_eq!(forbidden_at(text), []);
    }
}

/// Adya 1999, G2: two rw edges in succession over items; the classes are those of PL-2.99.
#[test]
fn anti_dependencies_in_succession_are_g2_item() {
    let text = "T1: r1[] r2[] a1.1\nT2: r1[] r2[] a2.2\nT3: r1[1] r2[2]";
    assert_eq!(kinds(text, Serializable), ["G2-item"]);
    assert_eq!(kinds(text, SnapshotIsolation), Vec::<String>::new());
}

/// Fekete, O'Neil and O'Neil, "A Read-Only Transaction Anomaly Under Snapshot Isolation", SIGMOD Record 2004:
/// R2(X0,0) R2(Y0,0) R1(Y0,0) W1(Y1,20) C1 R3(X0,0) R3(Y1,20) C3 W2(X2,-11) C2.
#[test]
fn the_read_only_transaction_anomaly() {
    let text = "T1: r2[] a2.20\nT2: r1[] r2[] a1.11\nT3: r1[] r2[20]\nT4: r1[11] r2[20]";
    assert_eq!(forbidden_at(text), SERIAL);
    assert_eq!(kinds(text, Serializable), ["G2-item"]);
    let without_reader = "T1: r2[] a2.20\nT2: r1[] r2[] a1.11\nT4: r1[11] r2[20]";
    assert_eq!(forbidden_at(without_reader), [], "without the reader it is serializable");
}

/// Sovran, Power, Aguilera and Li, "Transactional Storage for Geo-Replicated Systems", SOSP 2011, figure 4: what parallel
/// snapshot isolation allows and snapshot isolation does not.
#[test]
fn a_long_fork_is_g_nonadjacent() {
    let text = "T1: a1.1\nT2: a2.2\nT3: r1[1] r2[]\nT4: r1[] r2[2]\nT5: r1[1] r2[2]";
    assert_eq!(forbidden_at(text), SNAPSHOTS);
    assert_eq!(kinds(text, SnapshotIsolation), ["G-nonadjacent"]);
}

/// Daudjee and Salem, "Lazy Database Replication with Snapshot Isolation", VLDB 2006: transaction inversion. What was acknowledged
/// to a client is missing in its next snapshot.
#[test]
fn an_old_snapshot_is_allowed_unless_it_must_be_strong() {
    let text = "T1 @1 0..10: a1.1\nT2 @1 20..30: r1[]\nT3 @2 40..50: r1[1]";
    assert_eq!(forbidden_at(text), [StrongSnapshotIsolation, StrictSerializable]);
    assert_eq!(kinds(text, StrongSnapshotIsolation), ["G-single-process"]);
    let other = text.replacen("@1", "@3", 1);
    assert_eq!(kinds(&other, StrongSnapshotIsolation), ["G-single-realtime"]);
    assert_eq!(
        only(&other, StrongSnapshotIsolation).to_string(),
        "G-single-realtime: T1 -realtime-> T2: T1 was acknowledged at 10, T2 began at 20; \
         T2 -rw-> T1: T2 read key 1 as [], T1 appended 1 next"
    );
}

/// Kingsbury and Alvaro, "Elle", VLDB 2020, figure 3 (also `histories/paper-example.edn` of jepsen-io/elle): nobody reads the 3
/// in key 256, and so it must come after the 4.
#[test]
fn elle_anti_dependency_on_what_nobody_read() {
    let text = "T0: a253.1 a253.3 a253.4 a255.2 a255.3 a255.4 a255.5 a256.1 a256.2\nT1: a255.8 r253[1 3 4]\n\
                T2: a256.4 r255[2 3 4 5 8] r256[1 2 4] r253[1 3 4]\nT3: a250.10 r253[1 3 4] r255[2 3 4 5] a256.3";
    assert_eq!(forbidden_at(text), SNAPSHOTS);
    assert_eq!(
        only(text, Serializable).to_string(),
        "G-single: T1 -wr-> T2: T2 read 8 in key 255, which T1 had appended; \
         T2 -ww-> T3: T2 appended 4 to key 256, T3 appended 3 behind it; \
         T3 -rw-> T1: T3 read key 255 as [2 3 4 5], T1 appended 8 next"
    );
}

/// The same, section 7.1, TiDB: T1 does not see the 5, and appends behind it.
#[test]
fn elle_tidb_g_single() {
    let text = "T0: a34.2 a34.1\nT1: r34[2 1] a36.5 a34.4\nT2: a34.5\nT3: r34[2 1 5 4]";
    assert_eq!(forbidden_at(text), SNAPSHOTS);
    assert_eq!(
        only(text, SnapshotIsolation).to_string(),
        "G-single: T1 -rw-> T2: T1 read key 34 as [2 1], T2 appended 5 next; \
         T2 -ww-> T1: T2 appended 5 to key 34, T1 appended 4 behind it"
    );
}

/// The same, section 7.3, FaunaDB: append(0, 6), r(0, nil).
#[test]
fn elle_fauna_internal() {
    assert_eq!(
        only("T1: a0.6 r0[]", ReadCommitted).to_string(),
        "internal: T1 read key 0 as [], where it had appended 6"
    );
}

/// The README of jepsen-io/elle: a G1c of three transactions, of which the reader is no part.
#[test]
fn elle_readme_g1c() {
    let text = "T1: a1.1 r2[1]\nT2: a1.2 a2.1\nT3: r1[1 2]";
    let found = only(text, ReadCommitted);
    assert_eq!(found.transactions, ["T1", "T2"]);
    assert_eq!(found.kind.to_string(), "G1c");
}

/// Jepsen, "PostgreSQL 12.3", 2020: under SERIALIZABLE, T1 did not see what T2 appended nor T2 what T1 did.
#[test]
fn jepsen_postgresql_g2_item() {
    let text = "T1: r190[1 2] a195.3\nT2: r195[] a190.4\nT0: a190.1 a190.2\nT3: r190[1 2 4] r195[3]";
    assert_eq!(forbidden_at(text), SERIAL);
    let lines = history(text);
    assert_eq!(lines.len(), 4);
    assert_eq!(kinds(text, StrictSerializable), ["G2-item"]);
}
