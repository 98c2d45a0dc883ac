//! Stock PostgreSQL servers as data nodes, started here from the installed binaries, behind a real access node.

#![expect(clippy::disallowed_methods, reason = "finds, prepares and starts servers of the operating system")]

use super::process::{Folder, Process, User, free_port};
use super::real::RealStage;
use super::{USER, data_node_names};
use crate::error::{Error, Result, codes};
use crate::host::real::real;
use crate::sim::scenario::{ClusterSpec, WorldKind};
use crate::wire::client::Address;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the newest installed PostgreSQL keeps its server binaries, if there is one.
/// `HYPERTILE_POSTGRES_BIN` names another place.
pub fn installed() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("HYPERTILE_POSTGRES_BIN") {
        return Some(PathBuf::from(named));
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            let bin = path.join("bin");
            bin.join("initdb").exists().then_some((version, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

/// Starts one scenario's servers and makes them a cluster. `settings` are added to every PostgreSQL server's command
/// line, as `max_prepared_transactions=64`.
pub async fn start(program: &Path, bin: &Path, spec: &ClusterSpec, seed: u64, settings: &[&str]) -> Result<RealStage> {
    let folder = Folder::new()?;
    let host = real("client", &folder.path().join("client"))?;
    let user = User::unprivileged()?;
    let template = init(bin, folder.path(), user)?;
    let mut servers = BTreeMap::new();
    for name in data_node_names(spec) {
        let port = free_port(&host).await?;
        let server = postgres(bin, folder.path(), &template, &name, port, user, settings)?;
        servers.insert(name, server);
    }
    RealStage::start(WorldKind::Postgres, program, spec, seed, host, folder, servers).await
}

/// Runs initdb once; every server starts from a copy.
fn init(bin: &Path, folder: &Path, user: Option<User>) -> Result<PathBuf> {
    let home = folder.join("postgres");
    make_dir(&home, user)?;
    let template = home.join("template");
    let mut command = Command::new(bin.join("initdb"));
    command.args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]).arg(&template);
    run(command, user, &home)?;
    Ok(template)
}

fn postgres(
    bin: &Path,
    folder: &Path,
    template: &Path,
    name: &str,
    port: u16,
    user: Option<User>,
    settings: &[&str],
) -> Result<Process> {
    let home = folder.join("postgres");
    let data = home.join(name);
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(template).arg(&data);
    run(copy, user, &home)?;
    let address = Address {
        host: "127.0.0.1".to_string(),
        port,
        database: "postgres".to_string(),
        user: USER.to_string(),
        password: None,
    };
    let (program, sockets) = (bin.join("postgres"), home.clone());
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    Ok(Process::new(name, folder.join(format!("{name}.log")), address, move || {
        let mut command = Command::new(&program);
        command.arg("-D").arg(&data).arg("-p").arg(port.to_string()).arg("-k").arg(&sockets);
        // The process may be killed, the machine is not: fsync would only cost time here.
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=16MB", "max_connections=60"] {
            command.arg("-c").arg(setting);
        }
        for setting in &settings {
            command.arg("-c").arg(setting);
        }
        command.current_dir(&sockets);
        if let Some(user) = user {
            user.apply(&mut command);
        }
        command
    }))
}

fn make_dir(path: &Path, user: Option<User>) -> Result<()> {
    std::fs::create_dir_all(path)?;
    if let Some(user) = user {
        user.own(path)?;
    }
    Ok(())
}

fn run(mut command: Command, user: Option<User>, folder: &Path) -> Result<()> {
    command.current_dir(folder);
    if let Some(user) = user {
        user.apply(&mut command);
    }
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(codes::CANNOT_CONNECT, format!("{:?} failed: {}", command.get_program(), text.trim())))
}
