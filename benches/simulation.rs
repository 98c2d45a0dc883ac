//! How fast simulated time passes: one access node and three data nodes for a simulated minute, with at least a hundred statements in
//! each simulated second, calm and with faults; and how many seeds of the default swarm a core gets through in a minute.
//!
//! Simulated seconds for a second of real time mean nothing without the statements in them: idle virtual time is free.
//! So each line has both. Look at the ratios; absolute times depend on the machine.

use criterion::{Criterion, criterion_group, criterion_main};
use hypertile::sim::scenario::run::{Class, Failure};
use hypertile::trial::plan::Plan;
use hypertile::trial::plan::mix::Mix;
use hypertile::trial::report::Report;
use hypertile::trial::words::Words;
use hypertile::trial::worker::{Request, View, Workers};
use hypertile::trial::workload;
use std::fmt::Write;
use std::path::Path;

/// Eleven writers, each about nine and a half times a second, for a minute.
const WRITERS: u32 = 11;
const WRITES: u32 = 570;
const PAUSE_MS: u32 = 85;

const FAULTS: &str = "nemesis crash node1 after 10s for 5s
nemesis partition an | node2 after 25s for 5s
nemesis crash an after 40s for 1s
nemesis clock node0 +1h after 50s
";

const MIX: &str = include_str!("../scenarios/swarm/default.mix");

/// A minute of single-statement clients, every line of them written out.
fn busy_minute(faults: &str) -> String {
    let mut text = String::from(
        "cluster data=3 world=sim\n\nstatement ok\nCREATE TABLE batches (time timestamptz NOT NULL, device text NOT NULL, \
         writer int, batch int, row int, rows int)\n\nstatement ok\nSELECT create_distributed_hypertable('batches', 'time', 'device')\n\n",
    );
    text.push_str(faults);
    for writer in 0..WRITERS {
        let _ = writeln!(text, "\nclient w{writer}");
        for number in 0..WRITES {
            let (day, device) = (1 + (number + writer) % 28, number % 17);
            let verb = if number % 4 == 3 { "copy" } else { "insert" };
            let rows = format!("2023-01-{day:02}/{device} 2023-01-{day:02}T12:00:00/{}", device + 1);
            let _ = writeln!(text, "{PAUSE_MS}ms {verb} batches {writer}.{number} {rows}");
        }
    }
    let writers: Vec<String> = (0..WRITERS).map(|writer| format!("w{writer}")).collect();
    let _ = write!(
        text,
        "\nclient r while {}\n1s read batches\n\nawait workload\n\nnemesis recover\n\ncheck all\n",
        writers.join(" ")
    );
    text
}

/// What some runs came to, added up.
#[derive(Default)]
struct Sum {
    runs: u64,
    simulated: f64,
    real: f64,
    statements: u64,
    faults: u64,
    peak_kilobytes: u64,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        assert!(!report.failed(), "seed {}: {}", report.seed, report.reason.as_deref().unwrap_or_default());
        self.runs += 1;
        self.simulated += report.simulated_seconds.unwrap_or_default();
        self.real += report.wall_seconds;
        self.statements += report.operations.values().map(|tally| tally.total()).sum::<u64>();
        self.faults += report.faults;
        self.peak_kilobytes = self.peak_kilobytes.max(report.peak_kilobytes.unwrap_or_default());
    }

    fn line(&self, name: &str) -> String {
        format!(
            "{name}: {:.0} simulated seconds for one of one core, with {:.0} operations in a simulated second; {:.0} operations and \
             {:.1} faults in a second of one core, {:.0} seeds a minute, at most {} MB",
            self.simulated / self.real,
            self.statements as f64 / self.simulated,
            self.statements as f64 / self.real,
            self.faults as f64 / self.real,
            60.0 * self.runs as f64 / self.real,
            self.peak_kilobytes / 1024
        )
    }
}

fn run(workers: &Workers, name: &str, text: String, seed: u64) -> Report {
    let request = Request { file: name.to_string(), text, seed, sabotage: vec![], view: View::default(), turn: None };
    workers.run(&request).unwrap_or_else(|why| Report::failed_early(name, seed, Failure::new(Class::Panic, why)))
}

fn simulation(criterion: &mut Criterion) {
    let workers = Workers::new(Path::new(env!("CARGO_BIN_EXE_hypertile")));
    let mix = Mix::parse("default.mix", MIX, &workload::NAMES, &Words).expect("the default mix parses");
    let mut lines = Vec::new();
    let mut group = criterion.benchmark_group("simulation");
    group.sample_size(10);
    let kinds: [(&str, &dyn Fn(u64) -> String); 3] = [
        ("a busy minute", &|_| busy_minute("")),
        ("a busy minute with faults", &|_| busy_minute(FAULTS)),
        ("a run of the default swarm", &|seed| Plan::from_seed(seed, &mix).expect("the mix has known options").text()),
    ];
    for (name, text) in kinds {
        let (mut sum, mut seed) = (Sum::default(), 0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                seed += 1;
                sum.add(&run(&workers, name, text(seed), seed));
            });
        });
        lines.push(sum.line(name));
    }
    group.finish();
    lines.iter().for_each(|line| println!("{line}"));
}

criterion_group!(benches, simulation);
criterion_main!(benches);
