//! What EXPLAIN says about the data nodes.

use super::scan::DataNodeScan;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

fn visit(plan: &Arc<dyn ExecutionPlan>, found: &mut dyn FnMut(&DataNodeScan)) {
    if let Some(scan) = plan.downcast_ref::<DataNodeScan>() {
        found(scan);
    }
    for child in plan.children() {
        visit(child, found);
    }
}

/// The data nodes whose rows a physical plan reads, sorted; a node once for every fragment that reads it, for these
/// run at the same time.
pub fn nodes_of(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let mut nodes = Vec::new();
    visit(plan, &mut |scan| nodes.extend(scan.fragment().nodes.iter().map(|node| node.node.clone())));
    nodes.sort();
    nodes
}

/// The lines that EXPLAIN adds: per scan each data node with its SQL, and what was not pushed down and why. VERBOSE
/// names the chunks too.
pub fn explain(plan: &Arc<dyn ExecutionPlan>, verbose: bool) -> Vec<String> {
    let mut lines = Vec::new();
    visit(plan, &mut |scan| scan_lines(scan, verbose, &mut lines));
    lines
}

fn scan_lines(scan: &DataNodeScan, verbose: bool, lines: &mut Vec<String>) {
    let fragment = scan.fragment();
    lines.push(format!("DataNodeScan on {}.{}", fragment.relation.schema, fragment.relation.name));
    if fragment.nodes.is_empty() {
        lines.push("  Data node: none (no chunk can hold a matching row)".into());
    }
    for node in &fragment.nodes {
        lines.push(format!("  Data node: {}", node.node));
        if verbose {
            let chunks: Vec<&str> = node.tables.iter().map(|table| table.name.as_str()).collect();
            lines.push(format!("  Chunks: {}", chunks.join(", ")));
        }
        lines.push(format!("  Remote SQL: {}", fragment.sql_for(node)));
    }
    lines.extend(scan.notes().iter().map(|note| format!("  Not pushed down: {note}")));
}
