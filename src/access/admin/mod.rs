//! Functions and views of the cluster: `add_data_node`, `create_distributed_hypertable`, `timescaledb_information.*`.
//!
//! A call stands in a query, but it is no part of its plan: it runs first, once, in the session's distributed
//! transaction, and its result takes its place as a small relation. So `BEGIN; SELECT create_distributed_hypertable(…);
//! ROLLBACK` leaves nothing, on any node.
//!
//! Names, arguments, result columns, messages and SQLSTATEs are those of TimescaleDB 2.13 (without its deprecation
//! warnings); users migrate with their scripts.
//!
//! Reading order: [`registry`] (which functions there are), [`calls`] (where a statement calls them), [`arguments`]
//! and [`constants`] (what they are given), [`context`] (what they may use), then the functions: [`data_nodes`], [`hypertables`],
//! [`attach`], [`chunks`]; [`rows`] (what they return), [`views`].

pub mod arguments;
pub mod attach;
pub mod calls;
pub mod chunks;
pub mod constants;
pub mod context;
pub mod data_nodes;
pub mod hypertables;
pub mod registry;
pub mod rows;
pub mod views;

use crate::error::{Error, Result, codes};
use crate::ids::RelationName;
use arguments::{Arguments, Passed};
use calls::{Call, Form};
use context::Context;
use datafusion::catalog::TableProvider;
use postgres_types::Type;
use registry::Action;
use rows::Rows;
use sqlparser::ast::{Expr, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The relations that stand for a statement's calls.
pub type Results = BTreeMap<RelationName, Arc<dyn TableProvider>>;

/// Runs the calls of one statement in the order in which they stand there.
pub async fn run(context: &mut Context<'_>, calls: &[Call]) -> Result<Results> {
    let mut results = Results::new();
    for call in calls {
        let arguments = bind(context, call).await?;
        let rows = act(context, &arguments).await?;
        results.insert(call.relation.clone(), relation(call, &rows)?);
    }
    Ok(results)
}

/// The relations of the calls without running them: for Describe and EXPLAIN.
pub fn outline(calls: &[Call]) -> Result<Results> {
    let empty = |call: &Call| Ok((call.relation.clone(), relation(call, &Rows::new(&call.function.columns()))?));
    calls.iter().map(empty).collect()
}

fn relation(call: &Call, rows: &Rows) -> Result<Arc<dyn TableProvider>> {
    match &call.form {
        Form::Value => rows.value_table(call.function.name, call.function.is_composite()),
        Form::Rows { scalar_name } => rows.function_table((!call.function.is_composite()).then_some(scalar_name)),
    }
}

async fn bind(context: &mut Context<'_>, call: &Call) -> Result<Arguments> {
    refuse_dimension_builders(call)?;
    let mut passed = Vec::with_capacity(call.arguments.len());
    for (name, expression) in &call.arguments {
        passed.push(Passed { name: name.clone(), value: context.local.evaluate(expression).await? });
    }
    arguments::bind(call.function, &call.spelling, &passed)
}

/// `create_hypertable('t', by_range('time'))` is TimescaleDB's newer spelling, for local hypertables only.
fn refuse_dimension_builders(call: &Call) -> Result<()> {
    for (_, expression) in &call.arguments {
        if let Expr::Function(inner) = expression
            && let Some(builder) = inner.name.0.last().and_then(|part| part.as_ident())
            && ["by_range", "by_hash"].contains(&builder.value.to_lowercase().as_str())
        {
            return Err(Error::unsupported(format!("{}() is not supported", builder.value.to_lowercase()))
                .with_hint("Use create_distributed_hypertable(relation, time_column_name, partitioning_column)."));
        }
    }
    Ok(())
}

async fn act(context: &mut Context<'_>, arguments: &Arguments) -> Result<Rows> {
    match arguments.function().action {
        Action::AddDataNode => data_nodes::add(context, arguments).await,
        Action::DeleteDataNode => data_nodes::delete(context, arguments).await,
        Action::AttachDataNode => attach::attach(context, arguments).await,
        Action::CreateDistributedHypertable => hypertables::create_distributed(context, arguments).await,
        Action::CreateHypertable => hypertables::create(context, arguments).await,
        Action::ShowChunks => chunks::show(context, arguments),
        Action::NotYet => Err(not_yet(arguments)),
    }
}

fn not_yet(arguments: &Arguments) -> Error {
    let name = arguments.function().name;
    let hint = match name {
        "block_new_chunks" | "allow_new_chunks" => "New chunks go to all data nodes that are attached and up.",
        "detach_data_node" => "A data node stays attached to its hypertables until they are dropped.",
        "drop_chunks" => "DROP TABLE drops a hypertable with all of its chunks.",
        "alter_data_node" => "Data nodes that do not answer are noticed and avoided by themselves.",
        _ => "Choose it when the hypertable is created: see create_distributed_hypertable().",
    };
    Error::unsupported(format!("{name}() is not available yet")).with_hint(hint)
}

/// Types of a statement's parameters: those that are arguments of calls take the argument's type where the client has
/// not said another.
pub fn parameter_types(calls: &[Call], hints: &[Type]) -> Vec<Type> {
    let mut types = hints.to_vec();
    for call in calls {
        for (at, (name, expression)) in call.arguments.iter().enumerate() {
            let Some(index) = placeholder(expression) else { continue };
            let argument = match name {
                Some(name) => call.function.arguments.iter().find(|argument| argument.name == name),
                None => call.function.arguments.get(at),
            };
            if types.len() <= index {
                types.resize(index + 1, Type::UNKNOWN);
            }
            if types[index] == Type::UNKNOWN {
                types[index] = argument.map_or(Type::TEXT, |argument| argument.kind.parameter_type());
            }
        }
    }
    types
}

/// A refusal of NULL where TimescaleDB refuses it.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(codes::INVALID_PARAMETER_VALUE, message)
}

/// The number in `$n`, from 0.
pub fn placeholder(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Nested(inner) => placeholder(inner),
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    }
}
