//! What an access node does with each kind of statement.

use super::copy::HypertableSink;
use super::local::LocalSession;
use super::overlay::Overlay;
use super::{AccessSession, drop_table, refused, stale};
use crate::access::admin::context::Context;
use crate::access::admin::registry::Action;
use crate::access::admin::{self, Results, calls};
use crate::access::txn::Transaction;
use crate::access::{execute, plan};
use crate::buggify;
use crate::catalog::{Hypertable, State};
use crate::error::{Error, Result, SqlState};
use crate::ids::RelationName;
use crate::session::copy::select_columns;
use crate::session::insert;
use crate::session::parameters::Bound;
use crate::session::query::{text_rows, timed_out};
use crate::sql::rewrite;
use crate::sql::statement::{Copy, CopyDirection, CopyTarget, Kind, Statement};
use crate::wire::{Description, Outcome, Parameter};
use calls::{Call, Mentions};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use postgres_types::Type;
use sqlparser::ast::{self, ObjectName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often a query is planned before it is given up because chunks keep being created meanwhile.
const PLANNING_ATTEMPTS_MAX: usize = 10;

impl AccessSession {
    /// Runs a statement that does not end a transaction, within `statement_timeout`.
    pub(super) async fn run_in_time(
        &mut self,
        statement: &Statement,
        types: &[Type],
        parameters: Vec<Parameter>,
    ) -> Result<Outcome> {
        let limit = self.session.start_deadline();
        let host = self.cluster.host.clone();
        let running = self.run(statement, types, parameters);
        match limit {
            Some(limit) => host.timeout(limit, running).await.unwrap_or_else(|_| Err(timed_out())),
            None => running.await,
        }
    }

    // Boxed because EXECUTE runs a statement inside a statement.
    fn run<'a>(
        &'a mut self,
        statement: &'a Statement,
        types: &'a [Type],
        parameters: Vec<Parameter>,
    ) -> BoxFuture<'a, Result<Outcome>> {
        async move {
            if let Kind::Execute { name, arguments } = &statement.kind {
                let (prepared, parameters) = self.session.executed(name, arguments)?;
                return self.run(&prepared.statement, &prepared.types, parameters).await;
            }
            if only_settings(&statement.kind) {
                return self.session.execute(statement, types, parameters, &crate::session::NoExtension).await;
            }
            let mentions = calls::mentions(statement);
            self.open_repeatable_read(&mentions).await?;
            let bound = Bound { types, values: &parameters };
            if !mentions.calls {
                return self.dispatch(statement, &mentions, &bound, Results::new()).await;
            }
            let (statement, calls) = calls::replace(statement)?;
            let results = match &statement.kind {
                Kind::Explain { .. } => admin::outline(&calls)?,
                _ => self.run_calls(&calls, &bound).await?,
            };
            self.dispatch(&statement, &mentions, &bound, results).await
        }
        .boxed()
    }

    async fn run_calls(&mut self, calls: &[Call], bound: &Bound<'_>) -> Result<Results> {
        for call in calls.iter().filter(|call| call.function.action != Action::ShowChunks) {
            self.session.refuse_in_read_only(&format!("{}()", call.function.name))?;
        }
        let transaction = self.distributed()?;
        self.session.begin_statement()?;
        let mut local = LocalSession::new(&self.cluster, &mut self.session, &mut self.claims, bound);
        let mut context = Context { cluster: &self.cluster, transaction: &transaction, local: &mut local };
        admin::run(&mut context, calls).await
    }

    async fn dispatch(
        &mut self,
        statement: &Statement,
        mentions: &Mentions,
        bound: &Bound<'_>,
        results: Results,
    ) -> Result<Outcome> {
        self.claim_target(&statement.kind).await?;
        let mut dropped = Vec::new();
        let view = self.view(mentions, results)?;
        match &statement.kind {
            Kind::Query(query) if view.reads_hypertables() => {
                let plan = self.planned(&view, query, bound, true).await?;
                let (schema, rows) = self.session.run_plan(plan)?;
                return Ok(Outcome::Rows { schema, rows, tag: "SELECT" });
            }
            Kind::Explain { analyze, verbose, statement } => {
                if let Kind::Query(query) = &statement.kind
                    && view.reads_hypertables()
                {
                    return self.explain(&view, query, bound, *analyze, *verbose).await;
                }
            }
            Kind::Insert(insert) => {
                if let Some(hypertable) = self.hypertable(&view.state, insert::target(insert)?)? {
                    return self.insert(&view, insert, bound, hypertable).await;
                }
            }
            Kind::Copy(copy) => {
                if let Some(outcome) = self.copy(&view, copy).await? {
                    return Ok(outcome);
                }
            }
            Kind::DropTable { names, .. } => dropped = self.drop_chunks(&view, names).await?,
            Kind::DropSchema { name, .. } => refuse_to_drop(name, &view.state)?,
            Kind::Unsupported(_) => self.refuse_on_hypertables(&view.state, &statement.text)?,
            _ => {}
        }
        let overlay = view.overlay(self)?;
        let outcome = self.session.execute(statement, bound.types, bound.values.to_vec(), &overlay).await?;
        // Only now are the names held: until then another session could commit a hypertable of one of them.
        let state = view.transaction.state();
        if let Some(name) = dropped.iter().find(|name| state.hypertable(name).is_some()) {
            return Err(drop_table::overtaken(name));
        }
        if let Kind::DropSchema { name, .. } = &statement.kind {
            refuse_to_drop(name, &state)?;
        }
        Ok(outcome)
    }

    pub(super) async fn describe_statement(&mut self, statement: &Statement, hints: &[Type]) -> Result<Description> {
        if let Kind::Execute { name, .. } = &statement.kind {
            let prepared = self.session.prepared_statement(name)?;
            let inner = Box::pin(self.describe_statement(&prepared.statement, &prepared.types)).await?;
            return Ok(Description { parameters: hints.to_vec(), columns: inner.columns });
        }
        let mentions = calls::mentions(statement);
        if matches!(statement.kind, Kind::Query(_) | Kind::Insert(_) | Kind::Explain { .. }) {
            // Describing looks at the local tables: their snapshot must not be older than the others.
            self.open_repeatable_read(&mentions).await?;
        }
        if !mentions.calls {
            let overlay = self.view(&mentions, Results::new())?.overlay(self)?;
            return self.session.describe(statement, hints, &overlay).await;
        }
        let (replaced, calls) = calls::replace(statement)?;
        let hints = admin::parameter_types(&calls, hints);
        let overlay = self.view(&mentions, admin::outline(&calls)?)?.overlay(self)?;
        let mut description = self.session.describe(&replaced, &hints, &overlay).await?;
        // Parameters that stood in calls only are gone from the statement.
        let missing = hints.iter().skip(description.parameters.len()).cloned();
        description.parameters.extend(missing);
        Ok(description)
    }

    /// Before the catalog is looked at: it must not change its mind about a table that is going to be written to.
    async fn claim_target(&mut self, kind: &Kind) -> Result<()> {
        let name = match kind {
            Kind::Insert(insert) => insert::target(insert)?,
            Kind::Copy(Copy {
                target: CopyTarget::Table { name, .. }, direction: CopyDirection::FromStdin, ..
            }) => name,
            _ => return Ok(()),
        };
        let name = self.session.resolve(name)?;
        match self.distributed()?.state().hypertable(&name) {
            Some(_) => Ok(()),
            None => self.claims.share(&self.cluster.host, &self.cluster.tables, &name).await,
        }
    }

    /// The catalog as this statement sees it, with the local definitions of the hypertables that it names.
    fn view(&mut self, mentions: &Mentions, results: Results) -> Result<View> {
        let transaction = self.distributed()?;
        let state = transaction.state();
        let mut schemas = BTreeMap::new();
        let mut names_local = false;
        if !state.hypertables.is_empty() {
            for name in &mentions.relations {
                let name = self.session.resolve(name)?;
                let Some(table) = self.session.table(&name)? else { continue };
                match state.hypertable(&name) {
                    Some(_) => drop(schemas.insert(name, table.schema()?)),
                    None => names_local = true,
                }
            }
        }
        Ok(View { transaction, state, schemas, names_local, results, mentions: mentions.relations.clone() })
    }

    /// The hypertable that a name means in this session.
    pub(super) fn hypertable(&mut self, state: &State, name: &ObjectName) -> Result<Option<Hypertable>> {
        if state.hypertables.is_empty() {
            return Ok(None);
        }
        let resolved = self.session.resolve(name)?;
        Ok(state.hypertable(&resolved).cloned())
    }

    /// A query's plan; with its snapshots open if it is going to `run`. Other sessions may create chunks between the
    /// two: then it is planned anew.
    async fn planned(
        &mut self,
        view: &View,
        query: &ast::Query,
        bound: &Bound<'_>,
        run: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        for attempt in 1.. {
            let overlay = view.overlay(self)?;
            view.transaction.planned_with(overlay.state.clone());
            if !run {
                return self.session.plan_query(query, bound, &overlay).await;
            }
            match self.session.ready_query(query, bound, &overlay).await {
                Ok(_) if attempt < PLANNING_ATTEMPTS_MAX && buggify!(self.cluster.host, "plan.again") => {}
                Ok(plan) => return Ok(plan),
                Err(error) if stale(&error, &view.transaction) && attempt < PLANNING_ATTEMPTS_MAX => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn explain(
        &mut self,
        view: &View,
        query: &ast::Query,
        bound: &Bound<'_>,
        analyze: bool,
        verbose: bool,
    ) -> Result<Outcome> {
        let physical = self.planned(view, query, bound, analyze).await?;
        let text = if analyze {
            let (_, mut rows) = self.session.run_plan(physical.clone())?;
            while let Some(batch) = rows.next().await {
                batch?;
            }
            DisplayableExecutionPlan::with_metrics(&*physical).indent(verbose).to_string()
        } else {
            DisplayableExecutionPlan::new(&*physical).indent(verbose).to_string()
        };
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        lines.extend(plan::explain(&physical, verbose));
        let lines = lines.into_iter().map(|line| line.replace(rewrite::MARK, "_")).collect();
        text_rows("QUERY PLAN", lines, "EXPLAIN")
    }

    async fn insert(
        &mut self,
        view: &View,
        insert: &ast::Insert,
        bound: &Bound<'_>,
        hypertable: Hypertable,
    ) -> Result<Outcome> {
        self.session.refuse_in_read_only("INSERT")?;
        for attempt in 1.. {
            self.session.begin_statement()?;
            let overlay = view.overlay(self)?;
            view.transaction.planned_with(overlay.state.clone());
            let table = self.session.existing_table(insert::target(insert)?, &overlay)?;
            let rows = match self.session.insert_source(&table, insert, bound, &overlay).await {
                Ok(rows) => rows,
                Err(error) if stale(&error, &view.transaction) && attempt < PLANNING_ATTEMPTS_MAX => continue,
                Err(error) => return Err(error),
            };
            let (schema, transaction) = (table.schema()?, &view.transaction);
            let stored = execute::write_rows(&self.cluster, transaction, hypertable.id, &table, schema, rows).await?;
            return Ok(Outcome::Done { tag: format!("INSERT 0 {stored}") });
        }
        unreachable!("the last attempt returns")
    }

    /// `None` for a COPY that has nothing to do with hypertables.
    async fn copy(&mut self, view: &View, copy: &Copy) -> Result<Option<Outcome>> {
        let query = match (&copy.target, copy.direction) {
            (CopyTarget::Query(query), CopyDirection::ToStdout) if view.reads_hypertables() => query.clone(),
            (CopyTarget::Table { name, columns }, direction) => {
                let Some(hypertable) = self.hypertable(&view.state, name)? else { return Ok(None) };
                if direction == CopyDirection::FromStdin {
                    return self.copy_in(view, copy, name, columns, hypertable).map(Some);
                }
                // TimescaleDB copies nothing here, for its rows are in other tables. Ours are in the hypertable.
                Box::new(select_columns(name, columns)?)
            }
            _ => return Ok(None),
        };
        for attempt in 1.. {
            let overlay = view.overlay(self)?;
            view.transaction.planned_with(overlay.state.clone());
            match self.session.copy_out(&query, &copy.options, &overlay).await {
                Err(error) if stale(&error, &view.transaction) && attempt < PLANNING_ATTEMPTS_MAX => {}
                outcome => return outcome.map(Some),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn copy_in(
        &mut self,
        view: &View,
        copy: &Copy,
        name: &ObjectName,
        columns: &[String],
        hypertable: Hypertable,
    ) -> Result<Outcome> {
        self.session.refuse_in_read_only("COPY FROM")?;
        self.session.begin_statement()?;
        let overlay = view.overlay(self)?;
        let table = self.session.existing_table(name, &overlay)?;
        let source = self.session.copy_source(&table, columns, &copy.options)?;
        let (columns, binary) = (source.columns, source.binary);
        let (cluster, transaction, schema) = (self.cluster.clone(), view.transaction.clone(), table.schema()?);
        let host = self.cluster.host.clone();
        let write = move |rows| {
            async move { execute::write_rows(&cluster, &transaction, hypertable.id, &table, schema, rows).await }
                .boxed()
        };
        let sink = HypertableSink::new(&host, Box::new(source), write).guarded(self.session.fail_unless_done());
        Ok(Outcome::CopyIn { sink: Box::new(sink), columns, binary })
    }

    /// The part of DROP TABLE that the local session knows nothing of. Returns the names that mean plain tables.
    async fn drop_chunks(&mut self, view: &View, names: &[ObjectName]) -> Result<Vec<RelationName>> {
        let mut plain = Vec::new();
        for name in names {
            match self.hypertable(&view.state, name)? {
                Some(hypertable) => {
                    self.session.refuse_in_read_only("DROP TABLE")?;
                    drop_table::drop_chunks(&view.transaction, hypertable.id).await?;
                }
                None => plain.push(self.session.resolve(name)?),
            }
        }
        Ok(plain)
    }

    fn refuse_on_hypertables(&mut self, state: &State, text: &str) -> Result<()> {
        if state.hypertables.is_empty() {
            return Ok(());
        }
        let Some((statement, name)) = refused::target(text) else { return Ok(()) };
        match self.hypertable(state, &name)? {
            Some(hypertable) => Err(refused::refusal(statement, &hypertable.name)),
            None => Ok(()),
        }
    }
}

/// What a statement sees of the cluster.
struct View {
    transaction: Transaction,
    state: Arc<State>,
    schemas: BTreeMap<crate::ids::RelationName, arrow::datatypes::SchemaRef>,
    /// It names tables of the local database too.
    names_local: bool,
    results: Results,
    mentions: Vec<ObjectName>,
}

impl View {
    fn reads_hypertables(&self) -> bool {
        !self.schemas.is_empty()
    }

    /// With the catalog's state of this moment.
    fn overlay(&self, session: &mut AccessSession) -> Result<Overlay> {
        let mut state = self.transaction.state();
        let (mut schemas, mut names_local) = (self.schemas.clone(), self.names_local);
        if !Arc::ptr_eq(&state, &self.state) {
            // A plan was stale, or calls have changed the catalog: tables may have become hypertables.
            let mentions = Mentions { relations: self.mentions.clone(), calls: false };
            let renewed = session.view(&mentions, Results::new())?;
            (state, schemas, names_local) = (renewed.state, renewed.schemas, renewed.names_local);
        }
        Ok(Overlay {
            cluster: session.cluster.clone(),
            transaction: self.transaction.clone(),
            state,
            schemas,
            names_local,
            epoch: session.cluster.gate.quiet_epoch(),
            results: self.results.clone(),
            databases: session.databases.clone(),
        })
    }
}

/// Statements that look at no relation.
fn only_settings(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Empty
            | Kind::Begin { .. }
            | Kind::SetTransaction { .. }
            | Kind::CommitPrepared(_)
            | Kind::RollbackPrepared(_)
            | Kind::Set { .. }
            | Kind::Show(_)
            | Kind::DiscardAll
            | Kind::Deallocate { .. }
    )
}

/// Dropping a schema would drop the local half of its hypertables only.
fn refuse_to_drop(schema: &str, state: &State) -> Result<()> {
    match state.hypertables.values().find(|hypertable| hypertable.name.schema == schema) {
        None => Ok(()),
        Some(hypertable) => Err(Error::new(
            SqlState::new("2BP01"),
            format!("cannot drop schema {schema} because other objects depend on it"),
        )
        .with_detail(format!("hypertable {} depends on schema {schema}", hypertable.name))
        .with_hint("Drop its hypertables first.")),
    }
}
