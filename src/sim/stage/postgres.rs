//! Stock PostgreSQL servers as data nodes, started here from the installed binaries, behind a real access node.

use super::loopback::{REAL_WAIT_MAX, can_with_processes, make_cluster, server, strike_process};
use super::process::{Folder, Process, User, free_port};
use super::{ACCESS_NODE, DATABASE, Stage, USER};
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::host::real::real;
use crate::sim::scenario::{ClusterSpec, Nemesis, WorldKind};
use crate::wire::client::Address;
use async_trait::async_trait;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One scenario's servers.
pub struct Postgres {
    host: Host,
    servers: BTreeMap<String, Process>,
    data_nodes: Vec<String>,
    random: ChaCha8Rng,
    _folder: Folder,
}

/// Where the newest installed PostgreSQL keeps its server binaries, if there is one.
/// `HYPERTILE_POSTGRES_BIN` names another place.
#[expect(clippy::disallowed_methods, reason = "looks for programs of the operating system")]
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

impl Postgres {
    /// `settings` are added to every PostgreSQL server's command line, as `max_prepared_transactions=64`.
    pub async fn start(
        program: &Path,
        bin: &Path,
        spec: &ClusterSpec,
        seed: u64,
        settings: &[&str],
    ) -> Result<Postgres> {
        let folder = Folder::new()?;
        let host = real("client", &folder.path().join("client"))?;
        let user = User::unprivileged()?;
        let template = init(bin, folder.path(), user)?;
        let data_nodes: Vec<String> = (0..spec.data + spec.spare).map(|k| format!("node{k}")).collect();
        let mut servers = BTreeMap::new();
        for name in &data_nodes {
            let port = free_port(&host).await?;
            servers.insert(name.clone(), postgres(bin, folder.path(), &template, name, port, user, settings)?);
        }
        let names: Vec<(String, u16)> = data_nodes
            .iter()
            .enumerate()
            .map(|(k, name)| (format!("dn{k}.example.com"), servers[name].address().port))
            .collect();
        let access = server(program, folder.path(), ACCESS_NODE, free_port(&host).await?, &names);
        servers.insert(ACCESS_NODE.to_string(), access);
        super::loopback::start_all(&host, &mut servers).await?;
        let mut stage =
            Postgres { host, servers, data_nodes, random: ChaCha8Rng::seed_from_u64(seed), _folder: folder };
        make_cluster(&mut stage, &|k| format!("dn{k}.example.com"), spec.data).await?;
        Ok(stage)
    }
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

#[expect(clippy::disallowed_methods, reason = "prepares folders for real servers")]
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

#[async_trait]
impl Stage for Postgres {
    fn kind(&self) -> WorldKind {
        WorldKind::Postgres
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn address(&self, node: &str) -> Option<Address> {
        let server = self.servers.get(node)?;
        Some(Address { database: DATABASE.to_string(), ..server.address().clone() })
    }

    fn data_nodes(&self) -> Vec<String> {
        self.data_nodes.clone()
    }

    fn can(&self, nemesis: &Nemesis) -> std::result::Result<(), String> {
        can_with_processes(WorldKind::Postgres, nemesis)
    }

    async fn strike(&mut self, nemesis: &Nemesis) -> Result<()> {
        strike_process(&self.host, &mut self.servers, nemesis).await
    }

    async fn heal(&mut self) -> Result<()> {
        Ok(())
    }

    fn draw(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.random.random_range(range)
    }

    fn note(&mut self, _text: &str) {}

    async fn advance(&mut self, duration: Duration) {
        self.host.sleep(duration.min(REAL_WAIT_MAX)).await;
    }
}
