//! What a table is: columns, checks, keys.

use crate::error::Result;
use crate::ids::RelationName;
use crate::sql::types;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use postgres_types::Type;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Unique in the database and never used again.
    pub id: u64,
    pub name: RelationName,
    pub owner: String,
    pub columns: Vec<Column>,
    pub checks: Vec<Check>,
    /// PRIMARY KEY and UNIQUE constraints.
    pub keys: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// PostgreSQL type oid.
    pub type_oid: u32,
    /// Precision and scale of a declared numeric.
    pub numeric: Option<(u8, i8)>,
    /// Declared length of varchar(n) or char(n).
    pub length: Option<u32>,
    pub not_null: bool,
    /// An SQL expression.
    pub default: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    /// An SQL expression over the table's columns.
    pub expression: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub name: String,
    /// Positions in `Table::columns`.
    pub columns: Vec<usize>,
    pub primary: bool,
}

impl Column {
    pub fn pg_type(&self) -> Type {
        Type::from_oid(self.type_oid).unwrap_or(Type::TEXT)
    }

    pub fn field(&self) -> Result<Field> {
        let field = types::field(&self.name, &self.pg_type(), !self.not_null)?;
        Ok(match self.numeric {
            Some((precision, scale)) => field.with_data_type(DataType::Decimal128(precision, scale)),
            None => field,
        })
    }
}

impl Table {
    /// The Arrow schema of the rows, in column order.
    pub fn schema(&self) -> Result<SchemaRef> {
        let fields = self.columns.iter().map(Column::field).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}
