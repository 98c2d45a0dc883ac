//! The commit protocol as a pure state machine.
//!
//! [`Commit::start`] says what to do first; every answer from the world goes into [`Commit::step`], which says what
//! to do next. All actions of one list may run at the same time. Nothing here waits, sends or remembers beyond one
//! transaction, so every interleaving of answers and failures can be tried by a property test.
//!
//! | the transaction wrote to | protocol |
//! |---|---|
//! | nothing | COMMIT everywhere, answers do not matter |
//! | one data node, nothing else | COMMIT there (one phase); a lost answer is an unknown outcome |
//! | the catalog only | one store commit |
//! | anything else | PREPARE everywhere, one store commit with the decision, COMMIT PREPARED everywhere, forget |
//!
//! *Presumed abort*: only "commit" is ever written down. A participant that finds no decision rolls back; so nobody
//! may be told to commit before the decision is durable, and nobody may be told to roll back once it may be durable.

use crate::error::{Error, codes};
use crate::sabotage;
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// The access node's own database as a participant: no data node can have this name.
pub const LOCAL: &str = "";

/// What a transaction touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Data nodes that were only read.
    pub readers: Vec<String>,
    /// Data nodes that were written to, and [`LOCAL`].
    pub writers: Vec<String>,
    /// There are catalog changes.
    pub catalog: bool,
    /// A remote transaction is known to be broken: only a rollback is left.
    pub broken: Option<Error>,
}

/// What to do next. Each one but `Release`, `Forget` and `Answer` is answered by exactly one [`Input`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// COMMIT of a participant that wrote nothing: only ends its snapshot.
    Release(String),
    /// COMMIT of the sole writer.
    Commit(String),
    Prepare(String),
    /// ROLLBACK of a participant that has not been prepared.
    Rollback(String),
    RollbackPrepared(String),
    /// Makes the decision, with these participants, and the catalog changes durable in one step.
    Decide(Vec<String>),
    CommitPrepared(String),
    /// Every participant has committed: nobody will ask for the decision again.
    Forget,
    /// The client's answer; sent once.
    Answer(Result<(), Error>),
}

/// What the world answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Committed(String, Reply),
    Prepared(String, Reply),
    /// A ROLLBACK or ROLLBACK PREPARED has ended. If it failed, the resolver repeats it: no decision means rollback.
    RolledBack(String),
    Decided(Durability),
    /// A COMMIT PREPARED has ended; `false`: not confirmed in time, the resolver takes over.
    CommittedPrepared(String, bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    /// The participant said no: it has rolled back.
    Refused(Error),
    /// No answer: it may have been done or not.
    Lost(Error),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    Durable,
    /// Certainly not written.
    Failed(Error),
    /// Written or not: only reopening the store tells.
    Unknown(Error),
}

/// One transaction on its way to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    phase: Phase,
    participants: BTreeMap<String, Standing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    CommittingAtOnce,
    Preparing,
    Deciding,
    /// The decision is durable.
    Committing,
    /// For this reason.
    RollingBack(Error),
    Finished,
}

/// Where one writing participant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// PREPARE is on its way.
    Asked,
    Prepared,
    /// COMMIT PREPARED or a rollback is on its way.
    Ending,
    Ended,
    /// Not known to have ended: the resolver's.
    Unresolved,
}

impl Commit {
    pub fn start(footprint: Footprint) -> (Commit, Vec<Action>) {
        let mut actions: Vec<Action> = footprint.readers.into_iter().map(Action::Release).collect();
        let writers = footprint.writers;
        let mut commit = Commit { phase: Phase::Finished, participants: BTreeMap::new() };
        if let Some(error) = footprint.broken {
            commit.participants = writers.into_iter().map(|name| (name, Standing::Ending)).collect();
            actions.extend(commit.participants.keys().cloned().map(Action::Rollback));
            commit.phase = Phase::RollingBack(error);
            actions.extend(commit.finish_rollback());
        } else if writers.is_empty() && !footprint.catalog {
            actions.push(Action::Answer(Ok(())));
        } else if let [only] = &writers[..]
            && only != LOCAL
            && !footprint.catalog
        {
            commit.phase = Phase::CommittingAtOnce;
            actions.push(Action::Commit(only.clone()));
        } else if writers.is_empty() {
            commit.phase = Phase::Deciding;
            actions.push(Action::Decide(Vec::new()));
        } else {
            commit.participants = writers.into_iter().map(|name| (name, Standing::Asked)).collect();
            commit.phase = Phase::Preparing;
            actions.extend(commit.participants.keys().cloned().map(Action::Prepare));
        }
        (commit, actions)
    }

    /// The client has its answer and nothing is under way.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    pub fn step(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Committed(node, reply) => self.committed(&node, reply),
            Input::Prepared(node, reply) => self.prepared(node, reply),
            Input::RolledBack(node) => {
                self.set(&node, Standing::Ended);
                self.finish_rollback()
            }
            Input::Decided(durability) => self.decided(durability),
            Input::CommittedPrepared(node, confirmed) => {
                self.set(&node, if confirmed { Standing::Ended } else { Standing::Unresolved });
                self.finish_commit()
            }
        }
    }

    fn set(&mut self, node: &str, standing: Standing) {
        *self.participants.get_mut(node).expect("only participants are asked, so only they answer") = standing;
    }

    fn committed(&mut self, node: &str, reply: Reply) -> Vec<Action> {
        self.phase = Phase::Finished;
        vec![Action::Answer(match reply {
            Reply::Done => Ok(()),
            Reply::Refused(error) => Err(error),
            Reply::Lost(_) if sabotage!("commit.lost_answer") => Ok(()),
            Reply::Lost(error) => Err(unknown_on_node(node, &error)),
        })]
    }

    fn prepared(&mut self, node: String, reply: Reply) -> Vec<Action> {
        let rolling_back = matches!(self.phase, Phase::RollingBack(_));
        match reply {
            Reply::Done if rolling_back => {
                self.set(&node, Standing::Ending);
                vec![Action::RollbackPrepared(node)]
            }
            Reply::Done => {
                self.set(&node, Standing::Prepared);
                self.decide_if_all_prepared()
            }
            Reply::Refused(error) => {
                // The server has rolled back, but our guard before PREPARE may have failed instead and left the
                // failed transaction open: one ROLLBACK makes the connection fit for others either way.
                self.set(&node, Standing::Ending);
                let mut actions = vec![Action::Rollback(node)];
                actions.extend(self.give_up(error));
                actions
            }
            Reply::Lost(error) => {
                self.set(&node, Standing::Unresolved);
                self.give_up(error)
            }
        }
    }

    /// The first failure decides; participants still asked are told when they answer.
    fn give_up(&mut self, error: Error) -> Vec<Action> {
        if self.phase == Phase::Preparing {
            self.phase = Phase::RollingBack(error);
        }
        let mut actions = Vec::new();
        for (name, standing) in &mut self.participants {
            if *standing == Standing::Prepared {
                *standing = Standing::Ending;
                actions.push(Action::RollbackPrepared(name.clone()));
            }
        }
        actions.extend(self.finish_rollback());
        actions
    }

    fn decide_if_all_prepared(&mut self) -> Vec<Action> {
        if self.participants.values().any(|standing| *standing != Standing::Prepared) {
            return Vec::new();
        }
        self.phase = Phase::Deciding;
        vec![Action::Decide(self.participants.keys().cloned().collect())]
    }

    fn decided(&mut self, durability: Durability) -> Vec<Action> {
        match durability {
            Durability::Durable => {
                self.phase = Phase::Committing;
                for standing in self.participants.values_mut() {
                    *standing = Standing::Ending;
                }
                let mut actions: Vec<Action> = self.participants.keys().cloned().map(Action::CommitPrepared).collect();
                actions.extend(self.finish_commit());
                actions
            }
            Durability::Failed(error) => {
                self.phase = Phase::RollingBack(error.clone());
                self.give_up(error)
            }
            Durability::Unknown(error) => {
                self.phase = Phase::Finished;
                vec![Action::Answer(Err(unknown_decision(&error)))]
            }
        }
    }

    fn finish_rollback(&mut self) -> Vec<Action> {
        let Phase::RollingBack(error) = &self.phase else { return Vec::new() };
        if self.participants.values().any(|standing| !matches!(standing, Standing::Ended | Standing::Unresolved)) {
            return Vec::new();
        }
        let answer = Action::Answer(Err(error.clone()));
        self.phase = Phase::Finished;
        vec![answer]
    }

    fn finish_commit(&mut self) -> Vec<Action> {
        if self.participants.values().any(|standing| *standing == Standing::Ending) {
            return Vec::new();
        }
        self.phase = Phase::Finished;
        let mut actions = Vec::new();
        let confirmed = |standing: &Standing| *standing == Standing::Ended || sabotage!("decision.forgotten");
        if !self.participants.is_empty() && self.participants.values().all(confirmed) {
            actions.push(Action::Forget);
        }
        actions.push(Action::Answer(Ok(())));
        actions
    }
}

fn unknown_on_node(node: &str, error: &Error) -> Error {
    Error::new(
        codes::TRANSACTION_RESOLUTION_UNKNOWN,
        format!("connection to data node \"{node}\" was lost while it committed: the outcome is unknown"),
    )
    .with_detail(error.message())
    .with_hint(
        "The transaction is either wholly stored or not at all. Look whether its rows are there before you repeat it.",
    )
}

fn unknown_decision(error: &Error) -> Error {
    Error::new(
        codes::TRANSACTION_RESOLUTION_UNKNOWN,
        "the commit decision may or may not have been stored: the outcome is unknown",
    )
    .with_detail(error.message())
    .with_hint("It is resolved, on all data nodes alike, as soon as the access node can read its disk again.")
}
