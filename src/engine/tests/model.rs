//! Transactions in any interleaving against a model that keeps everything in plain lists.

use crate::engine::job::Job;
use crate::engine::test_host::TestDisk;
use crate::engine::test_support::*;
use crate::engine::{Engine, Transaction, table::Table};
use crate::error::codes;
use crate::sql::statement::Isolation;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sessions that may each have a transaction open; table 0 has no key, table 1 a unique one.
const SLOTS: usize = 3;
const TABLES: usize = 2;

/// So small that a few hundred rows spill.
const SPILL_BYTES: usize = 2_000;

#[derive(Clone, Debug)]
enum Step {
    Begin { slot: usize, repeatable: bool },
    Statement { slot: usize },
    Append { slot: usize, table: usize, first: i64, rows: i64 },
    Read { slot: usize, table: usize },
    Commit { slot: usize },
    Rollback { slot: usize },
    Prepare { slot: usize, gid: u8 },
    CommitPrepared { gid: u8 },
    RollbackPrepared { gid: u8 },
    Restart,
    LosePower { keep: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = || 0..SLOTS;
    let step = prop_oneof![
        4 => (slot(), any::<bool>()).prop_map(|(slot, repeatable)| Step::Begin { slot, repeatable }),
        3 => slot().prop_map(|slot| Step::Statement { slot }),
        8 => (slot(), 0..TABLES, 0i64..40, prop_oneof![4 => 1i64..4, 1 => 100i64..900])
            .prop_map(|(slot, table, first, rows)| Step::Append { slot, table, first, rows }),
        4 => (slot(), 0..TABLES).prop_map(|(slot, table)| Step::Read { slot, table }),
        5 => slot().prop_map(|slot| Step::Commit { slot }),
        2 => slot().prop_map(|slot| Step::Rollback { slot }),
        2 => (slot(), 0u8..3).prop_map(|(slot, gid)| Step::Prepare { slot, gid }),
        1 => (0u8..3).prop_map(|gid| Step::CommitPrepared { gid }),
        1 => (0u8..3).prop_map(|gid| Step::RollbackPrepared { gid }),
        1 => Just(Step::Restart),
        1 => any::<u64>().prop_map(|keep| Step::LosePower { keep }),
    ];
    prop::collection::vec(step, 1..120)
}

type Rows = [Vec<i64>; TABLES];

/// What a transaction should see and do.
struct Open {
    transaction: Transaction,
    repeatable: bool,
    snapshot: Option<Rows>,
    own: Rows,
}

struct World {
    disk: TestDisk,
    engine: Arc<Engine>,
    tables: Vec<Arc<Table>>,
    committed: Rows,
    prepared: BTreeMap<u8, Rows>,
    open: [Option<Open>; SLOTS],
}

impl World {
    async fn new() -> World {
        let disk = TestDisk::new();
        let engine = open_spilling(&disk, SPILL_BYTES).await;
        let tables = vec![create(&engine, plain("plain")).await, create(&engine, keyed("keyed")).await];
        let (committed, prepared, open) = Default::default();
        World { disk, engine, tables, committed, prepared, open }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Begin { slot, repeatable } => self.begin(slot, repeatable),
            Step::Statement { slot } => self.statement(slot),
            Step::Append { slot, table, first, rows } => self.append(slot, table, first, rows).await,
            Step::Read { slot, table } => self.read(slot, table).await,
            Step::Commit { slot } => {
                let Some(open) = self.open[slot].take() else { return };
                open.transaction.commit().await.unwrap();
                add(&mut self.committed, open.own);
            }
            Step::Rollback { slot } => {
                let Some(open) = self.open[slot].take() else { return };
                open.transaction.rollback().await.unwrap();
            }
            Step::Prepare { slot, gid } => self.prepare(slot, gid).await,
            Step::CommitPrepared { gid } => self.resolve(gid, true).await,
            Step::RollbackPrepared { gid } => self.resolve(gid, false).await,
            Step::Restart => {
                self.stop();
                self.engine.close().await;
                self.restart().await;
            }
            Step::LosePower { mut keep } => {
                self.disk.lose_power(|| {
                    keep = keep.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    keep >> 63 == 1
                });
                self.stop();
                self.restart().await;
            }
        }
    }

    fn begin(&mut self, slot: usize, repeatable: bool) {
        let isolation = if repeatable { Isolation::RepeatableRead } else { Isolation::ReadCommitted };
        let transaction = self.engine.begin(isolation);
        // Replacing an open transaction drops it: a rollback without anybody waiting for it.
        self.open[slot] = Some(Open { transaction, repeatable, snapshot: None, own: Rows::default() });
    }

    fn statement(&mut self, slot: usize) {
        let Some(open) = &mut self.open[slot] else { return };
        open.transaction.begin_statement().unwrap();
        if open.snapshot.is_none() || !open.repeatable {
            open.snapshot = Some(self.committed.clone());
        }
    }

    async fn append(&mut self, slot: usize, table: usize, first: i64, rows: i64) {
        self.statement(slot);
        let added = (first..first + rows).collect::<Vec<_>>();
        let taken = |rows: &Rows| table == 1 && rows[1].iter().any(|row| added.contains(row));
        let others = self.open.iter().enumerate().filter(|(other, _)| *other != slot).filter_map(|(_, o)| o.as_ref());
        if others.map(|open| &open.own).chain(self.prepared.values()).any(taken) {
            return; // It would wait; waiting has its own tests.
        }
        let Some(open) = &mut self.open[slot] else { return };
        let violates = taken(&open.own) || taken(&self.committed);
        let outcome = open.transaction.append(&self.tables[table], values(added.clone())).await;
        match outcome {
            Ok(()) => {
                assert!(!violates, "a duplicate key was accepted");
                open.own[table].extend(added);
            }
            Err(error) => {
                assert!(violates, "{error}");
                assert_eq!(error.code(), codes::UNIQUE_VIOLATION);
                self.open[slot] = None;
            }
        }
    }

    async fn read(&mut self, slot: usize, table: usize) {
        let Some(open) = &self.open[slot] else { return };
        let Some(snapshot) = &open.snapshot else { return };
        let expected = snapshot[table].iter().chain(&open.own[table]).copied().collect::<Vec<_>>();
        assert_eq!(seen(&open.transaction, &self.tables[table]).await, expected);
    }

    async fn prepare(&mut self, slot: usize, gid: u8) {
        let Some(open) = self.open[slot].take() else { return };
        match open.transaction.prepare(&format!("gid-{gid}"), "owner").await {
            Ok(()) => assert!(self.prepared.insert(gid, open.own).is_none(), "a gid was used twice"),
            Err(error) => {
                assert_eq!(error.code(), codes::DUPLICATE_OBJECT);
                assert!(self.prepared.contains_key(&gid));
            }
        }
    }

    async fn resolve(&mut self, gid: u8, commit: bool) {
        let name = format!("gid-{gid}");
        let outcome =
            if commit { self.engine.commit_prepared(&name).await } else { self.engine.rollback_prepared(&name).await };
        match self.prepared.remove(&gid) {
            Some(rows) => {
                outcome.unwrap();
                if commit {
                    add(&mut self.committed, rows);
                }
            }
            None => assert_eq!(outcome.unwrap_err().code(), codes::UNDEFINED_OBJECT),
        }
    }

    fn stop(&mut self) {
        self.open = Default::default();
    }

    async fn restart(&mut self) {
        self.engine = open_spilling(&self.disk, SPILL_BYTES).await;
        self.check().await;
    }

    /// The committed state and the prepared transactions are what the model says.
    async fn check(&self) {
        // The writer is then done with what dropped transactions have left to it.
        self.engine.core.submit(Job::Check).wait().await.unwrap();
        for (table, rows) in self.tables.iter().zip(&self.committed) {
            assert_eq!(&committed(&self.engine, table).await, rows);
        }
        let gids = self.engine.prepared().into_iter().map(|prepared| prepared.gid).collect::<Vec<_>>();
        assert_eq!(gids, self.prepared.keys().map(|gid| format!("gid-{gid}")).collect::<Vec<_>>());
        let counted = self.engine.statistics().into_iter().map(|table| (table.name.name, table.rows as usize));
        let expected = [("keyed".to_string(), self.committed[1].len()), ("plain".to_string(), self.committed[0].len())];
        assert_eq!(counted.collect::<Vec<_>>(), expected);
        super::assert_no_leftovers(&self.engine);
    }
}

fn add(rows: &mut Rows, more: Rows) {
    rows.iter_mut().zip(more).for_each(|(rows, more)| rows.extend(more));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn interleaved_transactions_do_what_the_model_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
            }
            world.stop();
            world.check().await;
            world.engine.close().await;
            world.restart().await;
        });
    }
}
