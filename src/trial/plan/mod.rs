//! Plans: everything that a run of the swarm will do, drawn up front from one seed.
//!
//! A plan is written as a scenario with every draw made explicit ([`Plan::text`]), and that text is what is run. So what a failing
//! seed did can be read, edited, shrunk and kept. [`mix`] says what plans are drawn from.
//!
//! A run has three phases: clients work while faults strike; everything is made well; then the cluster must serve fresh
//! writes within a bound, converge, and stand before the judges.

pub mod mix;

use super::workload;
use crate::ids::quote_identifier;
use crate::sim::chance::{self, Stream};
use crate::sim::scenario::{ClientBlock, Fault, Links, Nemesis, When, WorkloadSpec};
use crate::trial::stage::ACCESS_NODE;
use crate::{buggify, probe};
use mix::{FaultKind, FaultMix, Mix};
use rand::Rng;
use rand::seq::SliceRandom;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::time::Duration;

/// So many times more faults strike in a wild run.
const WILD_FACTOR: u64 = 5;

/// How many of a hundred buggified runs have a point active.
const POINT_ACTIVE_PERCENT: u64 = 25;

/// How often a probe may be reached before a fault strikes at it.
const PROBE_HITS_MAX: u64 = 30;

/// Within so long the cluster must take a fresh write once everything is well again.
const FRESH_WRITE_WITHIN: &str = "60s";

/// One run, drawn.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub mix: String,
    pub data: u64,
    pub spare: u64,
    pub tables: Vec<Table>,
    pub clients: Vec<ClientBlock>,
    pub faults: Vec<Nemesis>,
    /// Points that fire now and then.
    pub buggify: Vec<&'static str>,
    pub checkers: Vec<String>,
}

/// A hypertable and the workload that uses it.
#[derive(Clone, Debug)]
pub struct Table {
    pub workload: String,
    pub name: String,
    pub interval_hours: u64,
    pub partitions: u64,
    pub replication: u64,
}

impl Plan {
    /// Errors: the mix gives a workload options that it does not know.
    pub fn from_seed(seed: u64, mix: &Mix) -> Result<Plan, String> {
        // A stream for each part, so that a mix with another fault has the same workload in the same seed.
        let mut shape = chance::stream(seed, "plan/shape");
        let (data, spare) = (draw(&mut shape, &mix.data), draw(&mut shape, &mix.spare));
        let during_ms = draw(&mut shape, &mix.during_ms);
        let wild = percent(&mut shape, mix.wild_percent);
        let mut plan = Plan {
            seed,
            mix: mix.file.clone(),
            data,
            spare,
            tables: vec![],
            clients: vec![],
            faults: vec![],
            buggify: active_points(seed, mix),
            checkers: mix.checkers.clone(),
        };
        let mut idle = true;
        for (number, workload) in mix.workloads.iter().enumerate() {
            let mut chance = chance::stream(seed, &format!("plan/workload/{}/{number}", workload.name));
            // A run without any work would prove nothing: then the first one is in.
            let drawn = percent(&mut chance, workload.chance_percent);
            if drawn {
                plan.add_workload(mix, workload, during_ms, &mut chance)?;
            }
            idle &= !drawn || plan.clients.is_empty();
        }
        if let (true, Some(workload)) = (idle, mix.workloads.first()) {
            let mut chance = chance::stream(seed, &format!("plan/workload/{}", workload.name));
            plan.add_workload(mix, workload, during_ms, &mut chance)?;
        }
        for (number, fault) in mix.faults.iter().enumerate() {
            let mut chance = chance::stream(seed, &format!("plan/fault/{number}"));
            if percent(&mut chance, fault.chance_percent) {
                let count = draw(&mut chance, &fault.count) * if wild { WILD_FACTOR } else { 1 };
                let faults: Vec<Nemesis> =
                    (0..count).filter_map(|_| plan.fault(fault, during_ms, &mut chance)).collect();
                plan.faults.extend(faults);
            }
        }
        plan.faults.sort_by_key(|nemesis| match nemesis.when {
            When::After(delay, _) => delay,
            _ => Duration::ZERO,
        });
        Ok(plan)
    }

    fn add_workload(
        &mut self,
        mix: &Mix,
        workload: &mix::WorkloadMix,
        during_ms: u64,
        chance: &mut Stream,
    ) -> Result<(), String> {
        let name = format!("{}{}", workload.name, self.tables.len());
        let drawn = |chance: &mut Stream| -> Vec<(String, String)> {
            workload.options.iter().map(|(key, range)| (key.clone(), draw(chance, range).to_string())).collect()
        };
        let mut options = drawn(chance);
        if workload.name == "nodes" {
            // An operator has no table, but servers to add and everybody's tables to attach them to.
            let hypertables = self.tables.iter().filter(|table| workload::space_column(&table.workload).is_some());
            let hypertables: Vec<&str> = hypertables.map(|table| table.name.as_str()).collect();
            options.push(("first".to_string(), self.data.to_string()));
            options.push(("count".to_string(), self.spare.to_string()));
            options.push(("tables".to_string(), hypertables.join(",")));
        } else {
            options.push(("table".to_string(), name.clone()));
        }
        let spec = WorkloadSpec { name: workload.name.clone(), options };
        let mut clients = workload::clients(&spec, chance)?;
        clients.iter_mut().for_each(|client| spread(client, during_ms, chance));
        self.clients.extend(clients);
        self.tables.push(Table {
            workload: workload.name.clone(),
            name,
            interval_hours: (draw(chance, &mix.interval_ms) / 3_600_000).max(1),
            partitions: draw(chance, &mix.partitions),
            replication: draw(chance, &mix.replication).min(self.data.max(1)),
        });
        Ok(())
    }

    /// `None` if the cluster is too small for such a fault.
    fn fault(&self, mix: &FaultMix, during_ms: u64, chance: &mut Stream) -> Option<Nemesis> {
        let nodes = self.nodes();
        let node = nodes[chance.random_range(0..nodes.len())].clone();
        let at = millis(chance.random_range(0..=during_ms));
        let lasts = millis(draw(chance, &mix.lasts_ms));
        let amount = draw(chance, &mix.by);
        let by = amount as i64 * if chance.random_bool(0.5) { 1 } else { -1 };
        let mut when = When::After(at, at);
        let fault = match mix.kind {
            FaultKind::Crash => Fault::Crash(node),
            FaultKind::CrashAtProbe => {
                let probe = probe::ALL[chance.random_range(0..probe::ALL.len())].to_string();
                let hit = chance.random_range(1..=PROBE_HITS_MAX) as u32;
                when = When::At { probe, hits: (hit, hit) };
                Fault::Crash(node)
            }
            FaultKind::Partition => Fault::Partition(groups(nodes, chance)?),
            FaultKind::OneWay => {
                let to: Vec<String> =
                    nodes.into_iter().filter(|other| *other != node && chance.random_bool(0.5)).collect();
                if to.is_empty() {
                    return None;
                }
                Fault::OneWay(node, to)
            }
            FaultKind::Clock => Fault::Clock(node, by * 1_000),
            FaultKind::Drift => Fault::Drift(node, by),
            FaultKind::Pause => Fault::Pause(node),
            FaultKind::Kill => Fault::Kill(node),
            FaultKind::CrashAll => Fault::CrashAll,
            FaultKind::Slow => Fault::Slow(links(nodes, chance)?, millis(amount)),
            FaultKind::Lose => Fault::Lose(links(nodes, chance)?, amount as u32 * 10_000),
            FaultKind::Tail => {
                let ppm = chance.random_range(1..=20) * 10_000;
                Fault::Tail(links(nodes, chance)?, ppm, millis(amount))
            }
            FaultKind::Bandwidth => Fault::Bandwidth(links(nodes, chance)?, amount.max(1)),
            FaultKind::FullDisk => Fault::FullDisk(node, amount),
            FaultKind::SlowDisk => Fault::SlowDisk(node, millis(amount)),
            FaultKind::FailingDisk => Fault::FailingDisk(node, amount as u32 * 10_000),
        };
        let ends = !matches!(fault, Fault::Clock(..) | Fault::Drift(..));
        Some(Nemesis { fault, when, lasts: ends.then_some((lasts, lasts)) })
    }

    /// Names of all nodes.
    fn nodes(&self) -> Vec<String> {
        let data = (0..self.data + self.spare).map(|number| format!("node{number}"));
        [ACCESS_NODE.to_string()].into_iter().chain(data).collect()
    }

    /// The plan as a scenario, every draw made explicit.
    pub fn text(&self) -> String {
        let mut text = format!(
            "# Seed {} of {}\ncluster data={} spare={} seed={} world=sim\n",
            self.seed, self.mix, self.data, self.spare, self.seed
        );
        if !self.buggify.is_empty() {
            let _ = writeln!(text, "buggify {}", self.buggify.join(" "));
        }
        for table in &self.tables {
            text.push_str(&table.statements());
        }
        text.push('\n');
        for nemesis in &self.faults {
            let _ = writeln!(text, "nemesis {nemesis}");
        }
        for client in &self.clients {
            let _ = writeln!(text, "\n{client}");
        }
        text.push_str("\nawait workload\n\n# Everything is made well: now the cluster must serve, and converge.\nnemesis recover\n");
        for table in &self.tables {
            if let Some(operation) = workload::fresh_write(&table.workload, &table.name) {
                let _ = write!(text, "\neventually {FRESH_WRITE_WITHIN}\nstatement ok\n{operation}\n");
            }
        }
        let _ = writeln!(text, "\ncheck {}", self.checkers.join(" "));
        text
    }
}

impl Table {
    fn statements(&self) -> String {
        let Some(schema) = workload::schema(&self.workload, &self.name) else { return String::new() };
        let Some(space) = workload::space_column(&self.workload) else {
            return format!("\nstatement ok\n{schema}\n");
        };
        let name = quote_identifier(&self.name);
        let companions: String = workload::companions(&self.workload, &self.name)
            .iter()
            .map(|statement| format!("\nstatement ok\n{statement}\n"))
            .collect();
        format!(
            "\nstatement ok\n{schema}\n\nstatement ok\nSELECT create_distributed_hypertable('{name}', 'time', '{space}', \
             number_partitions => {}, chunk_time_interval => INTERVAL '{} hours', replication_factor => {})\n{companions}",
            self.partitions, self.interval_hours, self.replication
        )
    }
}

/// Whether a run is buggified at all, and if so, at which points: each has dice of its own, so that a new point leaves the
/// others as they were. Points that the mix names are all active.
fn active_points(seed: u64, mix: &Mix) -> Vec<&'static str> {
    if !percent(&mut chance::stream(seed, "plan/buggify"), mix.buggify_percent) {
        return vec![];
    }
    if !mix.buggify_points.is_empty() {
        return mix.buggify_points.clone();
    }
    let active =
        |name: &&str| percent(&mut chance::stream(seed, &format!("plan/buggify/{name}")), POINT_ACTIVE_PERCENT);
    buggify::ALL.iter().map(|point| point.name).filter(active).collect()
}

/// Stretches a client's pauses so that its work lasts about as long as the faults do.
fn spread(client: &mut ClientBlock, during_ms: u64, chance: &mut Stream) {
    if !client.accompanies.is_empty() {
        return;
    }
    // Twice the mean: a pause is drawn from nothing to this.
    let pause_max = 2 * during_ms / client.operations.len().max(1) as u64;
    for operation in &mut client.operations {
        let pause = millis(chance.random_range(0..=pause_max));
        operation.pause = (pause, pause);
    }
}

/// Ways between two groups of nodes, or from one node to others.
fn links(nodes: Vec<String>, chance: &mut Stream) -> Option<Links> {
    let mut groups = groups(nodes, chance)?;
    if chance.random_bool(0.5) {
        return Some(Links::Between(groups));
    }
    let to = groups.pop()?;
    let from = groups.pop()?.into_iter().next()?;
    Some(Links::OneWay(from, to))
}

/// Two groups of nodes, neither empty; sometimes the client is in one. `None` if there is but one node.
fn groups(mut nodes: Vec<String>, chance: &mut Stream) -> Option<Vec<Vec<String>>> {
    if nodes.len() < 2 {
        return None;
    }
    nodes.shuffle(chance);
    let rest = nodes.split_off(chance.random_range(1..nodes.len()));
    if chance.random_bool(0.2) {
        nodes.push("client".to_string());
    }
    Some(vec![nodes, rest])
}

fn draw(chance: &mut Stream, range: &RangeInclusive<u64>) -> u64 {
    chance.random_range(range.clone())
}

fn percent(chance: &mut Stream, percent: u64) -> bool {
    chance.random_range(0..100) < percent
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scenario::Action;
    use crate::trial::words::{Words, parse};

    const MIX: &str = include_str!("../../../scenarios/swarm/default.mix");

    fn mix() -> Mix {
        Mix::parse("default.mix", MIX, &workload::NAMES, &Words).unwrap()
    }

    #[test]
    fn every_plan_is_a_scenario_that_has_its_faults_and_clients() {
        for seed in 0..200 {
            let plan = Plan::from_seed(seed, &mix()).unwrap();
            let text = plan.text();
            let scenario = parse("plan.slt", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let faults: Vec<&Nemesis> = scenario
                .steps
                .iter()
                .filter_map(|step| match &step.action {
                    Action::Nemesis(nemesis) if nemesis.fault != Fault::Recover => Some(nemesis),
                    _ => None,
                })
                .collect();
            assert_eq!(faults, plan.faults.iter().collect::<Vec<_>>(), "{text}");
            let clients: Vec<&ClientBlock> = scenario
                .steps
                .iter()
                .filter_map(|step| match &step.action {
                    Action::Client(block) => Some(block),
                    _ => None,
                })
                .collect();
            assert_eq!(clients, plan.clients.iter().collect::<Vec<_>>());
            assert_eq!(scenario.buggify, plan.buggify);
        }
    }

    #[test]
    fn a_third_of_the_runs_have_a_quarter_of_the_points() {
        let plans: Vec<Plan> = (0..300).map(|seed| Plan::from_seed(seed, &mix()).unwrap()).collect();
        let buggified: Vec<usize> = plans.iter().map(|plan| plan.buggify.len()).filter(|points| *points > 0).collect();
        assert!((70..130).contains(&buggified.len()), "{} of 300", buggified.len());
        let mean = buggified.iter().sum::<usize>() as f64 / buggified.len() as f64;
        assert!((3.0..6.0).contains(&mean), "{mean} of {} points", buggify::ALL.len());
        for point in &buggify::ALL {
            assert!(plans.iter().any(|plan| plan.buggify.contains(&point.name)), "{} is never active", point.name);
        }
    }

    #[test]
    fn the_seed_fixes_the_plan_and_plans_differ() {
        let text = |seed| Plan::from_seed(seed, &mix()).unwrap().text();
        assert_eq!(text(3), text(3));
        assert_ne!(text(3).lines().skip(2).collect::<Vec<_>>(), text(4).lines().skip(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_fault_more_in_the_mix_leaves_the_workload_as_it_was() {
        let calm = Mix { faults: vec![], ..mix() };
        for seed in 0..20 {
            assert_eq!(Plan::from_seed(seed, &calm).unwrap().clients, Plan::from_seed(seed, &mix()).unwrap().clients);
        }
    }

    #[test]
    fn most_runs_have_few_kinds_of_faults_and_some_are_wild() {
        let counts: Vec<usize> = (0..300).map(|seed| Plan::from_seed(seed, &mix()).unwrap().faults.len()).collect();
        let calm = counts.iter().filter(|count| **count <= 4).count();
        assert!(calm > 150, "{calm} of 300 have at most four faults");
        assert!(counts.iter().any(|count| *count > 15));
    }
}
