//! `add_data_node` and `delete_data_node`.
//!
//! A data node needs nothing of ours to hold chunks; the only trace that `add_data_node` leaves on it is a table that
//! says to which cluster the database belongs, so that no second cluster takes it:
//!
//! | remote object | why |
//! |---|---|
//! | the database | created unless it exists (`bootstrap`) |
//! | `_hypertile.membership` (cluster, node) | one row; its presence makes the database a data node |
//!
//! The node is written to first and the catalog after it: a crash in between leaves a database that belongs to nobody's
//! catalog, which the operator can free, never a catalog entry for a node that knows nothing of it.

use super::arguments::Arguments;
use super::context::Context;
use super::invalid;
use super::rows::{Cell, Rows};
use crate::access::cluster::random_uuid;
use crate::catalog::{Change, DataNode};
use crate::error::{Error, Notice, Result, codes};
use crate::ids::{quote_identifier, quote_literal};
use crate::limits::NODE_SETUP_TIMEOUT;
use crate::wire::client::{Address, Connection};

/// Schema of what Hypertile itself keeps in a data node's database.
pub const SCHEMA: &str = "_hypertile";
pub const MEMBERSHIP: &str = "membership";

/// Databases that are asked for a way in, in this order, to create the data node's own. As in TimescaleDB: the last one
/// is what managed services offer.
const MAINTENANCE_DATABASES: [&str; 3] = ["postgres", "template1", "defaultdb"];

/// The oldest PostgreSQL that knows all that is pushed down to it: `date_bin` came with it.
const POSTGRES_MIN: u32 = 14;

/// What `add_data_node` was asked for.
struct Request {
    name: String,
    host: String,
    port: u16,
    database: String,
    if_not_exists: bool,
    bootstrap: bool,
    password: Option<String>,
    /// As whom to connect, now and later; without it, as the session's own user.
    user: Option<String>,
}

/// What had to be created on the node.
#[derive(Clone, Copy, Default)]
struct Created {
    node: bool,
    database: bool,
    membership: bool,
}

/// Errors: those of TimescaleDB 2.13 for the same mistakes: `22023`, `25001`, `42710`, `08001`, `TS171`, `TS174`.
pub async fn add(context: &mut Context<'_>, arguments: &Arguments) -> Result<Rows> {
    let request = Request::read(context, arguments)?;
    if context.local.in_block() {
        return Err(in_block("add_data_node"));
    }
    if context.local.table(Some(SCHEMA), MEMBERSHIP)?.is_some() {
        return Err(Error::new(
            codes::TS_ALREADY_A_DATA_NODE,
            "unable to assign data nodes from an existing distributed database",
        )
        .with_detail("This database is itself a data node.")
        .with_hint("Add data nodes to its access node."));
    }
    context.transaction.lock_catalog().await?;
    let state = context.state();
    if state.node(&request.name).is_some() {
        if !request.if_not_exists {
            return Err(Error::new(codes::DUPLICATE_OBJECT, format!("server \"{}\" already exists", request.name)));
        }
        let message = format!("data node \"{}\" already exists, skipping", request.name);
        context.local.notice(Notice::notice(codes::DUPLICATE_OBJECT, message));
        return Ok(request.row(arguments, Created::default()));
    }
    let cluster = state.cluster.clone().unwrap_or_else(|| random_uuid(&context.cluster.host));
    let host = context.cluster.host.clone();
    let prepared = host.timeout(NODE_SETUP_TIMEOUT, prepare(context, &request, &cluster)).await;
    let created = prepared.unwrap_or_else(|_| Err(no_answer(&request.name)))?;
    let node = DataNode {
        name: request.name.clone(),
        host: request.host.clone(),
        port: request.port,
        database: request.database.clone(),
        // A password belongs to a user: without one given, to whoever adds the node.
        user: request.user.clone().or_else(|| request.password.is_some().then(|| context.local.user().to_string())),
        password: request.password.clone(),
        owner: context.local.user().to_string(),
        available: None,
    };
    context.transaction.change(Change::AddDataNode { node, cluster })?;
    Ok(request.row(arguments, created))
}

impl Request {
    fn read(context: &Context<'_>, arguments: &Arguments) -> Result<Request> {
        let Some(name) = arguments.text("node_name") else { return Err(invalid("data node name cannot be NULL")) };
        let Some(host) = arguments.text("host") else {
            return Err(invalid("a host needs to be specified")
                .with_hint("Provide a host name or IP address of a data node to add."));
        };
        let port = match arguments.integer("port") {
            None => context.cluster.port,
            Some(number) => u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| {
                invalid(format!("invalid port number {number}"))
                    .with_hint("The port number must be between 1 and 65535.")
            })?,
        };
        Ok(Request {
            name: name.to_string(),
            host: host.to_string(),
            port,
            database: arguments.text("database").unwrap_or(&context.cluster.database).to_string(),
            if_not_exists: arguments.flag("if_not_exists"),
            bootstrap: arguments.flag("bootstrap"),
            password: arguments.text("password").map(str::to_string),
            user: arguments.text("user").map(str::to_string),
        })
    }

    fn row(&self, arguments: &Arguments, created: Created) -> Rows {
        let mut rows = Rows::new(&arguments.function().columns());
        rows.push(vec![
            Cell::text(&self.name),
            Cell::text(&self.host),
            Cell::int(self.port),
            Cell::text(&self.database),
            Cell::Bool(created.node),
            Cell::Bool(created.database),
            Cell::Bool(created.membership),
        ]);
        rows
    }

    fn address(&self, user: &str, database: &str) -> Address {
        Address {
            host: self.host.clone(),
            port: self.port,
            database: database.to_string(),
            user: self.user.clone().unwrap_or_else(|| user.to_string()),
            password: self.password.clone(),
        }
    }

    fn misconfigured(&self, detail: impl Into<String>) -> Error {
        Error::new(codes::TS_NODE_CONFIGURATION, format!("cannot add \"{}\" as a data node", self.name))
            .with_detail(detail)
    }
}

/// Makes the remote database ready and ours.
async fn prepare(context: &mut Context<'_>, request: &Request, cluster: &str) -> Result<Created> {
    let mut created = Created { node: true, ..Created::default() };
    if request.bootstrap {
        created.database = create_database(context, request).await?;
    }
    let user = context.local.user().to_string();
    let connection = Connection::open(&context.cluster.host, &request.address(&user, &request.database))
        .await
        .map_err(|error| cannot_connect(request, &error))?;
    if !request.bootstrap {
        check_version(request, connection.server_version())?;
        check_prepared_transactions(context, request, &connection, true).await?;
    }
    refuse_access_nodes(context, request, &connection).await?;
    join(request, &connection, cluster).await?;
    created.membership = true;
    Ok(created)
}

/// Returns whether the database had to be created.
async fn create_database(context: &mut Context<'_>, request: &Request) -> Result<bool> {
    let connection = maintenance_connection(context, request).await?;
    check_version(request, connection.server_version())?;
    let sql = format!("SELECT datname FROM pg_database WHERE datname = {}", quote_literal(&request.database));
    let on_node = |error: Error| error.on_node(&request.name);
    let exists = !connection.texts(&sql).await.map_err(on_node)?.is_empty();
    // Before CREATE DATABASE: nothing must be left behind on a server that cannot take part in a commit.
    check_prepared_transactions(context, request, &connection, exists).await?;
    if !exists {
        let create = format!("CREATE DATABASE {}", quote_identifier(&request.database));
        match connection.run(&create).await {
            Ok(()) => return Ok(true),
            Err(error) if error.code() == codes::DUPLICATE_DATABASE => {}
            Err(error) => return Err(on_node(error)),
        }
    }
    let message = format!("database \"{}\" already exists on data node, skipping", request.database);
    context.local.notice(Notice::notice(codes::SUCCESS, message));
    Ok(false)
}

async fn maintenance_connection(context: &Context<'_>, request: &Request) -> Result<Connection> {
    let mut last = Error::internal("there is a maintenance database to try");
    for database in MAINTENANCE_DATABASES {
        let address = request.address(context.local.user(), database);
        match Connection::open(&context.cluster.host, &address).await {
            Ok(connection) => return Ok(connection),
            Err(error) if error.code() == codes::INVALID_CATALOG_NAME => last = error,
            Err(error) => return Err(cannot_connect(request, &error)),
        }
    }
    Err(cannot_connect(request, &last))
}

/// libpq's words, for people look them up.
fn cannot_connect(request: &Request, error: &Error) -> Error {
    let start = format!("connection to server at \"{}\", port {} failed: ", request.host, request.port);
    let reason = match error.code().class() {
        "08" => error.detail().unwrap_or(error.message()).to_string(),
        _ => format!("FATAL:  {}", error.message()),
    };
    let detail = if reason.starts_with("connection to server") { reason } else { start + &reason };
    Error::new(codes::CANNOT_CONNECT, format!("could not connect to \"{}\"", request.name)).with_detail(detail)
}

fn check_version(request: &Request, version: &str) -> Result<()> {
    let major = version.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u32>().ok());
    match major {
        Some(major) if major >= POSTGRES_MIN => Ok(()),
        _ => Err(request
            .misconfigured(format!("The server runs PostgreSQL {version}."))
            .with_hint(format!("A data node needs PostgreSQL {POSTGRES_MIN} or newer."))),
    }
}

/// `warn`: also say when the number is low, as TimescaleDB does for databases that were there before.
async fn check_prepared_transactions(
    context: &mut Context<'_>,
    request: &Request,
    connection: &Connection,
    warn: bool,
) -> Result<()> {
    let setting = |name: &'static str| async move {
        let rows = connection.texts(&format!("SHOW {name}")).await.map_err(|error| error.on_node(&request.name))?;
        let text = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok::<i64, Error>(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    };
    let prepared = setting("max_prepared_transactions").await?;
    if prepared <= 0 {
        return Err(Error::new(codes::TS_NODE_CONFIGURATION, "prepared transactions need to be enabled")
            .with_detail(format!("Parameter max_prepared_transactions={prepared} on data node \"{}\".", request.name))
            .with_hint(
                "Configuration parameter max_prepared_transactions must be set >0 (changes will require restart).",
            ));
    }
    if !warn {
        return Ok(());
    }
    let connections = setting("max_connections").await?;
    if prepared < connections {
        let mut notice = Notice::warning(codes::TS_NODE_CONFIGURATION, "max_prepared_transactions is set low");
        notice.error = notice
            .error
            .with_detail(format!("Parameters max_prepared_transactions={prepared}, max_connections={connections}."))
            .with_hint(
                "It is recommended that max_prepared_transactions >= max_connections (changes will require restart).",
            );
        context.local.notice(notice);
    }
    Ok(())
}

/// A database of ours tells who it is; stock PostgreSQL has no such relation and cannot be an access node.
async fn refuse_access_nodes(context: &Context<'_>, request: &Request, connection: &Connection) -> Result<()> {
    let rows = match connection.texts("SELECT identity, cluster FROM hypertile.identity").await {
        Ok(rows) => rows,
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(error.on_node(&request.name)),
    };
    let Some([identity, cluster]) = rows.first().map(Vec::as_slice) else { return Ok(()) };
    if identity.as_deref() == Some(context.cluster.identity.as_str()) {
        return Err(Error::new(
            codes::TS_NODE_CONFIGURATION,
            "cannot add the current database as a data node to itself",
        )
        .with_detail(
            "Adding the current database as a data node to itself would create a cycle. Use a different instance or \
             database for the data node.",
        )
        .with_hint(
            "Check that the 'port' parameter refers to a different instance or that the 'database' parameter refers to \
             a different database.",
        )
        .on_node(&request.name));
    }
    match cluster {
        Some(_) => Err(request.misconfigured("ERROR:  node is already an access node")),
        None => Ok(()),
    }
}

/// Writes the membership; the table's presence is the lock against another cluster that does the same.
async fn join(request: &Request, connection: &Connection, cluster: &str) -> Result<()> {
    let taken = || {
        request.misconfigured("ERROR:  node is already a data node").with_hint(format!(
            "If no cluster uses the database any more, drop its schema {SCHEMA} and the chunks in it, or drop the \
             database."
        ))
    };
    let table = format!("{SCHEMA}.{MEMBERSHIP}");
    match connection.texts(&format!("SELECT cluster FROM {table}")).await {
        Ok(_) => return Err(taken()),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error.on_node(&request.name)),
    }
    let statements = [
        "BEGIN".to_string(),
        format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}"),
        format!("CREATE TABLE {table} (cluster text NOT NULL, node text NOT NULL)"),
        format!("INSERT INTO {table} VALUES ({}, {})", quote_literal(cluster), quote_literal(&request.name)),
        "COMMIT".to_string(),
    ];
    for statement in statements {
        // The connection is dropped on an error, and with it the transaction.
        connection.run(&statement).await.map_err(|error| match error.code() {
            codes::DUPLICATE_TABLE => taken(),
            _ => error.on_node(&request.name),
        })?;
    }
    Ok(())
}

fn is_missing(error: &Error) -> bool {
    matches!(error.code(), codes::UNDEFINED_TABLE | codes::INVALID_SCHEMA_NAME)
}

fn in_block(function: &str) -> Error {
    Error::new(codes::ACTIVE_TRANSACTION, format!("{function}() cannot run inside a transaction block"))
}

/// Forgets a data node that no hypertable uses. The node need not answer; its database stays, and still says that it
/// belongs to this cluster. Errors: `42704`, `TS504`, `25001`.
pub async fn delete(context: &mut Context<'_>, arguments: &Arguments) -> Result<Rows> {
    let Some(name) = arguments.text("node_name") else { return Err(invalid("data node name cannot be NULL")) };
    let drop_database = arguments.flag("drop_database");
    if drop_database && context.local.in_block() {
        return Err(in_block("delete_data_node"));
    }
    context.transaction.lock_catalog().await?;
    let state = context.state();
    let Some(node) = state.node(name) else {
        if !arguments.flag("if_exists") {
            return Err(no_such_node(name));
        }
        let message = format!("data node \"{name}\" does not exist, skipping");
        context.local.notice(Notice::notice(codes::SUCCESS, message));
        return Ok(deleted(arguments, false));
    };
    if let Some(hypertable) = state.hypertables.values().find(|table| table.nodes.iter().any(|n| n.name == name)) {
        return Err(Error::new(
            codes::TS_NODE_IN_USE,
            format!("data node \"{name}\" is in use by distributed hypertable \"{}\"", hypertable.name.name),
        )
        .with_hint("Drop the hypertables that use the data node first."));
    }
    if drop_database {
        let dropped = context.cluster.host.timeout(NODE_SETUP_TIMEOUT, drop_remote_database(context, node)).await;
        dropped.unwrap_or_else(|_| Err(no_answer(name)))?;
    }
    context.transaction.change(Change::DeleteDataNode { node: name.to_string() })?;
    Ok(deleted(arguments, true))
}

fn deleted(arguments: &Arguments, deleted: bool) -> Rows {
    let mut rows = Rows::new(&arguments.function().columns());
    rows.push(vec![Cell::Bool(deleted)]);
    rows
}

pub fn no_such_node(name: &str) -> Error {
    Error::new(codes::UNDEFINED_OBJECT, format!("server \"{name}\" does not exist"))
}

fn no_answer(node: &str) -> Error {
    Error::new(codes::CONNECTION_FAILURE, format!("data node \"{node}\" did not answer in time"))
        .with_detail(format!("No answer within {} s.", NODE_SETUP_TIMEOUT.as_secs()))
        .with_hint("Nothing was changed in the catalog. See that the node is well, and try again.")
}

async fn drop_remote_database(context: &Context<'_>, node: &DataNode) -> Result<()> {
    let request = Request {
        name: node.name.clone(),
        host: node.host.clone(),
        port: node.port,
        database: node.database.clone(),
        if_not_exists: false,
        bootstrap: false,
        password: node.password.clone(),
        user: node.user.clone(),
    };
    let connection = maintenance_connection(context, &request).await?;
    let sql = format!("DROP DATABASE IF EXISTS {}", quote_identifier(&node.database));
    connection.run(&sql).await.map_err(|error| error.on_node(&node.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_lack_what_is_pushed_down_are_refused() {
        let request = Request {
            name: "old".into(),
            host: "h".into(),
            port: 5432,
            database: "tsdb".into(),
            if_not_exists: false,
            bootstrap: true,
            password: None,
            user: None,
        };
        for version in ["14.0", "15.6 (Debian 15.6-0+deb12u1)", "17devel"] {
            check_version(&request, version).unwrap();
        }
        for version in ["13.14", "9.6.24", "", "unknown"] {
            let error = check_version(&request, version).unwrap_err();
            assert_eq!(error.code(), codes::TS_NODE_CONFIGURATION, "{version}");
            assert_eq!(error.detail().unwrap(), format!("The server runs PostgreSQL {version}."));
        }
    }
}
