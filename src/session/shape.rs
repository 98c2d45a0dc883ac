//! Rows as they come to rows as a table holds them: defaults, declared lengths, NOT NULL, CHECK.

use super::planner::Planner;
use super::planner::conversion;
use crate::engine::table::Table;
use crate::error::{Error, Result, SqlState, codes};
use crate::sql::statement::parse_expression;
use crate::sql::types;
use crate::wire::values::{self, Format};
use bytes::BytesMut;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::physical_expr::PhysicalExpr;
use postgres_types::Type;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A table's expressions, ready to run.
pub struct Compiled {
    pub schema: SchemaRef,
    /// Of each column: its default and the field that it yields.
    defaults: Vec<Option<(Arc<dyn PhysicalExpr>, FieldRef)>>,
    checks: Vec<Arc<dyn PhysicalExpr>>,
}

impl Compiled {
    /// Errors: what is wrong with the expressions, `42804` for a check that is not boolean.
    pub fn new(table: &Table, planner: &Planner) -> Result<Compiled> {
        let schema = table.schema()?;
        let mut defaults = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            defaults.push(match &column.default {
                Some(text) => Some(planner.expression(&parse_expression(text)?, &Schema::empty())?),
                None => None,
            });
        }
        // A check is evaluated after NOT NULL; but planned with every column nullable, lest it be simplified away.
        let nullable: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let nullable = Schema::new(nullable);
        let mut checks = Vec::with_capacity(table.checks.len());
        for check in &table.checks {
            let (expression, field) = planner.expression(&parse_expression(&check.expression)?, &nullable)?;
            if !matches!(field.data_type(), DataType::Boolean | DataType::Null) {
                let ty = crate::sql::type_names::display(&types::pg_type(&field));
                return Err(Error::new(
                    codes::DATATYPE_MISMATCH,
                    format!("argument of CHECK must be type boolean, not type {ty}"),
                ));
            }
            checks.push(expression);
        }
        Ok(Compiled { schema, defaults, checks })
    }
}

/// Compiled tables by id. A table never changes under its id, but how its literals read depends on the time zone.
#[derive(Default)]
pub struct Cache(Mutex<BTreeMap<(u64, &'static str), Arc<Compiled>>>);

/// Tables whose expressions a session keeps ready. An access node's session sees few tables, a data node's many chunks.
const COMPILED_TABLES_MAX: usize = 1024;

impl Cache {
    pub fn get(&self, table: &Table, planner: &Planner, zone: chrono_tz::Tz) -> Result<Arc<Compiled>> {
        let key = (table.id, zone.name());
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = lock().get(&key) {
            return Ok(compiled.clone());
        }
        let compiled = Arc::new(Compiled::new(table, planner)?);
        let mut tables = lock();
        if tables.len() >= COMPILED_TABLES_MAX {
            tables.clear();
        }
        tables.insert(key, compiled.clone());
        Ok(compiled)
    }
}

/// Turns batches of some columns of a table into batches of all of them.
#[derive(Clone)]
pub struct Shaper {
    table: Arc<Table>,
    compiled: Arc<Compiled>,
    /// Of each table column: where it stands in the incoming batches.
    given: Vec<Option<usize>>,
    format: Format,
}

impl Shaper {
    /// `columns`: positions in the table, in the order of the incoming batches.
    pub fn new(table: &Arc<Table>, compiled: Arc<Compiled>, columns: &[usize], format: Format) -> Shaper {
        let mut given = vec![None; table.columns.len()];
        for (place, column) in columns.iter().enumerate() {
            given[*column] = Some(place);
        }
        Shaper { table: table.clone(), compiled, given, format }
    }

    /// The table's schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.compiled.schema
    }

    /// The batch with defaults filled in, all constraints but keys checked. Incoming columns are of the table's
    /// column types. Errors: `23502`, `23514`, `22001`, and those of default expressions.
    pub fn shape(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(self.given.len());
        for (index, place) in self.given.iter().enumerate() {
            let column = match place {
                Some(place) => batch.column(*place).clone(),
                None => self.default(index, rows)?,
            };
            columns.push(self.declared_length(index, column)?);
        }
        self.check_not_null(&columns, rows)?;
        let nullable = RecordBatchOptions::new().with_row_count(Some(rows));
        let shaped = RecordBatch::try_new_with_options(self.compiled.schema.clone(), columns, &nullable)?;
        self.check(&shaped)?;
        Ok(shaped)
    }

    /// The default of one column for `rows` rows, NULL where none is declared.
    pub fn default(&self, column: usize, rows: usize) -> Result<ArrayRef> {
        let field = self.compiled.schema.field(column);
        let Some((expression, from)) = &self.compiled.defaults[column] else {
            return Ok(new_null_array(field.data_type(), rows));
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
        let value = expression.evaluate(&empty)?.into_array(rows)?;
        conversion::convert(&value, from, field, &self.format)
    }

    fn declared_length(&self, index: usize, column: ArrayRef) -> Result<ArrayRef> {
        let declared = &self.table.columns[index];
        let Some(length) = declared.length else { return Ok(column) };
        let length = length as usize;
        let padded = declared.pg_type() == Type::BPCHAR;
        let texts = column.as_string::<i32>();
        let fits = |text: &str| text.chars().count() <= length && !padded;
        if texts.iter().flatten().all(fits) {
            return Ok(column);
        }
        let mut fitted = StringBuilder::new();
        for text in texts {
            let Some(text) = text else {
                fitted.append_null();
                continue;
            };
            let end = text.char_indices().nth(length).map_or(text.len(), |(at, _)| at);
            // Only blanks may be cut off without saying so.
            if text[end..].chars().any(|c| c != ' ') {
                let name = if padded { "character" } else { "character varying" };
                return Err(Error::new(SqlState::new("22001"), format!("value too long for type {name}({length})")));
            }
            let mut text = text[..end].to_string();
            if padded {
                let missing = length.saturating_sub(text.chars().count());
                text.extend(std::iter::repeat_n(' ', missing));
            }
            fitted.append_value(text);
        }
        Ok(Arc::new(fitted.finish()))
    }

    fn check_not_null(&self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        for (declared, column) in self.table.columns.iter().zip(columns) {
            if declared.not_null && column.null_count() > 0 {
                let row = (0..rows).find(|row| column.is_null(*row)).unwrap_or(0);
                let message = format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    declared.name, self.table.name.name
                );
                return Err(self.failing(Error::new(codes::NOT_NULL_VIOLATION, message), columns, row));
            }
        }
        Ok(())
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        for (check, expression) in self.table.checks.iter().zip(&self.compiled.checks) {
            let holds = expression.evaluate(batch)?.into_array(batch.num_rows())?;
            if holds.data_type().is_null() {
                continue;
            }
            let holds = holds.as_boolean();
            // NULL passes, as in PostgreSQL.
            if let Some(row) = (0..holds.len()).find(|row| holds.is_valid(*row) && !holds.value(*row)) {
                let message = format!(
                    "new row for relation \"{}\" violates check constraint \"{}\"",
                    self.table.name.name, check.name
                );
                return Err(self.failing(Error::new(codes::CHECK_VIOLATION, message), batch.columns(), row));
            }
        }
        Ok(())
    }

    fn failing(&self, error: Error, columns: &[ArrayRef], row: usize) -> Error {
        match self.row_text(columns, row) {
            Ok(text) => error.with_detail(format!("Failing row contains ({text}).")),
            Err(_) => error,
        }
    }

    fn row_text(&self, columns: &[ArrayRef], row: usize) -> Result<String> {
        let mut parts = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(self.compiled.schema.fields()) {
            let mut buffer = BytesMut::new();
            let written = values::write_text(column, field, row, &self.format, &mut buffer)?;
            parts.push(if written { String::from_utf8_lossy(&buffer).into_owned() } else { "null".into() });
        }
        Ok(parts.join(", "))
    }
}
