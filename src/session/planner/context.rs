//! What names mean while a statement is planned.

use super::errors;
use super::semantics::Semantics;
use super::series::Series;
use crate::error::{Error, Result, codes};
use crate::sql::{type_names, types};
use datafusion::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{DFSchema, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use sqlparser::ast;
use std::sync::Arc;

/// Where relations come from. `schema` `None`: along the search path.
pub trait Relations {
    fn find(&self, schema: Option<&str>, name: &str) -> Result<Option<Arc<dyn TableProvider>>>;
}

pub struct NoRelations;

impl Relations for NoRelations {
    fn find(&self, _: Option<&str>, _: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(None)
    }
}

/// SQL type names to Arrow.
#[derive(Debug)]
pub struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql: &ast::DataType) -> datafusion::common::Result<Option<FieldRef>> {
        let declared = type_names::declared(sql)?;
        let field = types::field("", &declared.ty, true)?;
        Ok(Some(Arc::new(match declared.numeric {
            Some((precision, scale)) => field.with_data_type(DataType::Decimal128(precision, scale)),
            None => field,
        })))
    }
}

pub struct Context<'a> {
    state: &'a SessionState,
    planners: Vec<Arc<dyn ExprPlanner>>,
    semantics: &'a Semantics,
    types: &'a Arc<Types>,
    relations: &'a dyn Relations,
}

impl<'a> Context<'a> {
    pub fn new(
        state: &'a SessionState,
        semantics: &'a Semantics,
        types: &'a Arc<Types>,
        relations: &'a dyn Relations,
    ) -> Context<'a> {
        let ours: Arc<dyn ExprPlanner> = Arc::new(semantics.clone());
        let planners = std::iter::once(ours).chain(state.expr_planners().iter().cloned()).collect();
        Context { state, planners, semantics, types, relations }
    }

    /// A table function's argument as a constant.
    fn constant(&self, argument: Expr) -> datafusion::common::Result<datafusion::common::ScalarValue> {
        let schema = DFSchema::empty();
        let simplifier = ExprSimplifier::new(
            SimplifyContext::builder()
                .with_config_options(self.state.config_options().clone())
                .with_query_execution_start_time(self.state.execution_props().query_execution_start_time)
                .build(),
        );
        let argument = self.semantics.rewrite(argument, &schema)?;
        let physical = self.state.create_physical_expr(simplifier.coerce(argument, &schema)?, &schema)?;
        let options = datafusion::arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(1));
        let row = datafusion::arrow::record_batch::RecordBatch::try_new_with_options(
            Arc::new(datafusion::arrow::datatypes::Schema::empty()),
            vec![],
            &options,
        )?;
        let value = physical.evaluate(&row)?.into_array(1)?;
        datafusion::common::ScalarValue::try_from_array(&value, 0)
    }
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> datafusion::common::Result<Arc<dyn TableSource>> {
        match self.relations.find(name.schema(), name.table())? {
            Some(provider) => Ok(provider_as_source(provider)),
            None => {
                let shown = name.schema().map_or_else(|| name.table().into(), |s| format!("{s}.{}", name.table()));
                Err(Error::new(codes::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist")).into())
            }
        }
    }

    fn get_table_function_source(
        &self,
        name: &str,
        arguments: Vec<Expr>,
    ) -> datafusion::common::Result<Arc<dyn TableSource>> {
        if name != "generate_series" {
            return Err(Error::new(codes::UNDEFINED_FUNCTION, format!("function {name} does not exist"))
                .with_hint("No function matches the given name and argument types.")
                .into());
        }
        let arguments = arguments
            .into_iter()
            .map(|argument| self.constant(argument))
            .collect::<datafusion::common::Result<Vec<_>>>()
            .map_err(errors::polish)?;
        Ok(provider_as_source(Arc::new(Series::new(&arguments, self.semantics.0.time_zone())?)))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> datafusion::common::Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(self.types.clone())
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        sorted(self.state.scalar_functions().keys())
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        sorted(self.state.higher_order_functions().keys())
    }

    fn udaf_names(&self) -> Vec<String> {
        sorted(self.state.aggregate_functions().keys())
    }

    fn udwf_names(&self) -> Vec<String> {
        sorted(self.state.window_functions().keys())
    }
}

/// Names end up in error messages ("did you mean"): their order must not be chance.
fn sorted<'n>(names: impl Iterator<Item = &'n String>) -> Vec<String> {
    let mut names: Vec<String> = names.cloned().collect();
    names.sort();
    names
}
