//! `hypertile up`: a cluster on this machine, to touch.
//!
//! One process, several servers, each with its own listener and folder. The access node listens on the port asked for,
//! data node k on the k-th port after it, known to the servers as `dn<k>.example.com`. The data nodes `node0`, `node1`, …
//! are added to the database `tsdb`; one more server runs but is not added, so that there is a node to add.

use super::serve::{log_to_standard_error, runtime, shut_down, start, stopped};
use super::{Exit, Failure};
use crate::host::Host;
use crate::host::real::{HostTable, Surroundings, real};
use crate::ids::quote_literal;
use crate::node::{Config, FIRST_DATABASE, Server, data_node_host as host_name};
use crate::wire::client::{Address, Connection};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The database that is made the access node.
const DATABASE: &str = "tsdb";
const USER: &str = "postgres";
/// Says what the folder holds, as `FORMAT` does in a server's folder.
const LAYOUT_FILE: &str = "CLUSTER";
const LISTEN: &str = "127.0.0.1";

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Data nodes to start and add; one more is started for you to add
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64), conflicts_with = "servers")]
    data_nodes: u16,
    /// The folder that holds all servers' data
    #[arg(long, default_value = "hypertile-data")]
    dir: PathBuf,
    /// The access node's port; data nodes take the ports after it
    #[arg(long, default_value_t = 6543, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Use a running PostgreSQL server as a data node instead (may be repeated):
    /// postgres://user:password@host:port/database; without /database, tsdb_node0, tsdb_node1, …, made if missing
    #[arg(long = "data-node", value_name = "URL", value_parser = data_node)]
    servers: Vec<PostgresServer>,
}

/// A running PostgreSQL server to use as a data node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresServer {
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
    database: Option<String>,
}

pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    log_to_standard_error()?;
    runtime()?.block_on(up(arguments))
}

async fn up(arguments: Arguments) -> Result<Exit, Failure> {
    let own = if arguments.servers.is_empty() { arguments.data_nodes + 1 } else { 0 };
    if arguments.port.checked_add(own).is_none() {
        return Err(Failure::usage(format!("--port {}: no {own} ports come after it", arguments.port)));
    }
    let folder = arguments.dir.display();
    let client = real("up", &arguments.dir)
        .map_err(|error| Failure::input(format!("cannot use the folder {folder}: {error}")))?;
    check_layout(&client, &arguments)?;
    let hosts: HostTable = (0..own).map(|k| (host_name(k), (LISTEN.to_string(), arguments.port + 1 + k))).collect();
    let mut servers = Vec::new();
    for k in 0..own {
        let name = format!("node{k}");
        servers.push(serve_one(&name, &arguments.dir.join(&name), arguments.port + 1 + k, HostTable::new()).await?);
    }
    let access_node = serve_one("an", &arguments.dir.join("an"), arguments.port, hosts).await?;
    set_up(&client, &arguments).await.map_err(|error| Failure::input(format!("cannot set up the cluster: {error}")))?;
    announce(&arguments, own);
    stopped().await;
    // First the access node, whose sessions are clients of the data nodes.
    shut_down(&[access_node]).await;
    shut_down(&servers).await;
    println!("stopped; start again with the same --dir to find everything as it is");
    Ok(Exit::Success)
}

/// The folder remembers which data nodes it was set up with: with others, the catalog would name servers that do not run.
fn check_layout(client: &Host, arguments: &Arguments) -> Result<(), Failure> {
    let folder = arguments.dir.display();
    let unusable = |error: std::io::Error| Failure::input(format!("cannot use the folder {folder}: {error}"));
    let layout = layout(arguments);
    match client.disk().read(LAYOUT_FILE) {
        Ok(found) if found == layout.as_bytes() => Ok(()),
        Ok(found) => Err(Failure::input(format!(
            "the folder {folder} holds a cluster with other data nodes ({}), not {}; name another folder, or start it as \
             it was",
            String::from_utf8_lossy(&found).trim().escape_debug(),
            layout.trim()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let found = client.disk().list("").map_err(unusable)?;
            if let Some(stranger) = found.iter().find(|name| *name != "lock") {
                return Err(Failure::input(format!(
                    "the folder {folder} holds \"{stranger}\" but was not made by `hypertile up`; name an empty folder, or \
                     one that does not exist yet"
                )));
            }
            client.disk().write(LAYOUT_FILE, layout.as_bytes()).map_err(unusable)
        }
        Err(error) => Err(unusable(error)),
    }
}

/// The data nodes in one line, without passwords.
fn layout(arguments: &Arguments) -> String {
    if arguments.servers.is_empty() {
        return format!("--data-nodes {}\n", arguments.data_nodes);
    }
    let servers = arguments.servers.iter().map(|server| {
        let database = server.database.as_ref().map(|database| format!("/{database}")).unwrap_or_default();
        format!("--data-node postgres://{}:{}{database}", server.host, server.port)
    });
    servers.collect::<Vec<_>>().join(" ") + "\n"
}

async fn serve_one(name: &str, folder: &Path, port: u16, hosts: HostTable) -> Result<Arc<Server>, Failure> {
    let config = Config { port, ..Config::default() };
    let surroundings = Surroundings { hosts, ..Surroundings::default() };
    let (server, listener) = start(name, folder, LISTEN, port, config, surroundings).await?;
    #[expect(clippy::disallowed_methods, reason = "the process itself, not a node, keeps its servers running")]
    tokio::spawn(server.clone().run(listener));
    Ok(server)
}

/// Makes the database and adds the data nodes, unless an earlier start has done so.
async fn set_up(client: &Host, arguments: &Arguments) -> crate::Result<()> {
    let address = |database: &str| Address {
        host: LISTEN.to_string(),
        port: arguments.port,
        database: database.to_string(),
        user: USER.to_string(),
        password: None,
    };
    let first = Connection::open(client, &address(FIRST_DATABASE)).await?;
    let databases = first.texts("SELECT datname FROM pg_database").await?;
    if !databases.iter().any(|row| row[0].as_deref() == Some(DATABASE)) {
        first.run(&format!("CREATE DATABASE {DATABASE}")).await?;
    }
    let access = Connection::open(client, &address(DATABASE)).await?;
    let rows = access.texts("SELECT node_name FROM timescaledb_information.data_nodes").await?;
    let known: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
    for (name, call) in calls(arguments) {
        if !known.contains(&name) {
            access.run(&call).await?;
        }
    }
    Ok(())
}

/// The data nodes to add: name and the statement that adds it.
fn calls(arguments: &Arguments) -> Vec<(String, String)> {
    if arguments.servers.is_empty() {
        let call = |k| format!("SELECT add_data_node('node{k}', host => {})", quote_literal(&host_name(k)));
        return (0..arguments.data_nodes).map(|k| (format!("node{k}"), call(k))).collect();
    }
    let numbered = arguments.servers.iter().enumerate();
    numbered
        .map(|(k, server)| {
            let mut call = format!(
                "SELECT add_data_node('node{k}', host => {}, port => {}, \"user\" => {}",
                quote_literal(&server.host),
                server.port,
                quote_literal(&server.user)
            );
            if let Some(password) = &server.password {
                call.push_str(&format!(", password => {}", quote_literal(password)));
            }
            // Several databases of one server may serve as data nodes: each gets a name of its own.
            let database = server.database.clone().unwrap_or_else(|| format!("{DATABASE}_node{k}"));
            call.push_str(&format!(", database => {})", quote_literal(&database)));
            (format!("node{k}"), call)
        })
        .collect()
}

fn announce(arguments: &Arguments, own: u16) {
    println!("access node on {LISTEN}:{}, data in {}", arguments.port, arguments.dir.display());
    if own > 0 {
        let (first, last) = (arguments.port + 1, arguments.port + arguments.data_nodes);
        println!("data nodes node0 to node{} on ports {first} to {last}", arguments.data_nodes - 1);
        let spare = arguments.data_nodes;
        println!(
            "one more server waits to be added: SELECT add_data_node('node{spare}', host => '{}');",
            host_name(spare)
        );
    } else {
        for (k, server) in arguments.servers.iter().enumerate() {
            println!("data node node{k}: PostgreSQL on {}:{}", server.host, server.port);
        }
    }
    println!("\n  psql -h {LISTEN} -p {} -U {USER} {DATABASE}\n\nCtrl-C stops it.", arguments.port);
}

fn data_node(url: &str) -> Result<PostgresServer, String> {
    let form = || format!("bad data node \"{url}\", expected postgres://user:password@host:port/database");
    let config: tokio_postgres::Config = url.parse().map_err(|_| form())?;
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(form());
    }
    let host = match config.get_hosts() {
        [tokio_postgres::config::Host::Tcp(host)] => host.clone(),
        _ => return Err(form()),
    };
    Ok(PostgresServer {
        host,
        port: config.get_ports().first().copied().unwrap_or(5432),
        user: config.get_user().unwrap_or(USER).to_string(),
        password: config.get_password().map(|password| String::from_utf8_lossy(password).into_owned()),
        database: config.get_dbname().map(str::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postgres_url_names_a_server() {
        let server = data_node("postgres://bob:secret@db.example.com:5433/metrics").unwrap();
        assert_eq!((server.host.as_str(), server.port, server.user.as_str()), ("db.example.com", 5433, "bob"));
        assert_eq!((server.password.as_deref(), server.database.as_deref()), (Some("secret"), Some("metrics")));
        assert!(data_node("mysql://x").is_err());
        assert!(data_node("db.example.com").is_err());
    }
}
