//! Hypertables on trial: clusters under load and faults, and the judges.
//!
//! Everything here is about this database; what is not (worlds, the language of scenarios, the runner) is in `sim`,
//! which other systems may use too.
//!
//! Reading order: [`words`] (what scenario files may say about hypertables), [`workload`] (what clients do) and
//! [`history`] (what they saw), [`question`] (what dashboards ask, and the model that answers), [`subject`] (all of it
//! together, as the runner of scenarios wants it), [`observe`] (what is there in the end), [`checker`] (the judges),
//! [`diversity`] (how much they got to see), [`stage`] (where it is played), [`session`] (one connection), [`plan`] and
//! [`swarm`] (many runs, each drawn from a seed), [`coverage`] (which code they came to), [`matrix`] (whether the judges
//! find planted bugs), [`worker`] (the processes that simulate), [`shrink`] and [`why`] (what they find out about a
//! failure), [`report`] and [`golden`] (what a run leaves behind).

pub mod checker;
pub mod coverage;
pub mod diversity;
pub mod golden;
pub mod history;
pub mod matrix;
pub mod observe;
pub mod plan;
pub mod question;
pub mod report;
pub mod session;
pub mod shrink;
pub mod stage;
pub mod subject;
pub mod swarm;
pub mod tracks;
pub mod warm_up;
pub mod why;
pub mod words;
pub mod worker;
pub mod workload;
