//! What the user named: files that are there, ranges of seeds.

use super::Failure;
use crate::sim::scenario::Scenario;
use crate::trial::plan::Plan;
use crate::trial::plan::mix::Mix;
use crate::trial::words::{self, Words};
use crate::trial::workload;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[expect(clippy::disallowed_methods, reason = "reads the file that the user named")]
pub fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

/// Of a file that need not be there.
pub fn read_if_there(path: &Path) -> Result<Option<String>, Failure> {
    if path.exists() { read(path).map(Some) } else { Ok(None) }
}

pub fn unreadable(path: &Path, why: &dyn fmt::Display) -> Failure {
    Failure::input(format!("cannot read {}: {why}", path.display()))
}

/// The scenarios of all paths, by file name; folders are searched for `.slt` files.
pub fn load(paths: &[PathBuf]) -> Result<Vec<(String, Scenario)>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        find(path, &mut files)?;
    }
    if files.is_empty() {
        return Err(Failure::input("no scenario files (*.slt) there"));
    }
    files.iter().map(PathBuf::as_path).map(load_one).collect()
}

pub fn load_one(path: &Path) -> Result<(String, Scenario), Failure> {
    let (name, text) = (path.display().to_string(), read(path)?);
    let scenario = words::parse(&name, &text).map_err(|error| Failure::input(error.to_string()))?;
    Ok((name, scenario))
}

#[expect(clippy::disallowed_methods, reason = "walks the folders that the user named")]
fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error| unreadable(path, &error);
    if !path.is_dir() {
        if !path.exists() {
            return Err(Failure::input(format!("there is no {}", path.display())));
        }
        files.push(path.to_path_buf());
        return Ok(());
    }
    let entries: io::Result<Vec<PathBuf>> =
        std::fs::read_dir(path).map_err(unreadable)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut entries = entries.map_err(unreadable)?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "slt") {
            find(&entry, files)?;
        }
    }
    Ok(())
}

/// The mix of those who name none.
const DEFAULT_MIX: &str = include_str!("../../scenarios/swarm/default.mix");

/// The mix in a file, or without one that which this program was built with.
pub fn mix(path: Option<&Path>) -> Result<Mix, Failure> {
    let (name, text) = match path {
        None => ("scenarios/swarm/default.mix".to_string(), DEFAULT_MIX.to_string()),
        Some(path) => (path.display().to_string(), read(path)?),
    };
    let mix = Mix::parse(&name, &text, &workload::NAMES, &Words).map_err(|error| Failure::input(error.to_string()))?;
    // Options of workloads are known to them only.
    Plan::from_seed(0, &mix).map_err(|why| Failure::input(format!("{name}: {why}")))?;
    Ok(mix)
}

pub fn seed_range(text: &str) -> Result<(u64, u64), String> {
    let form = || format!("bad seeds \"{text}\", expected FIRST..LAST, as 1..1000");
    let (first, last) = text.split_once("..").ok_or_else(form)?;
    let (first, last) = (first.parse().map_err(|_| form())?, last.parse().map_err(|_| form())?);
    if first <= last { Ok((first, last)) } else { Err(form()) }
}
