//! `hypertile serve`: one server. What `up` needs too stands here: the runtime, the log, the end.

use super::{Exit, Failure};
use crate::host::Listener;
use crate::host::real::{Surroundings, real_in};
use crate::node::{Config, Server};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The data folder; made if it does not exist
    #[arg(long)]
    dir: PathBuf,
    /// The port to listen on
    #[arg(long)]
    port: u16,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    address: String,
    /// A file whose first line is the password that every user must give (SCRAM-SHA-256); without it everybody is trusted
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Another name for an address, looked up before DNS: NAME=ADDRESS:PORT
    #[arg(long = "host", value_name = "NAME=ADDRESS:PORT", value_parser = host_entry)]
    hosts: Vec<(String, (String, u16))>,
    /// For tests: a file that says how wrong this server's clock is
    #[arg(long, hide = true)]
    clock_file: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    log_to_standard_error()?;
    let password = arguments.password_file.as_deref().map(read_password).transpose()?;
    let config = Config { port: arguments.port, password };
    let surroundings = Surroundings { hosts: arguments.hosts.into_iter().collect(), clock_file: arguments.clock_file };
    runtime()?.block_on(async {
        let (server, listener) =
            start("server", &arguments.dir, &arguments.address, arguments.port, config, surroundings).await?;
        println!("listening on {}:{}, data in {}", arguments.address, arguments.port, arguments.dir.display());
        tokio::select! {
            biased;
            () = stopped() => {}
            () = server.clone().run(listener) => {}
        }
        shut_down(&[server]).await;
        Ok(Exit::Success)
    })
}

/// Which events are logged: a level, or `TARGET=LEVEL,…` as in `warn,hypertile::access::txn=info`.
const LOG_VARIABLE: &str = "HYPERTILE_LOG";

/// Sends log events to standard error, warnings and errors unless [`LOG_VARIABLE`] says otherwise. Simulations have no
/// log: what happens there is in their record, and their output is one line a run.
pub fn log_to_standard_error() -> Result<(), Failure> {
    let wanted = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "warn".to_string());
    let targets: Targets = wanted.parse().map_err(|error| {
        Failure::usage(format!(
            "{LOG_VARIABLE}={wanted}: expected a level (error, warn, info, debug, trace, off) or TARGET=LEVEL,… ({error})"
        ))
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(targets);
    tracing_subscriber::registry().with(lines).init();
    Ok(())
}

/// How long clients have to hear that the server goes.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// Turns new clients away and ends the connections of those there are (`57P01`), which rolls back what they have open.
pub async fn shut_down(servers: &[Arc<Server>]) {
    for server in servers {
        server.shut_down();
    }
    let all = futures::future::join_all(servers.iter().map(|server| server.drained()));
    #[expect(clippy::disallowed_methods, reason = "the process itself ends, whatever its servers wait for")]
    let _ = tokio::time::timeout(FAREWELL_MAX, all).await;
}

/// The runtime of the real world.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::input(format!("cannot start the runtime: {error}")))
}

/// Opens a data folder and a listener; each failure is one clear line.
pub async fn start(
    name: &str,
    folder: &Path,
    address: &str,
    port: u16,
    config: Config,
    surroundings: Surroundings,
) -> Result<(Arc<Server>, Box<dyn Listener>), Failure> {
    let host = real_in(name, folder, surroundings)
        .map_err(|error| Failure::input(format!("cannot use the data folder {}: {error}", folder.display())))?;
    let listener = host
        .net()
        .listen(address, port)
        .await
        .map_err(|error| Failure::input(format!("cannot listen on {address}:{port}: {error}")))?;
    let server = Server::open(&host, config).await.map_err(|error| {
        let hint = error.hint().map(|hint| format!(" {hint}")).unwrap_or_default();
        Failure::input(format!("cannot open the data folder {}: {}.{hint}", folder.display(), error.message()))
    })?;
    Ok((server, listener))
}

/// Ends when the user presses Ctrl-C or the process is told to terminate.
pub async fn stopped() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// The first line of a password file.
#[expect(clippy::disallowed_methods, reason = "reads the file that the user named")]
fn read_password(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::input(format!("cannot read the password file {}: {error}", path.display())))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_string()),
        _ => Err(Failure::input(format!("the password file {} has no first line", path.display()))),
    }
}

fn host_entry(text: &str) -> Result<(String, (String, u16)), String> {
    let form = || format!("bad host \"{text}\", expected NAME=ADDRESS:PORT");
    let (name, target) = text.split_once('=').ok_or_else(form)?;
    let (address, port) = target.rsplit_once(':').ok_or_else(form)?;
    let port = port.parse().map_err(|_| form())?;
    if name.is_empty() || address.is_empty() {
        return Err(form());
    }
    Ok((name.to_string(), (address.to_string(), port)))
}
