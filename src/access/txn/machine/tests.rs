use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn footprint(readers: &[&str], writers: &[&str], catalog: bool) -> Footprint {
    Footprint { readers: names(readers), writers: names(writers), catalog, broken: None }
}

fn refusal() -> Error {
    Error::new(codes::UNIQUE_VIOLATION, "taken")
}

fn loss() -> Error {
    Error::new(codes::CONNECTION_FAILURE, "gone")
}

#[test]
fn readers_never_prepare() {
    let (commit, actions) = Commit::start(footprint(&["a", "b"], &[], false));
    assert!(commit.is_finished());
    assert_eq!(actions, [Action::Release("a".into()), Action::Release("b".into()), Action::Answer(Ok(()))]);
}

#[test]
fn a_sole_writer_commits_in_one_phase() {
    let (mut commit, actions) = Commit::start(footprint(&["a"], &["b"], false));
    assert_eq!(actions, [Action::Release("a".into()), Action::Commit("b".into())]);
    assert_eq!(commit.step(Input::Committed("b".into(), Reply::Done)), [Action::Answer(Ok(()))]);
    assert!(commit.is_finished());
}

#[test]
fn a_lost_answer_of_a_sole_writer_is_an_unknown_outcome() {
    let (mut commit, _) = Commit::start(footprint(&[], &["b"], false));
    let actions = commit.step(Input::Committed("b".into(), Reply::Lost(loss())));
    let [Action::Answer(Err(error))] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(error.code(), codes::TRANSACTION_RESOLUTION_UNKNOWN);
}

#[test]
fn the_catalog_alone_needs_only_the_store() {
    let (mut commit, actions) = Commit::start(footprint(&[], &[], true));
    assert_eq!(actions, [Action::Decide(vec![])]);
    assert_eq!(commit.step(Input::Decided(Durability::Durable)), [Action::Answer(Ok(()))]);
}

#[test]
fn a_sole_writer_with_catalog_changes_is_prepared() {
    let (_, actions) = Commit::start(footprint(&[], &["a"], true));
    assert_eq!(actions, [Action::Prepare("a".into())]);
    let (_, actions) = Commit::start(footprint(&[], &[LOCAL], false));
    assert_eq!(actions, [Action::Prepare(LOCAL.into())]);
}

#[test]
fn two_writers_commit_after_the_decision() {
    let (mut commit, actions) = Commit::start(footprint(&[], &["a", "b"], false));
    assert_eq!(actions, [Action::Prepare("a".into()), Action::Prepare("b".into())]);
    assert_eq!(commit.step(Input::Prepared("b".into(), Reply::Done)), []);
    assert_eq!(commit.step(Input::Prepared("a".into(), Reply::Done)), [Action::Decide(names(&["a", "b"]))]);
    let actions = commit.step(Input::Decided(Durability::Durable));
    assert_eq!(actions, [Action::CommitPrepared("a".into()), Action::CommitPrepared("b".into())]);
    assert_eq!(commit.step(Input::CommittedPrepared("a".into(), true)), []);
    let actions = commit.step(Input::CommittedPrepared("b".into(), true));
    assert_eq!(actions, [Action::Forget, Action::Answer(Ok(()))]);
}

#[test]
fn an_unconfirmed_commit_succeeds_and_keeps_its_decision() {
    let (mut commit, _) = Commit::start(footprint(&[], &["a", "b"], false));
    commit.step(Input::Prepared("a".into(), Reply::Done));
    commit.step(Input::Prepared("b".into(), Reply::Done));
    commit.step(Input::Decided(Durability::Durable));
    commit.step(Input::CommittedPrepared("a".into(), false));
    assert_eq!(commit.step(Input::CommittedPrepared("b".into(), true)), [Action::Answer(Ok(()))]);
}

#[test]
fn a_refusal_rolls_back_who_has_prepared_and_who_prepares_later() {
    let (mut commit, _) = Commit::start(footprint(&[], &["a", "b", "c"], false));
    commit.step(Input::Prepared("a".into(), Reply::Done));
    let actions = commit.step(Input::Prepared("b".into(), Reply::Refused(refusal())));
    assert_eq!(actions, [Action::Rollback("b".into()), Action::RollbackPrepared("a".into())]);
    assert_eq!(commit.step(Input::Prepared("c".into(), Reply::Done)), [Action::RollbackPrepared("c".into())]);
    assert_eq!(commit.step(Input::RolledBack("a".into())), []);
    assert_eq!(commit.step(Input::RolledBack("b".into())), []);
    assert_eq!(commit.step(Input::RolledBack("c".into())), [Action::Answer(Err(refusal()))]);
}

#[test]
fn nothing_is_rolled_back_while_the_decision_may_be_durable() {
    let (mut commit, _) = Commit::start(footprint(&[], &["a", "b"], true));
    commit.step(Input::Prepared("a".into(), Reply::Done));
    commit.step(Input::Prepared("b".into(), Reply::Done));
    let actions = commit.step(Input::Decided(Durability::Unknown(loss())));
    let [Action::Answer(Err(error))] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(error.code(), codes::TRANSACTION_RESOLUTION_UNKNOWN);
    assert!(commit.is_finished());
}

#[test]
fn a_broken_transaction_only_rolls_back() {
    let mut broken = footprint(&["r"], &["a"], true);
    broken.broken = Some(refusal());
    let (mut commit, actions) = Commit::start(broken);
    assert_eq!(actions, [Action::Release("r".into()), Action::Rollback("a".into())]);
    assert_eq!(commit.step(Input::RolledBack("a".into())), [Action::Answer(Err(refusal()))]);
}

/// A participant's true state, which the coordinator only learns of through answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Open,
    Prepared,
    Committed,
    RolledBack,
}

/// The world of one run: true states, what has been done, and which way chance falls.
struct World {
    truth: BTreeMap<String, Truth>,
    durable: bool,
    decide_unknown: bool,
    answers: Vec<Result<(), Error>>,
    forgotten: bool,
    commanded_commit: BTreeSet<String>,
    commanded_rollback: BTreeSet<String>,
}

impl World {
    /// Performs one action with `luck` in 0..4: 0 and 1 work, 2 is refused or undone, 3 is done but its answer is lost.
    fn perform(&mut self, action: Action, luck: u8) -> Option<Input> {
        match action {
            Action::Release(_) => None,
            Action::Commit(node) => {
                self.commanded_commit.insert(node.clone());
                let reply = self.try_move(&node, Truth::Open, Truth::Committed, luck);
                Some(Input::Committed(node, reply))
            }
            Action::Prepare(node) => {
                assert!(!self.durable && !self.decide_unknown);
                let reply = self.try_move(&node, Truth::Open, Truth::Prepared, luck);
                Some(Input::Prepared(node, reply))
            }
            Action::Rollback(node) | Action::RollbackPrepared(node) => {
                assert!(!self.durable && !self.decide_unknown, "rolled back what may be decided");
                self.commanded_rollback.insert(node.clone());
                if luck < 2 {
                    self.truth.insert(node.clone(), Truth::RolledBack);
                }
                Some(Input::RolledBack(node))
            }
            Action::Decide(participants) => {
                assert!(participants.iter().all(|node| self.truth[node] == Truth::Prepared));
                Some(Input::Decided(match luck {
                    0 | 1 => {
                        self.durable = true;
                        Durability::Durable
                    }
                    2 => Durability::Failed(loss()),
                    _ => {
                        self.decide_unknown = true;
                        Durability::Unknown(loss())
                    }
                }))
            }
            Action::CommitPrepared(node) => {
                assert!(self.durable, "committed before the decision was durable");
                self.commanded_commit.insert(node.clone());
                let done = luck != 2;
                if done {
                    self.truth.insert(node.clone(), Truth::Committed);
                }
                Some(Input::CommittedPrepared(node, luck < 2))
            }
            Action::Forget => {
                assert!(self.truth.values().all(|truth| *truth == Truth::Committed));
                self.forgotten = true;
                None
            }
            Action::Answer(answer) => {
                self.answers.push(answer);
                None
            }
        }
    }

    fn try_move(&mut self, node: &str, from: Truth, to: Truth, luck: u8) -> Reply {
        assert_eq!(self.truth[node], from);
        match luck {
            0 | 1 => {
                self.truth.insert(node.into(), to);
                Reply::Done
            }
            2 => {
                self.truth.insert(node.into(), Truth::RolledBack);
                Reply::Refused(refusal())
            }
            _ => {
                self.truth.insert(node.into(), to);
                Reply::Lost(loss())
            }
        }
    }

    /// What the resolver does later with everything that is still prepared.
    fn resolve(&mut self, decided: bool) {
        for truth in self.truth.values_mut() {
            match truth {
                Truth::Prepared if decided => *truth = Truth::Committed,
                // An open transaction ends with its connection.
                Truth::Prepared | Truth::Open => *truth = Truth::RolledBack,
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn all_participants_end_alike_whatever_is_lost(
        writers in proptest::sample::subsequence(vec!["", "a", "b", "c", "d"], 0..=5),
        catalog: bool,
        lucks in proptest::collection::vec(0u8..4, 40),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 40),
        unknown_was_durable: bool,
    ) {
        let mut world = World {
            truth: writers.iter().map(|name| (name.to_string(), Truth::Open)).collect(),
            durable: false,
            decide_unknown: false,
            answers: vec![],
            forgotten: false,
            commanded_commit: BTreeSet::new(),
            commanded_rollback: BTreeSet::new(),
        };
        let one_phase = writers.len() == 1 && writers[0] != LOCAL && !catalog;
        let (mut commit, mut waiting) = Commit::start(footprint(&["r"], &writers, catalog));
        let mut lucks = lucks.into_iter();
        let mut order = order.into_iter();
        while !waiting.is_empty() {
            // Actions of one list run concurrently: any of them may be the next to be answered.
            let next = order.next().expect("a run is short").index(waiting.len());
            let action = waiting.remove(next);
            if let Some(input) = world.perform(action, lucks.next().expect("a run is short")) {
                waiting.extend(commit.step(input));
            }
        }
        prop_assert!(commit.is_finished());
        prop_assert_eq!(world.answers.len(), 1);
        prop_assert!(world.commanded_commit.is_disjoint(&world.commanded_rollback));
        let decided = world.durable || (world.decide_unknown && unknown_was_durable);
        world.resolve(decided);
        let ends: BTreeSet<String> = world.truth.values().map(|truth| format!("{truth:?}")).collect();
        prop_assert!(ends.len() <= 1, "half a transaction: {:?}", world.truth);
        let committed = world.truth.values().all(|truth| *truth == Truth::Committed);
        match &world.answers[0] {
            Ok(()) => prop_assert!(committed && (!catalog || decided)),
            Err(error) if error.kind() == crate::error::Kind::Unknown => prop_assert!(one_phase || world.decide_unknown),
            Err(_) => prop_assert!(!committed || writers.is_empty()),
        }
        prop_assert!(!world.forgotten || world.durable);
    }
}
