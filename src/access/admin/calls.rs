//! Finds the calls of cluster functions in a statement and puts relations in their place.
//!
//! `SELECT f('a')` becomes `SELECT call_1.f FROM calls.call_1`, and `SELECT * FROM f('a') x` becomes
//! `SELECT * FROM calls.call_1 x`: once the functions have run, their results are ordinary relations and the rest of
//! the statement plans as any other.

use super::registry::{self, Function};
use crate::error::{Error, Result, codes};
use crate::ids::RelationName;
use crate::sql::statement::{Copy, CopyTarget, Kind, Statement, fold};
use sqlparser::ast::{
    AccessExpr, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Query, Select, SelectItem, TableAlias, TableFactor, TableWithJoins, Visit, VisitMut, Visitor,
    VisitorMut,
};
use std::ops::ControlFlow;

/// The schema of the relations that stand for calls. Nobody can create it: schemas are named in lower case.
const SCHEMA: &str = "Calls";

/// One call found in a statement.
#[derive(Debug)]
pub struct Call {
    pub function: &'static Function,
    /// As the caller wrote its name.
    pub spelling: String,
    /// In the order given, with their names.
    pub arguments: Vec<(Option<String>, Expr)>,
    /// The relation that now stands in its place.
    pub relation: RelationName,
    pub form: Form,
}

/// What the place of a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// One column named as the function: records where it returns several.
    Value,
    /// The function's columns; the only column of a scalar result is called `scalar_name`.
    Rows { scalar_name: String },
}

/// The query inside a statement in which calls may stand.
fn query_of(kind: &Kind) -> Option<&Query> {
    match kind {
        Kind::Query(query) => Some(query),
        Kind::Insert(insert) => insert.source.as_deref(),
        Kind::Copy(copy) => match &copy.target {
            CopyTarget::Query(query) => Some(query),
            CopyTarget::Table { .. } => None,
        },
        Kind::Explain { statement, .. } => query_of(&statement.kind),
        Kind::Prepare { statement, .. } => query_of(&statement.kind),
        Kind::CreateTable(create) => create.query.as_deref(),
        _ => None,
    }
}

fn query_of_mut(kind: &mut Kind) -> Option<&mut Query> {
    match kind {
        Kind::Query(query) => Some(query),
        Kind::Insert(insert) => insert.source.as_deref_mut(),
        Kind::Copy(copy) => match &mut copy.target {
            CopyTarget::Query(query) => Some(query),
            CopyTarget::Table { .. } => None,
        },
        Kind::Explain { statement, .. } => query_of_mut(&mut statement.kind),
        Kind::CreateTable(create) => create.query.as_deref_mut(),
        _ => None,
    }
}

/// What a statement's query mentions.
#[derive(Debug, Default)]
pub struct Mentions {
    /// Relations read, in order, each as often as it stands there.
    pub relations: Vec<ObjectName>,
    /// Some cluster function is called.
    pub calls: bool,
}

/// Looks through the statement's query without changing it.
pub fn mentions(statement: &Statement) -> Mentions {
    let mut mentions = Mentions::default();
    if let Some(query) = query_of(&statement.kind) {
        let _ = query.visit(&mut mentions);
    }
    if let Kind::Copy(Copy { target: CopyTarget::Table { name, .. }, .. }) = &statement.kind {
        mentions.relations.push(name.clone());
    }
    // A call in a statement that is only prepared is looked at when that is executed.
    mentions.calls &= !matches!(statement.kind, Kind::Prepare { .. });
    mentions
}

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: None, .. } => self.relations.push(name.clone()),
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => self.calls |= known(name).is_some(),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expression {
            self.calls |= known(&function.name).is_some();
        }
        ControlFlow::Continue(())
    }
}

/// Replaces all calls. Errors: `0A000` for a call where none can stand.
pub fn replace(statement: &Statement) -> Result<(Statement, Vec<Call>)> {
    let mut statement = statement.clone();
    let mut replacer = Replacer::default();
    if let Some(query) = query_of_mut(&mut statement.kind) {
        if let ControlFlow::Break(error) = query.visit(&mut replacer) {
            return Err(error);
        }
        // Text and tree of a statement must not tell different stories: plans may be remembered by text.
        statement.text = query.to_string();
    }
    Ok((statement, replacer.calls))
}

#[derive(Default)]
struct Replacer {
    calls: Vec<Call>,
    /// One entry per SELECT around the current place: relations to be added to its FROM.
    selects: Vec<Vec<TableWithJoins>>,
}

impl VisitorMut for Replacer {
    type Break = Error;

    fn pre_visit_select(&mut self, _: &mut Select) -> ControlFlow<Error> {
        self.selects.push(Vec::new());
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let added = self.selects.pop().unwrap_or_default();
        let everything = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
        if !added.is_empty() && select.projection.iter().any(everything) {
            let name = &self.calls.last().expect("a relation was added for a call").function.name;
            return ControlFlow::Break(
                Error::unsupported(format!("{name}() next to * in a select list is not supported"))
                    .with_hint(format!("Call it in FROM: SELECT … FROM {name}(…).")),
            );
        }
        select.from.extend(added);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let (name, arguments, alias) = match factor {
            TableFactor::Table { name, args: Some(arguments), alias, .. } => (name, &arguments.args, alias),
            TableFactor::Function { name, args, alias, .. } => (name, &*args, alias),
            _ => return ControlFlow::Continue(()),
        };
        let Some(function) = known(name) else { return ControlFlow::Continue(()) };
        let alias = alias.clone().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: quoted(function.name),
            columns: Vec::new(),
            at: None,
        });
        let form = Form::Rows { scalar_name: fold(&alias.name) };
        match self.call(function, name.to_string(), arguments, form) {
            Ok(relation) => *factor = table(&relation, alias),
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        let replaced = match expression {
            Expr::Function(call) => self.value(call),
            // `(f(…)).column`
            Expr::CompoundFieldAccess { root, access_chain } => match &access_chain[..] {
                [AccessExpr::Dot(Expr::Identifier(column))] => {
                    let column = column.clone();
                    self.expanded(root).map(|alias| alias.map(|alias| Expr::CompoundIdentifier(vec![alias, column])))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        };
        match replaced {
            Ok(Some(replacement)) => *expression = replacement,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

impl Replacer {
    /// A call as a value: a column of a relation joined to the SELECT around it.
    fn value(&mut self, call: &sqlparser::ast::Function) -> Result<Option<Expr>> {
        let Some(function) = known(&call.name) else { return Ok(None) };
        let arguments = plain_arguments(call)?;
        let alias = self.joined(function, call.name.to_string(), arguments, Form::Value)?;
        Ok(Some(Expr::CompoundIdentifier(vec![alias, quoted(function.name)])))
    }

    /// `(f(…))` in `(f(…)).column`: the alias under which the call's columns can be had.
    fn expanded(&mut self, whole: &Expr) -> Result<Option<Ident>> {
        let mut inner = whole;
        while let Expr::Nested(nested) = inner {
            inner = nested;
        }
        let Expr::Function(call) = inner else { return Ok(None) };
        let Some(function) = known(&call.name) else { return Ok(None) };
        let arguments = plain_arguments(call)?;
        let form = Form::Rows { scalar_name: function.name.to_string() };
        self.joined(function, call.name.to_string(), arguments, form).map(Some)
    }

    /// Adds the call's relation to the innermost SELECT.
    fn joined(&mut self, f: &'static Function, spelling: String, list: &[FunctionArg], form: Form) -> Result<Ident> {
        if self.selects.is_empty() {
            return Err(Error::unsupported(format!("{}() cannot be called here", f.name))
                .with_hint(format!("Call it as SELECT {}(…).", f.name)));
        }
        let relation = self.call(f, spelling, list, form)?;
        let alias = quoted(&relation.name);
        let factor =
            table(&relation, TableAlias { explicit: true, name: alias.clone(), columns: Vec::new(), at: None });
        let select = self.selects.last_mut().expect("seen not to be empty");
        select.push(TableWithJoins { relation: factor, joins: Vec::new() });
        Ok(alias)
    }

    fn call(
        &mut self,
        f: &'static Function,
        spelling: String,
        list: &[FunctionArg],
        form: Form,
    ) -> Result<RelationName> {
        let arguments = list.iter().map(argument).collect::<Result<_>>()?;
        let relation = RelationName::new(SCHEMA, format!("call_{}", self.calls.len() + 1));
        self.calls.push(Call { function: f, spelling, arguments, relation: relation.clone(), form });
        Ok(relation)
    }
}

/// The function a name means, if it is one of ours.
fn known(name: &ObjectName) -> Option<&'static Function> {
    let parts: Vec<String> = name.0.iter().map(|part| part.as_ident().map(fold)).collect::<Option<_>>()?;
    match &parts[..] {
        [name] => registry::find(None, name),
        [schema, name] => registry::find(Some(schema), name),
        _ => None,
    }
}

fn plain_arguments(call: &sqlparser::ast::Function) -> Result<&[FunctionArg]> {
    let plain = call.over.is_none()
        && call.filter.is_none()
        && call.within_group.is_empty()
        && matches!(call.parameters, FunctionArguments::None);
    match &call.args {
        FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses })
            if plain
                && clauses
                    .iter()
                    .all(|clause| matches!(clause, FunctionArgumentClause::OrderBy(by) if by.is_empty())) =>
        {
            Ok(args)
        }
        _ => Err(Error::new(codes::WRONG_OBJECT_TYPE, format!("{} is not an aggregate function", call.name))),
    }
}

fn argument(argument: &FunctionArg) -> Result<(Option<String>, Expr)> {
    let (name, value) = match argument {
        FunctionArg::Unnamed(value) => (None, value),
        FunctionArg::Named { name, arg, .. } => (Some(fold(name)), arg),
        FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => (Some(fold(name)), arg),
        FunctionArg::ExprNamed { name, .. } => {
            return Err(Error::new(codes::SYNTAX_ERROR, format!("\"{name}\" is no argument name")));
        }
    };
    match value {
        FunctionArgExpr::Expr(expression) => Ok((name, expression.clone())),
        _ => Err(Error::new(codes::SYNTAX_ERROR, "* is no argument")),
    }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn table(relation: &RelationName, alias: TableAlias) -> TableFactor {
    TableFactor::Table {
        name: ObjectName::from(vec![quoted(&relation.schema), quoted(&relation.name)]),
        alias: Some(alias),
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::statement::parse;

    fn replaced(sql: &str) -> (String, Vec<Call>) {
        let statement = parse(sql).unwrap().remove(0);
        assert!(mentions(&statement).calls, "{sql}");
        let (statement, calls) = replace(&statement).unwrap();
        (statement.text, calls)
    }

    #[test]
    fn a_call_in_the_select_list_becomes_a_column() {
        let (text, calls) = replaced("SELECT add_data_node('node3', host => 'dn3.example.com')");
        assert_eq!(text, r#"SELECT "call_1"."add_data_node" FROM "Calls"."call_1" AS "call_1""#);
        assert_eq!(calls[0].function.name, "add_data_node");
        assert_eq!(calls[0].form, Form::Value);
        let names: Vec<_> = calls[0].arguments.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        assert_eq!(names, [(None, "'node3'".into()), (Some("host".into()), "'dn3.example.com'".into())]);
    }

    #[test]
    fn a_call_in_from_keeps_its_alias() {
        let (text, calls) = replaced(
            "SELECT x.created FROM public.create_hypertable('t', 'time', distributed := true) x WHERE x.created",
        );
        assert_eq!(text, r#"SELECT x.created FROM "Calls"."call_1" x WHERE x.created"#);
        assert_eq!(calls[0].spelling, "public.create_hypertable");
        assert_eq!(calls[0].form, Form::Rows { scalar_name: "x".into() });
        let (text, _) = replaced("SELECT * FROM show_chunks('t')");
        assert_eq!(text, r#"SELECT * FROM "Calls"."call_1" AS "show_chunks""#);
    }

    #[test]
    fn composite_results_can_be_taken_apart() {
        let (text, calls) = replaced("SELECT (add_data_node('a', host => 'b')).node_name");
        assert_eq!(text, r#"SELECT "call_1".node_name FROM "Calls"."call_1" AS "call_1""#);
        assert!(matches!(calls[0].form, Form::Rows { .. }));
    }

    #[test]
    fn calls_are_found_in_subqueries_and_several_at_once() {
        let (text, calls) = replaced("SELECT count(*) FROM (SELECT show_chunks('a') AS c, show_chunks('b')) s");
        assert_eq!(calls.len(), 2);
        assert!(text.contains(r#""call_1"."show_chunks" AS c"#), "{text}");
        assert!(text.contains(r#"FROM "Calls"."call_1" AS "call_1", "Calls"."call_2" AS "call_2") s"#), "{text}");
    }

    #[test]
    fn other_functions_are_left_alone() {
        let statement = parse("SELECT time_bucket('1 day', t), max(v) FROM s.t, u GROUP BY 1").unwrap().remove(0);
        let mentions = mentions(&statement);
        assert!(!mentions.calls);
        assert_eq!(mentions.relations.iter().map(ToString::to_string).collect::<Vec<_>>(), ["s.t", "u"]);
    }

    #[test]
    fn a_call_where_none_can_stand_is_refused() {
        let statement = parse("VALUES (show_chunks('a'))").unwrap().remove(0);
        assert_eq!(replace(&statement).unwrap_err().code(), codes::FEATURE_NOT_SUPPORTED);
        let statement = parse("SELECT *, show_chunks('a') FROM t").unwrap().remove(0);
        assert_eq!(replace(&statement).unwrap_err().code(), codes::FEATURE_NOT_SUPPORTED);
    }
}
