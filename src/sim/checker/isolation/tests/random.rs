//! Random histories: of models that keep a promise, and what is left of it when something is changed.

use super::super::{Ending, Key, Level, MicroOperation, Transaction, Value, check};
use super::LEVELS;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: Key = 4;

/// What a transaction is going to do: appends and reads of keys.
type Script = Vec<(bool, Key)>;

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    prop::collection::vec(prop::collection::vec((any::<bool>(), 0..KEYS), 1..5), 1..40)
}

type Lists = BTreeMap<Key, Vec<Value>>;

/// A transaction under way in a database that keeps all its versions.
struct Running {
    number: usize,
    process: u64,
    snapshot: Lists,
    script: Script,
    done: Vec<MicroOperation>,
    invoked: u64,
}

impl Running {
    fn begin(number: usize, process: u64, script: &Script, snapshot: &Lists, now: u64) -> Running {
        Running { number, process, snapshot: snapshot.clone(), script: script.clone(), done: vec![], invoked: now }
    }

    /// Does everything on its own copy.
    fn work(&mut self, next: &mut Value) {
        for (append, key) in &self.script {
            let own = self.snapshot.entry(*key).or_default();
            if *append {
                *next += 1;
                own.push(*next);
                self.done.push(MicroOperation::Append { key: *key, value: *next });
            } else {
                self.done.push(MicroOperation::Read { key: *key, values: Some(own.clone()) });
            }
        }
    }

    fn appended(&self) -> impl Iterator<Item = Key> + '_ {
        self.script.iter().filter(|(append, _)| *append).map(|(_, key)| *key)
    }

    fn end(self, ending: Ending, now: u64) -> Transaction {
        let name = format!("T{}", self.number);
        Transaction {
            name,
            process: self.process,
            invoked: self.invoked,
            completed: now,
            ending,
            operations: self.done,
        }
    }
}

/// One after the other.
fn serial(scripts: &[Script]) -> Vec<Transaction> {
    let (mut lists, mut next, mut now) = (Lists::new(), 0, 0);
    let mut history = vec![];
    for (number, script) in scripts.iter().enumerate() {
        let mut running = Running::begin(number, number as u64 % 3, script, &lists, now);
        running.work(&mut next);
        lists = running.snapshot.clone();
        now += 10;
        history.push(running.end(Ending::Ok, now - 5));
    }
    history.push(last_read(&lists, now));
    history
}

/// Somebody who looks at all keys in the end.
fn last_read(lists: &Lists, now: u64) -> Transaction {
    let read = |key| MicroOperation::Read { key, values: Some(lists.get(&key).cloned().unwrap_or_default()) };
    let operations = (0..KEYS).map(read).collect();
    Transaction { name: "last".into(), process: 9, invoked: now, completed: now + 1, ending: Ending::Ok, operations }
}

/// Snapshot isolation: whoever commits second of two that append to one key fails. `turns` says who begins and who ends;
/// some acknowledgements get lost.
fn snapshots(scripts: &[Script], turns: &[(u8, u8)]) -> Vec<Transaction> {
    let (mut lists, mut next, mut now) = (Lists::new(), 0, 0);
    let mut changed: BTreeMap<Key, u64> = BTreeMap::new();
    let (mut waiting, mut running): (Vec<(usize, &Script)>, Vec<Running>) =
        (scripts.iter().enumerate().collect(), vec![]);
    let mut history = vec![];
    let mut turns = turns.iter().cycle();
    while !(waiting.is_empty() && running.is_empty()) {
        let (choice, fate) = turns.next().copied().unwrap_or_default();
        now += 10;
        if running.is_empty() || choice % 2 == 0 && running.len() < 5 && !waiting.is_empty() {
            let (number, script) = waiting.remove(0);
            let free = (0..).find(|process| running.iter().all(|other: &Running| other.process != *process));
            let process = free.expect("there are more numbers than transactions under way");
            let mut begun = Running::begin(number, process, script, &lists, now);
            begun.work(&mut next);
            running.push(begun);
            continue;
        }
        let ending = running.remove(usize::from(choice) % running.len());
        let conflict = ending.appended().any(|key| changed.get(&key).is_some_and(|at| *at > ending.invoked));
        if conflict {
            history.push(ending.end(Ending::Failed, now));
            continue;
        }
        if fate % 8 == 1 {
            history.push(ending.end(Ending::Unknown, now));
            continue;
        }
        for key in ending.appended() {
            changed.insert(key, now);
            lists.insert(key, ending.snapshot[&key].clone());
        }
        let told = if fate % 8 == 2 { Ending::Unknown } else { Ending::Ok };
        history.push(ending.end(told, now));
    }
    history.push(last_read(&lists, now + 10));
    history
}

/// Up to five transactions over two keys. Appends take effect in the order of `ranks`, reads show beginnings of that order of
/// the lengths `shown`, as if nobody cared who comes when.
fn arbitrary(scripts: &[Script], ranks: &[u8], shown: &[u8]) -> Vec<Transaction> {
    let (mut ranks, mut shown) = (ranks.iter().cycle(), shown.iter().cycle());
    let mut orders: BTreeMap<Key, Vec<(u8, Value)>> = BTreeMap::new();
    let mut history = vec![];
    for (number, script) in scripts.iter().enumerate() {
        let mut running = Running::begin(number, number as u64, script, &Lists::new(), 0);
        running.work(&mut (100 * number as u64));
        for operation in &running.done {
            if let MicroOperation::Append { key, value } = operation {
                orders.entry(*key).or_default().push((ranks.next().copied().unwrap_or_default(), *value));
            }
        }
        history.push(running.end(Ending::Ok, 1));
    }
    let mut lists = Lists::new();
    for (key, mut order) in orders {
        order.sort();
        lists.insert(key, order.into_iter().map(|(_, value)| value).collect());
    }
    for operation in history.iter_mut().flat_map(|transaction| &mut transaction.operations) {
        if let MicroOperation::Read { key, values } = operation {
            let all = lists.get(key).map_or(&[][..], |list| list);
            let length = usize::from(shown.next().copied().unwrap_or_default()) % (all.len() + 1);
            *values = Some(all[..length].to_vec());
        }
    }
    history.push(last_read(&lists, 0));
    history
}

/// Whether some order of the transactions, one after the other, gives just these reads.
fn has_a_serial_order(done: &Lists, waiting: &[&Transaction]) -> bool {
    waiting.is_empty()
        || (0..waiting.len()).any(|at| {
            let mut rest = waiting.to_vec();
            let next = rest.remove(at);
            replay(done.clone(), next).is_some_and(|lists| has_a_serial_order(&lists, &rest))
        })
}

fn replay(mut lists: Lists, transaction: &Transaction) -> Option<Lists> {
    for operation in &transaction.operations {
        match operation {
            MicroOperation::Append { key, value } => lists.entry(*key).or_default().push(*value),
            MicroOperation::Read { key, values } => {
                let there = lists.get(key).cloned().unwrap_or_default();
                values.iter().all(|values| *values == there).then_some(())?;
            }
        }
    }
    Some(lists)
}

fn few_scripts() -> impl Strategy<Value = Vec<Script>> {
    prop::collection::vec(prop::collection::vec((any::<bool>(), 0..2u64), 1..4), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_history_is_well_exactly_if_it_has_a_serial_order(
        scripts in few_scripts(),
        ranks in prop::collection::vec(any::<u8>(), 1..20),
        shown in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let history = arbitrary(&scripts, &ranks, &shown);
        let found = check(&history, Level::Serializable);
        let all: Vec<&Transaction> = history.iter().collect();
        prop_assert_eq!(found.is_empty(), has_a_serial_order(&Lists::new(), &all), "{:?}", found);
    }

    #[test]
    fn a_serial_execution_is_well_at_all_levels(scripts in scripts()) {
        let history = serial(&scripts);
        for level in LEVELS {
            prop_assert_eq!(check(&history, level), vec![]);
        }
    }

    #[test]
    fn snapshot_isolation_keeps_its_promise_and_serializability_only_breaks_by_g2(
        scripts in scripts(), turns in prop::collection::vec(any::<(u8, u8)>(), 1..100),
    ) {
        let history = snapshots(&scripts, &turns);
        for level in [Level::ReadCommitted, Level::SnapshotIsolation, Level::StrongSnapshotIsolation] {
            prop_assert_eq!(check(&history, level), vec![]);
        }
        for anomaly in check(&history, Level::StrictSerializable) {
            prop_assert!(anomaly.kind.to_string().starts_with("G2-item"), "{}", anomaly);
        }
    }

    #[test]
    fn a_value_that_a_read_misses_in_the_middle_is_found(scripts in scripts(), which in any::<prop::sample::Index>()) {
        let mut history = serial(&scripts);
        if let Some(values) = a_read(&mut history, which, 2) {
            values.remove(0);
            prop_assert!(!check(&history, Level::ReadCommitted).is_empty());
        }
    }

    #[test]
    fn values_that_a_read_swaps_are_found(scripts in scripts(), which in any::<prop::sample::Index>()) {
        let mut history = serial(&scripts);
        if let Some(values) = a_read(&mut history, which, 2) {
            let last = values.len() - 1;
            values.swap(last - 1, last);
            prop_assert!(!check(&history, Level::ReadCommitted).is_empty());
        }
    }

    #[test]
    fn an_old_read_is_found_where_transactions_must_agree_with_time(
        scripts in scripts(), which in any::<prop::sample::Index>(),
    ) {
        let mut history = serial(&scripts);
        if let Some(values) = a_read(&mut history, which, 1) {
            values.pop();
            prop_assert!(!check(&history, Level::StrongSnapshotIsolation).is_empty());
        }
    }

    #[test]
    fn a_write_that_is_nowhere_to_be_seen_is_found(scripts in scripts(), which in any::<prop::sample::Index>()) {
        let mut history = serial(&scripts);
        let operations = history.iter().flat_map(|transaction| &transaction.operations);
        let appended: Vec<(Key, Value)> = operations
            .filter_map(|operation| match operation {
                MicroOperation::Append { key, value } => Some((*key, *value)),
                MicroOperation::Read { .. } => None,
            })
            .collect();
        prop_assume!(!appended.is_empty());
        let (lost, value) = appended[which.index(appended.len())];
        for operation in history.iter_mut().flat_map(|transaction| &mut transaction.operations) {
            if let MicroOperation::Read { key, values: Some(values) } = operation && *key == lost {
                values.retain(|seen| *seen != value);
            }
        }
        prop_assert!(!check(&history, Level::StrongSnapshotIsolation).is_empty());
    }
}

/// A read of at least so many values; not the last one, with which it can be compared.
fn a_read(history: &mut [Transaction], which: prop::sample::Index, values_min: usize) -> Option<&mut Vec<Value>> {
    let (_, all) = history.split_last_mut()?;
    let operations = all.iter_mut().flat_map(|transaction| &mut transaction.operations);
    let mut reads: Vec<&mut Vec<Value>> = operations
        .filter_map(|operation| match operation {
            MicroOperation::Read { values: Some(values), .. } if values.len() >= values_min => Some(values),
            _ => None,
        })
        .collect();
    (!reads.is_empty()).then(|| reads.swap_remove(which.index(reads.len())))
}
