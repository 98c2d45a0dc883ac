//! `hypertile generate cpu`: the benchmark's data set as CSV.
//!
//! The data set is the one that the published baselines were measured on, byte for byte: TSBS-like CPU metrics from
//! independent clamped random walks, rows time-major. It is defined by CPython's `random.Random(seed)` (Mersenne
//! Twister, `random()`, `choice`, `uniform`, `gauss`), which is why those few functions stand here again.
//! A longer data set begins with the bytes of a shorter one.

use super::{Exit, Failure};
use crate::units::duration;
use chrono::{DateTime, Utc};
use rand_mt::Mt;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The data set: only `cpu`.
    #[arg(value_parser = ["cpu"])]
    data_set: String,
    #[arg(long, default_value_t = 100)]
    hosts: u32,
    /// Hours of data from 2023-01-01 00:00:00 UTC on.
    #[arg(long, default_value_t = 28)]
    hours: u32,
    /// Time between two rows of one host, whole seconds.
    #[arg(long, default_value = "10s", value_parser = duration)]
    interval: std::time::Duration,
    #[arg(long, default_value_t = 123)]
    seed: u32,
    /// Writes to this file instead of standard output.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let step = u32::try_from(arguments.interval.as_secs()).unwrap_or(0);
    if step == 0 || arguments.interval.subsec_nanos() != 0 {
        return Err(Failure::usage("--interval: expected whole seconds, at least 1s"));
    }
    let result = match &arguments.out {
        Some(path) => create(path).and_then(|file| write(BufWriter::with_capacity(1 << 20, file), &arguments, step)),
        None => write(BufWriter::with_capacity(1 << 20, io::stdout().lock()), &arguments, step),
    };
    match result {
        // `hypertile generate … | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Success),
        Err(error) => Err(Failure::input(format!("cannot write the data set: {error}"))),
        Ok(()) => Ok(Exit::Success),
    }
}

#[expect(clippy::disallowed_methods, reason = "a command-line tool writes the file its user named")]
fn create(path: &PathBuf) -> io::Result<std::fs::File> {
    std::fs::File::create(path)
}

fn write(mut out: impl Write, arguments: &Arguments, step: u32) -> io::Result<()> {
    let mut generator = Generator::new(arguments.hosts, step, arguments.seed);
    let rows = u64::from(arguments.hours) * 3600 / u64::from(step);
    let mut text = String::new();
    for _ in 0..rows {
        text.clear();
        generator.next_moment(&mut text);
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

const REGIONS: [&str; 9] = [
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
];
const TEAMS: [&str; 4] = ["SF", "NYC", "LON", "CHI"];
const METRICS: usize = 10;
/// 2023-01-01 00:00:00 UTC.
const START_SECONDS: i64 = 1_672_531_200;

/// Rows of all hosts, one moment after the other.
pub struct Generator {
    random: PythonRandom,
    /// `hostname,region,datacenter,team` of each host.
    tags: Vec<String>,
    metrics: Vec<[f64; METRICS]>,
    step_seconds: u32,
    moment: i64,
}

impl Generator {
    pub fn new(hosts: u32, step_seconds: u32, seed: u32) -> Generator {
        let mut random = PythonRandom::new(seed);
        let tags = (0..hosts)
            .map(|host| {
                let region = REGIONS[random.below(REGIONS.len())];
                let zone = ["a", "b", "c"][random.below(3)];
                let team = TEAMS[random.below(TEAMS.len())];
                format!("host_{host},{region},{region}{zone},{team}")
            })
            .collect();
        let metrics = (0..hosts).map(|_| std::array::from_fn(|_| 100.0 * random.uniform())).collect();
        Generator { random, tags, metrics, step_seconds, moment: START_SECONDS }
    }

    /// Appends the CSV lines of the next moment, one a host.
    pub fn next_moment(&mut self, out: &mut String) {
        use std::fmt::Write;
        let time: DateTime<Utc> = DateTime::from_timestamp(self.moment, 0).expect("centuries away from the type's end");
        let time = time.format("%Y-%m-%d %H:%M:%S+00").to_string();
        self.moment += i64::from(self.step_seconds);
        for (tags, metrics) in self.tags.iter().zip(&mut self.metrics) {
            write!(out, "{time},{tags}").expect("a String takes everything");
            for metric in metrics {
                *metric = (*metric + self.random.gauss()).clamp(0.0, 100.0);
                write!(out, ",{}", *metric as i64).expect("a String takes everything");
            }
            out.push('\n');
        }
    }
}

/// CPython's `random.Random(seed)`: Lib/random.py and Modules/_randommodule.c.
struct PythonRandom {
    twister: Mt,
    /// The second deviate of the last pair.
    gauss_next: Option<f64>,
}

impl PythonRandom {
    fn new(seed: u32) -> PythonRandom {
        PythonRandom { twister: Mt::new_with_key([seed]), gauss_next: None }
    }

    /// `random()`: 53 random bits in [0, 1).
    fn uniform(&mut self) -> f64 {
        let high = f64::from(self.twister.next_u32() >> 5);
        let low = f64::from(self.twister.next_u32() >> 6);
        (high * 67_108_864.0 + low) * (1.0 / 9_007_199_254_740_992.0)
    }

    /// `_randbelow`: tries as many bits as `bound` has until they fit.
    fn below(&mut self, bound: usize) -> usize {
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let drawn = (self.twister.next_u32() >> (32 - bits)) as usize;
            if drawn < bound {
                return drawn;
            }
        }
    }

    /// `gauss(0, 1)`: Box-Muller, two deviates a turn.
    fn gauss(&mut self) -> f64 {
        if let Some(deviate) = self.gauss_next.take() {
            return deviate;
        }
        let angle = self.uniform() * std::f64::consts::TAU;
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        self.gauss_next = Some(angle.sin() * radius);
        angle.cos() * radius
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first lines of the reference data set, seed 123.
    #[test]
    fn the_data_set_is_the_reference_one() {
        let mut text = String::new();
        Generator::new(100, 10, 123).next_moment(&mut text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 100);
        assert_eq!(lines[0], "2023-01-01 00:00:00+00,host_0,us-east-1,us-east-1b,SF,3,2,68,19,27,17,73,53,19,49");
        assert_eq!(
            lines[1],
            "2023-01-01 00:00:00+00,host_1,ap-southeast-2,ap-southeast-2b,SF,84,22,51,9,62,54,80,50,91,63"
        );
    }
}
