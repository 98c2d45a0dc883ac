//! INSERT as a source of rows: batches in the table's column order, defaults filled in, constraints checked, stored
//! by whoever asked. Constant rows go straight to Arrow: planning a query costs a hundred times more.

use super::parameters::{self, Bound};
use super::planner::conversion;
use super::shape::Shaper;
use super::{Extension, Session};
use crate::engine::table::Table;
use crate::error::{Error, Result, codes};
use crate::limits;
use crate::sql::statement::fold;
use crate::sql::type_names::{self, declared, display};
use crate::sql::types::{self, BatchStream};
use crate::wire::values::{self, BatchBuilder, Format};
use bytes::BytesMut;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use futures::StreamExt;
use postgres_types::Type;
use sqlparser::ast::{self, Expr, SetExpr, UnaryOperator, Value};
use std::sync::Arc;

/// Positions in the table of the columns that an INSERT or COPY names; all of them where it names none. Errors:
/// `42703`, `42701`.
pub fn target_columns(table: &Table, names: &[String]) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let column = table.column(name).ok_or_else(|| {
            Error::new(
                codes::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name.name),
            )
        })?;
        if columns.contains(&column) {
            return Err(Error::new(codes::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once")));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The fields of some columns of a table, in that order, all nullable: NOT NULL is checked on complete rows.
pub fn source_schema(table: &Table, columns: &[usize]) -> Result<SchemaRef> {
    let fields = columns
        .iter()
        .map(|column| Ok(table.columns[*column].field()?.with_nullable(true)))
        .collect::<Result<Vec<Field>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The names that an INSERT lists.
pub fn column_names(insert: &ast::Insert) -> Result<Vec<String>> {
    let plain = |name: &ast::ObjectName| match name.0.as_slice() {
        [part] => part.as_ident().map(fold),
        _ => None,
    };
    let names: Option<Vec<String>> = insert.columns.iter().map(plain).collect();
    names.ok_or_else(|| Error::unsupported("INSERT into a part of a column is not supported"))
}

/// The relation that an INSERT writes to.
pub fn target(insert: &ast::Insert) -> Result<&ast::ObjectName> {
    match &insert.table {
        ast::TableObject::TableName(name) => Ok(name),
        _ => Err(Error::unsupported("INSERT into something else than a table is not supported")),
    }
}

/// Errors: `0A000` for the clauses that are not there yet.
pub fn refuse_unsupported(insert: &ast::Insert) -> Result<()> {
    if insert.on.is_some() {
        return Err(Error::unsupported("INSERT ... ON CONFLICT is not supported yet"));
    }
    if insert.returning.is_some() {
        return Err(Error::unsupported("INSERT ... RETURNING is not supported yet"));
    }
    Ok(())
}

/// The rows of a plain `VALUES`.
pub fn constant_rows(source: &ast::Query) -> Option<&[ast::Parens<Vec<Expr>>]> {
    match &*source.body {
        SetExpr::Values(values)
            if source.with.is_none()
                && source.order_by.is_none()
                && source.limit_clause.is_none()
                && source.fetch.is_none() =>
        {
            Some(&values.rows)
        }
        _ => None,
    }
}

impl Session {
    /// What an INSERT into `table` stores: batches of the table's schema. Storing them is the caller's. Errors:
    /// `0A000`, `42601`, `42703`, `42804`; while streaming also `22…`, `23502`, `23514`.
    pub async fn insert_source(
        &mut self,
        table: &Arc<Table>,
        insert: &ast::Insert,
        bound: &Bound<'_>,
        extension: &dyn Extension,
    ) -> Result<BatchStream> {
        refuse_unsupported(insert)?;
        let columns = target_columns(table, &column_names(insert)?)?;
        let Some(source) = &insert.source else {
            let shaper = self.shaper(table, &[])?;
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
            return Ok(futures::stream::iter([shaper.shape(&row)]).boxed());
        };
        match constant_rows(source) {
            Some(rows) => self.constant_source(table, &columns, rows, !insert.columns.is_empty(), bound),
            None => self.query_source(table, columns, source, !insert.columns.is_empty(), bound, extension).await,
        }
    }

    /// Completes batches of `columns` (positions in the table) to rows of the table.
    pub fn shaper(&self, table: &Arc<Table>, columns: &[usize]) -> Result<Shaper> {
        let format = self.format();
        let compiled = self.compiled.get(table, &self.planner, format.time_zone)?;
        Ok(Shaper::new(table, compiled, columns, format))
    }

    fn constant_source(
        &self,
        table: &Arc<Table>,
        columns: &[usize],
        rows: &[ast::Parens<Vec<Expr>>],
        listed: bool,
        bound: &Bound<'_>,
    ) -> Result<BatchStream> {
        let width = rows.first().map_or(0, |row| row.content.len());
        if rows.iter().any(|row| row.content.len() != width) {
            return Err(Error::new(codes::SYNTAX_ERROR, "VALUES lists must all be the same length"));
        }
        let columns = fitting_columns(columns, width, listed)?;
        let shaper = self.shaper(table, columns)?;
        let schema = source_schema(table, columns)?;
        let format = self.format();
        let mut cells =
            Cells { session: self, table, shaper: &shaper, columns, schema: &schema, format: &format, bound };
        let mut batches = Vec::with_capacity(rows.len() / limits::BATCH_ROWS_MAX + 1);
        for rows in rows.chunks(limits::BATCH_ROWS_MAX) {
            let mut builder = BatchBuilder::new(schema.clone(), format.clone());
            for row in rows {
                for (place, expr) in row.content.iter().enumerate() {
                    cells.push(&mut builder, place, expr)?;
                }
                builder.end_row();
            }
            batches.push(shaper.shape(&builder.finish()?));
        }
        Ok(futures::stream::iter(batches).boxed())
    }

    async fn query_source(
        &mut self,
        table: &Arc<Table>,
        columns: Vec<usize>,
        query: &ast::Query,
        listed: bool,
        bound: &Bound<'_>,
        extension: &dyn Extension,
    ) -> Result<BatchStream> {
        let (from, rows) = self.run_query(query, bound, extension).await?;
        let columns = fitting_columns(&columns, from.fields().len(), listed)?.to_vec();
        let to = source_schema(table, &columns)?;
        for (from, to) in from.fields().iter().zip(to.fields()) {
            check_assignable(to.name(), from, to)?;
        }
        let shaper = self.shaper(table, &columns)?;
        let format = self.format();
        let convert = move |batch: RecordBatch| -> Result<RecordBatch> {
            let converted = batch
                .columns()
                .iter()
                .zip(from.fields().iter().zip(to.fields()))
                .map(|(column, (from, to))| conversion::convert(column, from, to, &format))
                .collect::<Result<Vec<ArrayRef>>>()?;
            shaper.shape(&RecordBatch::try_new(to.clone(), converted)?)
        };
        Ok(rows.map(move |batch| batch.and_then(&convert)).boxed())
    }
}

/// As many of the target columns as there are expressions; fewer only where the statement lists none.
fn fitting_columns(columns: &[usize], width: usize, listed: bool) -> Result<&[usize]> {
    if width > columns.len() {
        return Err(Error::new(codes::SYNTAX_ERROR, "INSERT has more expressions than target columns"));
    }
    if width < columns.len() && listed {
        return Err(Error::new(codes::SYNTAX_ERROR, "INSERT has more target columns than expressions"));
    }
    Ok(&columns[..width])
}

/// Whether PostgreSQL has an assignment cast. Text is taken by any column: an untyped constant may have become text.
fn check_assignable(column: &str, from: &Field, to: &Field) -> Result<()> {
    #[derive(PartialEq)]
    enum Family {
        Any,
        Boolean,
        Number,
        Time,
        Span,
        Bytes,
    }
    let family = |ty: &DataType| match ty {
        DataType::Boolean => Family::Boolean,
        ty if ty.is_integer() || ty.is_floating() || conversion::is_decimal(ty) => Family::Number,
        DataType::Date32 | DataType::Timestamp(..) => Family::Time,
        DataType::Time64(_) | DataType::Interval(_) => Family::Span,
        DataType::Binary => Family::Bytes,
        _ => Family::Any,
    };
    let (left, right) = (family(from.data_type()), family(to.data_type()));
    if left == right || left == Family::Any || right == Family::Any {
        return Ok(());
    }
    let shown = |field: &Field| display(&types::pg_type(field));
    Err(Error::new(
        codes::DATATYPE_MISMATCH,
        format!("column \"{column}\" is of type {} but expression is of type {}", shown(to), shown(from)),
    )
    .with_hint("You will need to rewrite or cast the expression."))
}

/// Writes the cells of constant rows.
struct Cells<'c> {
    session: &'c Session,
    table: &'c Table,
    shaper: &'c Shaper,
    columns: &'c [usize],
    schema: &'c SchemaRef,
    format: &'c Format,
    bound: &'c Bound<'c>,
}

impl Cells<'_> {
    fn push(&mut self, builder: &mut BatchBuilder, place: usize, expr: &Expr) -> Result<()> {
        let field = self.schema.field(place);
        match expr {
            Expr::Value(value) => match &value.value {
                Value::Null => builder.push_text(place, None),
                Value::SingleQuotedString(text)
                | Value::EscapedStringLiteral(text)
                | Value::UnicodeStringLiteral(text) => builder.push_text(place, Some(text)),
                Value::DollarQuotedString(text) => builder.push_text(place, Some(&text.value)),
                Value::Number(digits, _) if takes_digits(field, digits) => number(builder, place, field, digits),
                Value::Boolean(value) if matches!(field.data_type(), DataType::Boolean | DataType::Utf8) => {
                    builder.push_text(place, Some(if *value { "true" } else { "false" }))
                }
                Value::Placeholder(name) => self.parameter(builder, place, parameters::number(name)?),
                _ => self.general(builder, place, expr),
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => match inner.as_ref() {
                Expr::Value(ast::ValueWithSpan { value: Value::Number(digits, _), .. })
                    if takes_digits(field, digits) =>
                {
                    number(builder, place, field, &format!("-{digits}"))
                }
                _ => self.general(builder, place, expr),
            },
            Expr::TypedString(typed) if self.is_declared(place, &typed.data_type) => {
                match typed.value.clone().into_string() {
                    Some(text) => builder.push_text(place, Some(&text)),
                    None => self.general(builder, place, expr),
                }
            }
            Expr::Cast { expr: inner, data_type, .. } if self.is_declared(place, data_type) => match inner.as_ref() {
                Expr::Value(ast::ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
                    builder.push_text(place, Some(text))
                }
                _ => self.general(builder, place, expr),
            },
            Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default") => {
                let value = self.shaper.default(self.columns[place], 1)?;
                self.value(builder, place, &value)
            }
            _ => self.general(builder, place, expr),
        }
    }

    /// The constant's type is exactly the column's, so that its text can be read as the column's.
    fn is_declared(&self, place: usize, data_type: &ast::DataType) -> bool {
        let column = &self.table.columns[self.columns[place]];
        declared(data_type).is_ok_and(|declared| {
            declared.ty == column.pg_type() && declared.numeric == column.numeric && declared.length.is_none()
        })
    }

    fn parameter(&self, builder: &mut BatchBuilder, place: usize, number: usize) -> Result<()> {
        let ty = self.bound.type_of(number);
        let field = self.schema.field(place);
        let column = &self.table.columns[self.columns[place]];
        let parameter = self.bound.values.get(number - 1).ok_or_else(|| parameters::missing(number))?;
        let text_like = |ty: &Type| matches!(*ty, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME);
        let same = ty == column.pg_type() || (text_like(&ty) && text_like(&column.pg_type()));
        match &parameter.bytes {
            None => builder.push_text(place, None),
            Some(bytes) if same && parameter.binary => builder.push_binary(place, Some(bytes)),
            // A parameter without a type of its own reads as the column, whatever it is.
            Some(bytes) if !parameter.binary && (same || ty == Type::TEXT) => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| Error::new(codes::INVALID_TEXT, "invalid byte sequence for encoding \"UTF8\""))?;
                builder.push_text(place, Some(text))
            }
            Some(_) => {
                let from = types::field("", &ty, true)?;
                check_assignable(field.name(), &from, field)?;
                let value = self.bound.column(number, &from, self.format)?;
                self.value(builder, place, &conversion::convert(&value, &from, field, self.format)?)
            }
        }
    }

    fn general(&self, builder: &mut BatchBuilder, place: usize, expr: &Expr) -> Result<()> {
        let field = self.schema.field(place);
        let (value, from) = self.session.planner.constant(expr, self.bound, self.format)?;
        check_assignable(field.name(), &from, field)?;
        let value = conversion::convert(&value.to_array_of_size(1)?, &from, field, self.format)?;
        self.value(builder, place, &value)
    }

    /// By way of its text: rare, and the builder speaks text.
    fn value(&self, builder: &mut BatchBuilder, place: usize, value: &ArrayRef) -> Result<()> {
        let mut buffer = BytesMut::new();
        if !values::write_text(value, self.schema.field(place), 0, self.format, &mut buffer)? {
            return builder.push_text(place, None);
        }
        let text = std::str::from_utf8(&buffer).map_err(|e| Error::internal(e.to_string()))?;
        builder.push_text(place, Some(text))
    }
}

/// Digits that a column reads as PostgreSQL would assign the number. A fraction must be rounded for an integer
/// column, and a number is no time.
fn takes_digits(field: &Field, digits: &str) -> bool {
    match field.data_type() {
        DataType::UInt32 => digits.bytes().all(|b| b.is_ascii_digit()),
        ty if ty.is_integer() => digits.bytes().all(|b| b.is_ascii_digit()),
        DataType::Float32 | DataType::Float64 | DataType::Utf8 => !digits.contains(['_', 'x', 'X', 'o', 'b']),
        DataType::Decimal128(..) => digits.bytes().all(|b| b.is_ascii_digit() || b == b'.'),
        _ => false,
    }
}

/// A number was never text to the user: one too large is out of the type's range, not a malformed value.
fn number(builder: &mut BatchBuilder, place: usize, field: &Field, digits: &str) -> Result<()> {
    builder.push_text(place, Some(digits)).map_err(|error| match error.code() {
        codes::NUMERIC_OUT_OF_RANGE if field.data_type().is_integer() => conversion::out_of_range(field),
        _ => error,
    })
}

/// The type that an INSERT's bare parameter takes: its column's.
pub fn parameter_types(table: &Table, insert: &ast::Insert, types: &mut Vec<Type>) -> Result<()> {
    let columns = target_columns(table, &column_names(insert)?)?;
    let mut note = |place: usize, expr: &Expr| -> Result<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
            && let Some(column) = columns.get(place)
        {
            let number = parameters::number(name)?;
            if types.len() < number {
                types.resize(number, Type::UNKNOWN);
            }
            if types[number - 1] == Type::UNKNOWN {
                types[number - 1] = table.columns[*column].pg_type();
            }
        }
        Ok(())
    };
    let Some(source) = &insert.source else { return Ok(()) };
    if let Some(rows) = constant_rows(source) {
        for row in rows {
            for (place, expr) in row.content.iter().enumerate() {
                note(place, expr)?;
            }
        }
    } else if let SetExpr::Select(select) = &*source.body {
        for (place, item) in select.projection.iter().enumerate() {
            if let ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } = item {
                note(place, expr)?;
            }
        }
    }
    Ok(())
}

/// For messages.
pub fn type_name(field: &Field) -> String {
    type_names::display(&types::pg_type(field))
}
