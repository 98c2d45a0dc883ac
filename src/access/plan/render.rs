//! DataFusion expressions as SQL text for a data node.
//!
//! A whitelist: an expression is rendered only if the embedded engine and stock PostgreSQL give the same value for it,
//! whatever the remote session's time zone and the remote database's collation. Everything else comes back as the
//! reason why it stays on the access node. DataFusion's own unparser is not used: it drops offsets and ORDER BY
//! (measured), and it never says no.
//!
//! Two differences are accepted, for in both PostgreSQL is what a user expects: integer and float overflow, which
//! PostgreSQL reports (22003) and the embedded engine lets wrap or become infinite; and negative zero, which equals zero
//! in PostgreSQL only.

use super::bucket;
use super::literal::{Class, Reason, class, keeps_micros, literal, sql_type};
use crate::ids::quote_identifier;
use crate::sql::types::PG_TYPE;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{Between, Case, InList, Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::scalar::ScalarValue;
use std::collections::BTreeSet;

/// Renders expressions over one table's columns and remembers which it met.
pub struct Renderer {
    schema: DFSchema,
    /// Positions of the columns that were rendered so far.
    used: BTreeSet<usize>,
}

impl Renderer {
    /// Expressions must name the columns of `schema` without a qualifier.
    pub fn new(schema: &Schema) -> Result<Renderer, Reason> {
        let schema = DFSchema::try_from(schema.clone()).map_err(|error| error.strip_backtrace())?;
        Ok(Renderer { schema, used: BTreeSet::new() })
    }

    pub fn used(&self) -> &BTreeSet<usize> {
        &self.used
    }

    pub fn type_of(&self, expression: &Expr) -> Result<DataType, Reason> {
        expression.get_type(&self.schema).map_err(|error| error.strip_backtrace())
    }

    pub fn class_of(&self, expression: &Expr) -> Result<Class, Reason> {
        let data_type = self.type_of(expression)?;
        class(&data_type).ok_or_else(|| format!("values of type {data_type} do not compare alike everywhere"))
    }

    /// A column as such: to be returned, counted or tested for NULL, not looked into.
    pub fn column(&mut self, column: &Column) -> Result<String, Reason> {
        let position = self
            .schema
            .index_of_column_by_name(None, &column.name)
            .ok_or_else(|| format!("column {} is not the hypertable's", column.name))?;
        self.used.insert(position);
        Ok(quote_identifier(&column.name))
    }

    /// The PostgreSQL type behind a column where its Arrow type does not tell.
    pub fn tag(&self, column: &Column) -> Option<&str> {
        let position = self.schema.index_of_column_by_name(None, &column.name)?;
        self.schema.field(position).metadata().get(PG_TYPE).map(String::as_str)
    }

    /// A column's value, or any expression's, to be returned as it is.
    pub fn value(&mut self, expression: &Expr) -> Result<String, Reason> {
        match expression {
            Expr::Column(column) => self.column(column),
            Expr::Alias(alias) => self.value(&alias.expr),
            other => self.expression(other),
        }
    }

    pub fn expression(&mut self, expression: &Expr) -> Result<String, Reason> {
        match expression {
            Expr::Column(column) => self.operand(column),
            Expr::Alias(alias) => self.expression(&alias.expr),
            Expr::Literal(value, _) => literal(value),
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Not(inner) => Ok(format!("(NOT {})", self.expression(inner)?)),
            Expr::Negative(inner) => self.negative(inner),
            Expr::IsNull(inner) => self.test(inner, "IS NULL"),
            Expr::IsNotNull(inner) => self.test(inner, "IS NOT NULL"),
            Expr::IsTrue(inner) => self.test(inner, "IS TRUE"),
            Expr::IsNotTrue(inner) => self.test(inner, "IS NOT TRUE"),
            Expr::IsFalse(inner) => self.test(inner, "IS FALSE"),
            Expr::IsNotFalse(inner) => self.test(inner, "IS NOT FALSE"),
            Expr::IsUnknown(inner) => self.test(inner, "IS UNKNOWN"),
            Expr::IsNotUnknown(inner) => self.test(inner, "IS NOT UNKNOWN"),
            Expr::Between(between) => self.between(between),
            Expr::InList(list) => self.in_list(list),
            Expr::Like(like) => self.like(like),
            Expr::Case(case) => self.case(case),
            Expr::Cast(cast) => self.cast(&cast.expr, cast.field.data_type()),
            Expr::ScalarFunction(call) => self.function(call),
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::OuterReferenceColumn(..) => {
                Err("it depends on another query".into())
            }
            other => Err(format!("{} is not known to mean the same on every data node", other.variant_name())),
        }
    }

    /// A column whose value is looked into.
    fn operand(&mut self, column: &Column) -> Result<String, Reason> {
        if let Some(tag) = self.tag(column)
            && !matches!(tag, "varchar" | "name")
        {
            return Err(format!("type {tag} of column {} does not compare as text", column.name));
        }
        self.column(column)
    }

    fn test(&mut self, inner: &Expr, what: &str) -> Result<String, Reason> {
        Ok(format!("({} {what})", self.value(inner)?))
    }

    fn negative(&mut self, inner: &Expr) -> Result<String, Reason> {
        match self.class_of(inner)? {
            Class::Integer | Class::Float | Class::Decimal => Ok(format!("(- {})", self.expression(inner)?)),
            _ => Err("only a number has a sign".into()),
        }
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Result<String, Reason> {
        let BinaryExpr { left, op, right } = binary;
        match op {
            Operator::And | Operator::Or => {}
            Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
                if let Some(text) = self.uuid_equality(left, *op, right)? {
                    return Ok(text);
                }
                self.comparable(left, right)?;
            }
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                let class = self.comparable(left, right)?;
                ordered_alike(class)?;
            }
            Operator::Plus | Operator::Minus | Operator::Multiply => self.arithmetic(left, *op, right)?,
            Operator::Divide | Operator::Modulo => self.division(left, *op, right)?,
            Operator::StringConcat => {
                if (self.class_of(left)?, self.class_of(right)?) != (Class::Text, Class::Text) {
                    return Err("|| joins text only".into());
                }
            }
            other => return Err(format!("operator {other} is not known to mean the same on every data node")),
        }
        Ok(format!("({} {op} {})", self.expression(left)?, self.expression(right)?))
    }

    /// Both sides' class, if equality means the same everywhere.
    fn comparable(&self, left: &Expr, right: &Expr) -> Result<Class, Reason> {
        let (left, right) = (self.class_of(left)?, self.class_of(right)?);
        if left != right {
            return Err(format!("{left:?} and {right:?} are compared").to_lowercase());
        }
        if left == Class::Interval {
            // A month is 30 days to PostgreSQL's comparison, and no number of days to Arrow's.
            return Err("intervals compare differently".into());
        }
        Ok(left)
    }

    /// A uuid column against a constant: PostgreSQL compares the value and we the text, the same thing only in canonical
    /// form. `None` if no uuid is involved.
    fn uuid_equality(&mut self, left: &Expr, op: Operator, right: &Expr) -> Result<Option<String>, Reason> {
        let (column, constant) = match (left, right) {
            (Expr::Column(column), other) | (other, Expr::Column(column)) if self.tag(column) == Some("uuid") => {
                (column, other)
            }
            _ => return Ok(None),
        };
        Ok(Some(format!("({} {op} {})", self.column(column)?, uuid_literal(constant)?)))
    }

    fn arithmetic(&self, left: &Expr, op: Operator, right: &Expr) -> Result<(), Reason> {
        let (left_type, right_type) = (self.type_of(left)?, self.type_of(right)?);
        match (self.class_of(left)?, self.class_of(right)?) {
            (Class::Integer, Class::Integer) | (Class::Float, Class::Float) if left_type == right_type => Ok(()),
            (Class::Decimal, Class::Decimal) => exact_decimal(&left_type, op, &right_type, || {
                self.type_of(&Expr::BinaryExpr(BinaryExpr::new(left.clone().into(), op, right.clone().into())))
            }),
            (moment @ (Class::Timestamp | Class::Timestamptz), Class::Interval) if op != Operator::Multiply => {
                fixed_interval(right, moment)
            }
            _ => Err(format!("{left_type} {op} {right_type} is not computed alike everywhere")),
        }
    }

    /// Division by zero is an error here and infinity there, so the divisor must be a constant that is neither zero nor,
    /// for the one overflow of integer division, minus one.
    fn division(&self, left: &Expr, op: Operator, right: &Expr) -> Result<(), Reason> {
        let divisor = match right {
            Expr::Literal(value, _) => value,
            _ => return Err("division by zero is not reported alike everywhere".into()),
        };
        let class = self.comparable(left, right)?;
        let safe = match (class, op) {
            (Class::Integer, _) => !matches!(
                divisor,
                ScalarValue::Int16(None | Some(0 | -1))
                    | ScalarValue::Int32(None | Some(0 | -1))
                    | ScalarValue::Int64(None | Some(0 | -1))
            ),
            (Class::Float, Operator::Divide) => match divisor {
                ScalarValue::Float64(Some(number)) => *number != 0.0,
                ScalarValue::Float32(Some(number)) => *number != 0.0,
                _ => false,
            },
            _ => return Err(format!("{op} rounds differently")),
        };
        if safe { Ok(()) } else { Err("division by zero is not reported alike everywhere".into()) }
    }

    fn between(&mut self, between: &Between) -> Result<String, Reason> {
        for bound in [&between.low, &between.high] {
            let class = self.comparable(&between.expr, bound)?;
            ordered_alike(class)?;
        }
        let not = if between.negated { "NOT " } else { "" };
        let value = self.expression(&between.expr)?;
        let (low, high) = (self.expression(&between.low)?, self.expression(&between.high)?);
        Ok(format!("({value} {not}BETWEEN {low} AND {high})"))
    }

    fn in_list(&mut self, list: &InList) -> Result<String, Reason> {
        let not = if list.negated { "NOT " } else { "" };
        if let Expr::Column(column) = &*list.expr
            && self.tag(column) == Some("uuid")
        {
            let items = list.list.iter().map(uuid_literal).collect::<Result<Vec<_>, _>>()?;
            return Ok(format!("({} {not}IN ({}))", self.column(column)?, items.join(", ")));
        }
        let value = self.expression(&list.expr)?;
        let mut items = Vec::with_capacity(list.list.len());
        for item in &list.list {
            self.comparable(&list.expr, item)?;
            items.push(self.expression(item)?);
        }
        Ok(format!("({value} {not}IN ({}))", items.join(", ")))
    }

    fn like(&mut self, like: &Like) -> Result<String, Reason> {
        let pattern = match &*like.pattern {
            Expr::Literal(value, _) => value.try_as_str().flatten(),
            _ => None,
        };
        let Some(pattern) = pattern.filter(|pattern| !pattern.contains('\\') && like.escape_char.is_none()) else {
            return Err("escapes in a LIKE pattern are not read alike everywhere".into());
        };
        if like.case_insensitive {
            return Err("upper and lower case depend on the node's locale".into());
        }
        let not = if like.negated { "NOT " } else { "" };
        let pattern = super::literal::text_literal(pattern)?;
        Ok(format!("({} {not}LIKE {pattern})", self.expression(&like.expr)?))
    }

    fn case(&mut self, case: &Case) -> Result<String, Reason> {
        let mut text = String::from("(CASE");
        if let Some(subject) = &case.expr {
            for (when, _) in &case.when_then_expr {
                self.comparable(subject, when)?;
            }
            text += &format!(" {}", self.expression(subject)?);
        }
        for (when, then) in &case.when_then_expr {
            text += &format!(" WHEN {} THEN {}", self.expression(when)?, self.expression(then)?);
        }
        if let Some(otherwise) = &case.else_expr {
            text += &format!(" ELSE {}", self.expression(otherwise)?);
        }
        Ok(text + " END)")
    }

    fn cast(&mut self, inner: &Expr, to: &DataType) -> Result<String, Reason> {
        let from = self.type_of(inner)?;
        let text = self.expression(inner)?;
        if is_same_remotely(&from, to) {
            return Ok(text);
        }
        if !casts_alike(&from, to) {
            return Err(format!("a cast from {from} to {to} is not the same everywhere"));
        }
        Ok(format!("({text}::{})", sql_type(to)?))
    }

    fn function(&mut self, call: &ScalarFunction) -> Result<String, Reason> {
        let name = call.func.name();
        match name {
            "date_bin" | "time_bucket" | "date_trunc" => return bucket::render(self, name, &call.args),
            "coalesce" | "nullif" => {
                for pair in call.args.windows(2) {
                    self.comparable(&pair[0], &pair[1])?;
                }
            }
            "abs" => match self.class_of(&call.args[0])? {
                Class::Integer | Class::Float | Class::Decimal => {}
                _ => return Err("abs is known for numbers only".into()),
            },
            "floor" | "ceil" if self.type_of(&call.args[0])? == DataType::Float64 => {}
            "char_length" | "character_length" | "length" if self.class_of(&call.args[0])? == Class::Text => {
                return Ok(format!("char_length({})", self.expression(&call.args[0])?));
            }
            _ => return Err(format!("function {name} is not known to mean the same on every data node")),
        }
        let arguments = call.args.iter().map(|a| self.expression(a)).collect::<Result<Vec<_>, _>>()?;
        Ok(format!("{name}({})", arguments.join(", ")))
    }
}

/// Whether `<` and ORDER BY mean the same everywhere.
pub fn ordered_alike(class: Class) -> Result<(), Reason> {
    match class {
        Class::Text => Err("text is ordered by the data node's collation".into()),
        Class::Interval => Err("intervals compare differently".into()),
        _ => Ok(()),
    }
}

fn uuid_literal(constant: &Expr) -> Result<String, Reason> {
    let text = match constant {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        // `'…'::uuid`: to Arrow a cast from text to text.
        Expr::Cast(cast) if class(cast.field.data_type()) == Some(Class::Text) => return uuid_literal(&cast.expr),
        _ => None,
    }
    .ok_or("a uuid is compared with something else than a constant")?;
    match uuid::Uuid::parse_str(text) {
        Ok(uuid) if uuid.hyphenated().to_string() == text => Ok(format!("'{text}'")),
        _ => Err("the constant is not a uuid in canonical form".into()),
    }
}

/// Sums and products of decimals are exact as long as no digit had to go.
fn exact_decimal(
    left: &DataType,
    op: Operator,
    right: &DataType,
    result: impl FnOnce() -> Result<DataType, Reason>,
) -> Result<(), Reason> {
    let (DataType::Decimal128(_, a), DataType::Decimal128(_, b)) = (left, right) else {
        return Err("decimals of another width".into());
    };
    let exact = if op == Operator::Multiply { a.saturating_add(*b) } else { *a.max(b) };
    match result()? {
        DataType::Decimal128(_, scale) if scale == exact => Ok(()),
        _ => Err("the result is rounded".into()),
    }
}

/// An interval constant that is the same length whatever the time zone: no months or days on a timestamptz.
fn fixed_interval(interval: &Expr, moment: Class) -> Result<(), Reason> {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _)
            if moment == Class::Timestamp || (value.months == 0 && value.days == 0) =>
        {
            Ok(())
        }
        _ => Err("the length of a day or month depends on the session's time zone".into()),
    }
}

/// Types that are one and the same to a data node, so that a cast between them vanishes.
fn is_same_remotely(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Timestamp(_, a), DataType::Timestamp(unit, b)) => a.is_some() == b.is_some() && keeps_micros(unit),
        (DataType::Time64(_), DataType::Time64(unit)) => keeps_micros(unit),
        _ => {
            let text = |ty: &DataType| matches!(class(ty), Some(Class::Text));
            from == to || (text(from) && text(to))
        }
    }
}

fn casts_alike(from: &DataType, to: &DataType) -> bool {
    let (Some(from_class), Some(to_class)) = (class(from), class(to)) else { return false };
    match (from_class, to_class) {
        // Out of range is an error on both sides.
        (Class::Integer, Class::Integer | Class::Float | Class::Decimal | Class::Text) => true,
        (Class::Boolean, Class::Text) => true,
        (Class::Float, Class::Float) => *to == DataType::Float64,
        (Class::Decimal, Class::Decimal) => match (from, to) {
            (DataType::Decimal128(_, a), DataType::Decimal128(_, b)) => a <= b,
            _ => false,
        },
        (Class::Date, Class::Timestamp) => matches!(to, DataType::Timestamp(unit, _) if keeps_micros(unit)),
        (Class::Timestamp, Class::Date) => true,
        _ => false,
    }
}
