//! Integer arithmetic that overflows is an error in PostgreSQL; DataFusion's wraps around.

use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, projection::ProjectionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use std::any::Any;
use std::sync::Arc;

/// Makes the integer arithmetic of output columns fail on overflow.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl PhysicalOptimizerRule for CheckedArithmetic {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let any: &dyn Any = node.as_ref();
            let Some(projection) = any.downcast_ref::<ProjectionExec>() else { return Ok(Transformed::no(node)) };
            let schema = projection.input().schema();
            let mut changed = false;
            let mut expressions = Vec::with_capacity(projection.expr().len());
            for column in projection.expr() {
                let checked = checked(column.expr.clone(), &schema)?;
                changed |= checked.transformed;
                expressions.push(ProjectionExpr { expr: checked.data, alias: column.alias.clone() });
            }
            if !changed {
                return Ok(Transformed::no(node));
            }
            let replaced = ProjectionExec::try_new(expressions, projection.input().clone())?;
            Ok(Transformed::yes(Arc::new(replaced) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The expression over `schema` with checked integer arithmetic.
pub fn checked(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    expr.transform_up(|node| {
        let any: &dyn Any = node.as_ref();
        let Some(binary) = any.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(node)) };
        let arithmetic = matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply);
        if !arithmetic || !binary.left().data_type(schema)?.is_integer() {
            return Ok(Transformed::no(node));
        }
        let checked = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
        Ok(Transformed::yes(Arc::new(checked.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
    })
}
