//! The session as cluster functions see it.

use crate::access::admin::arguments::Constant;
use crate::access::admin::constants::Reader;
use crate::access::admin::context::Local;
use crate::access::cluster::Cluster;
use crate::access::session::claims::Claims;
use crate::engine::table::Table;
use crate::error::{Notice, Result};
use crate::ids::RelationName;
use crate::session::parameters::Bound;
use crate::session::{NoExtension, Session};
use crate::sql::statement::{self, Kind};
use crate::sql::types;
use crate::wire::values::Format;
use async_trait::async_trait;
use futures::StreamExt;
use postgres_types::Type;
use sqlparser::ast::Expr;
use std::sync::Arc;

/// One statement's view of its session.
pub struct LocalSession<'a> {
    cluster: &'a Cluster,
    pub session: &'a mut Session,
    claims: &'a mut Claims,
    pub bound: &'a Bound<'a>,
    format: Format,
}

impl<'a> LocalSession<'a> {
    pub fn new(
        cluster: &'a Cluster,
        session: &'a mut Session,
        claims: &'a mut Claims,
        bound: &'a Bound<'a>,
    ) -> LocalSession<'a> {
        LocalSession { cluster, format: session.format(), session, claims, bound }
    }

    fn reader(&self) -> Reader<'_> {
        Reader { format: &self.format, types: self.bound.types, parameters: self.bound.values }
    }
}

#[async_trait]
impl Local for LocalSession<'_> {
    fn user(&self) -> &str {
        self.session.user()
    }

    fn in_block(&self) -> bool {
        self.session.in_block()
    }

    fn table(&mut self, schema: Option<&str>, name: &str) -> Result<Option<Arc<Table>>> {
        let schemas = schema.map_or_else(|| self.session.search_path(), |schema| vec![schema.to_string()]);
        for schema in schemas {
            if let Some(table) = self.session.table(&RelationName::new(schema, name))? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    async fn claim(&mut self, table: &Table) -> Result<bool> {
        self.claims.own(&self.cluster.host, &self.cluster.tables, &table.name).await
    }

    async fn is_empty(&mut self, table: &Arc<Table>) -> Result<bool> {
        // First: what was prepared and has been committed by now is found by the next look.
        if self.cluster.engine.has_prepared_rows(table.id) {
            return Ok(false);
        }
        // A REPEATABLE READ snapshot may be older than the rows; they count all the same.
        if self.cluster.engine.statistics().iter().any(|now| now.id == table.id && now.rows > 0) {
            return Ok(false);
        }
        let statement = statement::parse(&format!("SELECT 1 FROM {} LIMIT 1", table.name.quoted()))?.remove(0);
        let Kind::Query(query) = statement.kind else { unreachable!("a SELECT is a query") };
        // Without an extension: the local rows are asked for, whatever else has the name.
        let (_, mut rows) = self.session.run_query(&query, &Bound::NONE, &NoExtension).await?;
        while let Some(batch) = rows.next().await {
            if batch?.num_rows() > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn redefine(&mut self, table: Table) -> Result<()> {
        self.session.redefine(table).map(drop)
    }

    fn notice(&mut self, notice: Notice) {
        self.session.notice(notice);
    }

    async fn evaluate(&mut self, expression: &Expr) -> Result<Constant> {
        if let Some(constant) = self.reader().simple(expression)? {
            return Ok(constant);
        }
        let (value, field) = self.session.evaluate_constant(expression, self.bound)?;
        Ok(if value.is_null() { Constant::Null } else { Constant::Typed(types::pg_type(&field), value) })
    }

    fn read(&self, ty: &Type, text: &str) -> Result<Constant> {
        self.reader().read(ty, text)
    }

    fn now(&self) -> i64 {
        self.session.transaction_time()
    }
}
