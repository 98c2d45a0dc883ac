use super::*;
use futures::executor::block_on;
use std::collections::BTreeSet;

/// A world in which everything works, but for the participants named.
#[derive(Default)]
struct Script {
    refuses_to_prepare: BTreeSet<&'static str>,
    does_not_confirm: BTreeSet<&'static str>,
    log: Mutex<Vec<String>>,
}

impl Script {
    fn note(&self, action: &Action) {
        let text = match action {
            Action::Decide(participants) => format!("decide {}", participants.join(" ")),
            Action::Answer(Ok(())) => "answer ok".into(),
            Action::Answer(Err(error)) => format!("answer {}", error.code()),
            other => format!("{other:?}"),
        };
        lock(&self.log).push(text);
    }
}

#[async_trait]
impl World for Script {
    async fn perform(&self, action: Action) -> Option<Input> {
        self.note(&action);
        match action {
            Action::Release(_) | Action::Forget | Action::Answer(_) => None,
            Action::Commit(node) => Some(Input::Committed(node, Reply::Done)),
            Action::Prepare(node) => {
                let refused = self.refuses_to_prepare.contains(&*node);
                let error = Error::new(codes::UNIQUE_VIOLATION, "taken");
                Some(Input::Prepared(node, if refused { Reply::Refused(error) } else { Reply::Done }))
            }
            Action::Rollback(node) | Action::RollbackPrepared(node) => Some(Input::RolledBack(node)),
            Action::Decide(_) => Some(Input::Decided(Durability::Durable)),
            Action::CommitPrepared(node) => {
                let confirmed = !self.does_not_confirm.contains(&*node);
                Some(Input::CommittedPrepared(node, confirmed))
            }
        }
    }
}

fn driven(script: Script, writers: &[&str]) -> Vec<String> {
    let writers = writers.iter().map(|name| name.to_string()).collect();
    block_on(drive(Footprint { writers, ..Footprint::default() }, &script));
    script.log.into_inner().unwrap()
}

#[test]
fn two_writers_are_driven_to_their_commit() {
    assert_eq!(
        driven(Script::default(), &["a", "b"]),
        [
            "Prepare(\"a\")",
            "Prepare(\"b\")",
            "decide a b",
            "CommitPrepared(\"a\")",
            "CommitPrepared(\"b\")",
            "Forget",
            "answer ok"
        ]
    );
}

#[test]
fn a_refusal_is_driven_to_a_rollback() {
    let script = Script { refuses_to_prepare: BTreeSet::from(["b"]), ..Script::default() };
    let log = driven(script, &["a", "b", "c"]);
    assert!(log.contains(&"Rollback(\"b\")".into()));
    assert!(log.contains(&"RollbackPrepared(\"a\")".into()) && log.contains(&"RollbackPrepared(\"c\")".into()));
    assert_eq!(log.last().unwrap(), "answer 23505");
}

#[test]
fn an_unconfirmed_commit_is_a_commit() {
    let script = Script { does_not_confirm: BTreeSet::from(["a"]), ..Script::default() };
    let log = driven(script, &["a", "b"]);
    assert_eq!(log.last().unwrap(), "answer ok");
    assert!(!log.contains(&"Forget".into()));
}

#[test]
fn faults_of_the_server_itself_leave_the_outcome_open() {
    let of = |code: &str| reply(Err(Error::new(crate::error::SqlState::new(code), "")));
    for open in ["08006", "57P01", "58030", "53100", "XX000"] {
        assert!(matches!(of(open), Reply::Lost(_)), "{open}");
    }
    for refused in ["23505", "40001", "25P02", "42P01"] {
        assert!(matches!(of(refused), Reply::Refused(_)), "{refused}");
    }
}
