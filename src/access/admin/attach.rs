//! `attach_data_node`: a hypertable gets one more data node.
//!
//! No data moves. Partitions are dealt anew over all nodes; existing chunks stay where they are, and rows that fall into
//! them still go there.

use super::arguments::Arguments;
use super::context::Context;
use super::hypertables::prepare_node;
use super::invalid;
use super::rows::{Cell, Rows};
use crate::catalog::Hypertable;
use crate::error::{Error, Notice, Result, codes};

/// Errors: `22023`, `TS001`, `42704`, `TS172`, `08001`.
pub async fn attach(context: &mut Context<'_>, arguments: &Arguments) -> Result<Rows> {
    let Some(relation) = arguments.text("hypertable") else { return Err(invalid("hypertable cannot be NULL")) };
    let Some(node) = arguments.text("node_name") else { return Err(invalid("data node name cannot be NULL")) };
    let table = context.relation(relation)?;
    context.transaction.lock_catalog().await?;
    let hypertable = context.hypertable(&table.name)?;
    if context.state().node(node).is_none() {
        return Err(super::data_nodes::no_such_node(node));
    }
    if hypertable.nodes.iter().any(|attached| attached.name == node) {
        let message = format!("data node \"{node}\" is already attached to hypertable \"{}\"", hypertable.name.name);
        if !arguments.flag("if_not_attached") {
            return Err(Error::new(codes::TS_ALREADY_ATTACHED, message));
        }
        context.local.notice(Notice::notice(codes::TS_ALREADY_ATTACHED, format!("{message}, skipping")));
        return Ok(answer(arguments, &hypertable, node));
    }
    let planned = context.state().plan_attachment(node, &table.name, arguments.flag("repartition"))?;
    prepare_node(context, node, &hypertable.chunk_schema).await?;
    for notice in planned.notices {
        context.local.notice(notice);
    }
    context.transaction.change(planned.change)?;
    Ok(answer(arguments, &hypertable, node))
}

fn answer(arguments: &Arguments, hypertable: &Hypertable, node: &str) -> Rows {
    let mut rows = Rows::new(&arguments.function().columns());
    // A data node has no hypertables, so the number there is the number here.
    rows.push(vec![Cell::int(hypertable.id.0), Cell::int(hypertable.id.0), Cell::text(node)]);
    rows
}
