//! SQL-level prepared statements: PREPARE, EXECUTE, DEALLOCATE.

use super::Session;
use super::parameters::Bound;
use super::planner::conversion;
use crate::error::{Error, Result, codes};
use crate::sql::statement::Statement;
use crate::sql::{type_names, types};
use crate::wire::Parameter;
use crate::wire::values;
use bytes::BytesMut;
use postgres_types::Type;
use sqlparser::ast;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
pub struct PreparedStatements(BTreeMap<String, Arc<PreparedStatement>>);

pub struct PreparedStatement {
    pub statement: Statement,
    /// Of every parameter.
    pub types: Vec<Type>,
}

impl PreparedStatements {
    /// Errors: `42P05`.
    pub fn add(&mut self, name: &str, prepared: PreparedStatement) -> Result<()> {
        if self.0.contains_key(name) {
            return Err(Error::new(
                codes::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        self.0.insert(name.to_string(), Arc::new(prepared));
        Ok(())
    }

    /// Errors: `26000`.
    pub fn get(&self, name: &str) -> Result<Arc<PreparedStatement>> {
        self.0.get(name).cloned().ok_or_else(|| {
            Error::new(codes::INVALID_STATEMENT_NAME, format!("prepared statement \"{name}\" does not exist"))
        })
    }

    /// `None` is all. Errors: `26000`.
    pub fn remove(&mut self, name: Option<&str>) -> Result<()> {
        match name {
            None => self.0.clear(),
            Some(name) => {
                self.get(name)?;
                self.0.remove(name);
            }
        }
        Ok(())
    }
}

impl Session {
    /// The statement that EXECUTE runs, and its arguments as parameters. Errors: `26000`, `42601`, `22…`.
    pub fn executed(
        &mut self,
        name: &str,
        arguments: &[ast::Expr],
    ) -> Result<(Arc<PreparedStatement>, Vec<Parameter>)> {
        let prepared = self.prepared.get(name)?;
        if prepared.types.len() != arguments.len() {
            return Err(Error::new(
                codes::SYNTAX_ERROR,
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .with_detail(format!(
                "Expected {} parameters but got {}.",
                prepared.types.len(),
                arguments.len()
            )));
        }
        let format = self.format();
        let mut parameters = Vec::with_capacity(arguments.len());
        for (argument, ty) in arguments.iter().zip(&prepared.types) {
            let (value, from) = self.planner.constant(argument, &Bound::NONE, &format)?;
            let to = types::field("", ty, true)?;
            let column = conversion::convert(&value.to_array_of_size(1)?, &from, &to, &format)?;
            let mut buffer = BytesMut::new();
            let written = values::write_text(&column, &to, 0, &format, &mut buffer)?;
            parameters.push(Parameter { binary: false, bytes: written.then(|| buffer.freeze()) });
        }
        Ok((prepared, parameters))
    }
}

/// The types written in `PREPARE name (types)`.
pub fn declared_types(types: &[ast::DataType]) -> Result<Vec<Type>> {
    types.iter().map(|ty| Ok(type_names::declared(ty)?.ty)).collect()
}
