//! Bound parameters as typed values.

use crate::error::{Error, Result, codes};
use crate::sql::types;
use crate::wire::Parameter;
use crate::wire::values::{self, BatchBuilder, Format};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::common::ScalarValue;
use postgres_types::Type;
use std::sync::Arc;

/// The parameters of one execution and their types.
pub struct Bound<'p> {
    pub types: &'p [Type],
    pub values: &'p [Parameter],
}

impl Bound<'_> {
    pub const NONE: Bound<'static> = Bound { types: &[], values: &[] };

    /// The type of `$number`, `text` where none was said.
    pub fn type_of(&self, number: usize) -> Type {
        match self.types.get(number - 1) {
            Some(ty) if *ty != Type::UNKNOWN => ty.clone(),
            _ => Type::TEXT,
        }
    }

    /// `$number` as a one-row column of `field`, whose type must be the parameter's own. Errors: `42P02`, `22P02`,
    /// `22P03`.
    pub fn column(&self, number: usize, field: &Field, format: &Format) -> Result<ArrayRef> {
        let parameter = self.values.get(number.wrapping_sub(1)).ok_or_else(|| missing(number))?;
        match (&parameter.bytes, parameter.binary) {
            (None, _) => values::parse_text(field, None, format),
            (Some(bytes), false) => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| Error::new(codes::INVALID_TEXT, "invalid byte sequence for encoding \"UTF8\""))?;
                values::parse_text(field, Some(text), format)
            }
            (Some(bytes), true) => {
                let schema = Arc::new(Schema::new(vec![field.clone()]));
                let mut builder = BatchBuilder::new(schema, format.clone());
                builder.push_binary(0, Some(bytes))?;
                builder.end_row();
                Ok(builder.finish()?.column(0).clone())
            }
        }
    }

    /// All values, in the order of their numbers.
    pub fn scalars(&self, format: &Format) -> Result<Vec<ScalarValue>> {
        (1..=self.values.len())
            .map(|number| {
                let field = types::field("", &self.type_of(number), true)?;
                Ok(ScalarValue::try_from_array(&self.column(number, &field, format)?, 0)?)
            })
            .collect()
    }

    /// What the planner is told of each parameter.
    pub fn fields(&self) -> Result<Vec<Option<FieldRef>>> {
        (1..=self.types.len().max(self.values.len())).map(|number| field(&self.type_of(number)).map(Some)).collect()
    }
}

pub fn missing(number: usize) -> Error {
    Error::new(codes::UNDEFINED_PARAMETER, format!("there is no parameter ${number}"))
}

/// `None` for a type nobody has named.
pub fn hint(ty: &Type) -> Result<Option<FieldRef>> {
    if *ty == Type::UNKNOWN { Ok(None) } else { field(ty).map(Some) }
}

fn field(ty: &Type) -> Result<FieldRef> {
    Ok(Arc::new(types::field("", ty, true)?))
}

/// The number of a placeholder: 3 for `$3`. Errors: `42P02`.
pub fn number(placeholder: &str) -> Result<usize> {
    placeholder
        .strip_prefix('$')
        .and_then(|digits| digits.parse().ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| Error::new(codes::UNDEFINED_PARAMETER, format!("there is no parameter {placeholder}")))
}
