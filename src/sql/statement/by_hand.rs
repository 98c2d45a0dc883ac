//! Which statement is it? The first words decide; what sqlparser cannot read is read here.

use super::tokens::{Cursor, Tokens};
use super::{Isolation, Kind, Statement, copy};
use crate::error::{Error, Result, codes};
use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use std::ops::Range;

pub fn statement(tokens: &Tokens<'_>, range: Range<usize>) -> Result<Statement> {
    let text = tokens.text(&range).to_string();
    let kind = kind(&mut Cursor::new(tokens, range))?;
    Ok(Statement { text, kind })
}

fn kind(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    if cursor.peek() == Some(&Token::LParen) {
        return parsed(cursor);
    }
    let Some(first) = cursor.word_at(0) else { return Err(cursor.error()) };
    match first.as_str() {
        "SELECT" | "WITH" | "VALUES" | "INSERT" | "CALL" => parsed(cursor),
        "TABLE" => table(cursor),
        "BEGIN" | "START" => begin(cursor),
        "COMMIT" | "END" => commit(cursor),
        "ROLLBACK" | "ABORT" => rollback(cursor),
        "PREPARE" => prepare(cursor),
        "EXECUTE" => execute(cursor),
        "DEALLOCATE" => deallocate(cursor),
        "SET" => set(cursor),
        "RESET" => reset(cursor),
        "SHOW" => show(cursor),
        "DISCARD" => discard(cursor),
        "COPY" => copy::copy(cursor),
        "EXPLAIN" => explain(cursor),
        "CREATE" => create(cursor),
        "DROP" => drop(cursor),
        "ALTER" | "COMMENT" | "GRANT" | "REVOKE" | "SECURITY" | "REFRESH" | "REASSIGN" | "IMPORT" => {
            Ok(Kind::Unsupported(two_words(cursor, &first)))
        }
        "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" | "DECLARE" | "FETCH" | "MOVE" | "CLOSE" | "LISTEN" | "NOTIFY"
        | "UNLISTEN" | "LOCK" | "VACUUM" | "ANALYZE" | "ANALYSE" | "CLUSTER" | "REINDEX" | "CHECKPOINT" | "DO"
        | "SAVEPOINT" | "RELEASE" | "LOAD" => Ok(Kind::Unsupported(first)),
        _ => Err(cursor.error()),
    }
}

fn two_words(cursor: &Cursor<'_, '_>, first: &str) -> String {
    match cursor.word_at(1) {
        Some(second) if !matches!(first, "GRANT" | "REVOKE" | "COMMENT") => format!("{first} {second}"),
        _ => first.to_string(),
    }
}

/// Everything that sqlparser reads well.
fn parsed(cursor: &Cursor<'_, '_>) -> Result<Kind> {
    let first = cursor.word_at(0).unwrap_or_default();
    refuse_reserved_relations(cursor)?;
    let parsed = cursor.tokens.parse(&cursor.rest(), |parser: &mut Parser<'_>| parser.parse_statement())?;
    Ok(match parsed {
        ast::Statement::Query(query) => of_query(query),
        ast::Statement::Insert(insert) => Kind::Insert(Box::new(insert)),
        ast::Statement::Call(function) => Kind::Call(Box::new(function)),
        ast::Statement::CreateTable(table) => Kind::CreateTable(Box::new(table)),
        ast::Statement::CreateIndex(index) => Kind::CreateIndex(Box::new(index)),
        ast::Statement::Drop { object_type: ast::ObjectType::Table, if_exists, names, .. } => {
            Kind::DropTable { names, if_exists }
        }
        _ => Kind::Unsupported(two_words(cursor, &first)),
    })
}

/// sqlparser takes `FROM WHERE` for a table called "where".
fn refuse_reserved_relations(cursor: &Cursor<'_, '_>) -> Result<()> {
    const RESERVED: [&str; 12] = [
        "FROM",
        "WHERE",
        "GROUP",
        "ORDER",
        "HAVING",
        "LIMIT",
        "OFFSET",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "ON",
        "WINDOW",
    ];
    let is = |offset: usize, keyword: &str| match cursor.peek_at(offset) {
        Some(Token::Word(word)) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword),
        _ => false,
    };
    let after_from = (1..cursor.end - cursor.at)
        .find(|offset| is(offset - 1, "FROM") && RESERVED.iter().any(|reserved| is(*offset, reserved)));
    match after_from {
        Some(offset) => Err(cursor.tokens.error_at(cursor.at + offset)),
        None => Ok(()),
    }
}

fn of_query(query: Box<ast::Query>) -> Kind {
    match &*query.body {
        ast::SetExpr::Insert(_) => Kind::Unsupported("INSERT with a WITH clause in front".into()),
        ast::SetExpr::Update(_) => Kind::Unsupported("UPDATE".into()),
        ast::SetExpr::Delete(_) => Kind::Unsupported("DELETE".into()),
        ast::SetExpr::Merge(_) => Kind::Unsupported("MERGE".into()),
        ast::SetExpr::Select(select) if select.into.is_some() => Kind::Unsupported("SELECT INTO".into()),
        _ if !query.locks.is_empty() => Kind::Unsupported("SELECT FOR UPDATE".into()),
        _ => Kind::Query(query),
    }
}

/// `TABLE t …` is `SELECT * FROM t …`.
fn table(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    let rest = cursor.at + 1..cursor.end;
    if rest.is_empty() {
        cursor.at += 1;
        return Err(cursor.error());
    }
    let select = format!("SELECT * FROM {}", cursor.tokens.text(&rest));
    let tokens = Tokens::new(&select)?;
    let range = tokens.statements().remove(0);
    parsed(&Cursor::new(&tokens, range))
}

fn begin(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    if cursor.keyword("START") {
        cursor.expect_keyword("TRANSACTION")?;
    } else {
        cursor.expect_keyword("BEGIN")?;
        let _ = cursor.keyword("WORK") || cursor.keyword("TRANSACTION");
    }
    let (isolation, read_only) = transaction_modes(cursor)?;
    Ok(Kind::Begin { isolation, read_only })
}

fn transaction_modes(cursor: &mut Cursor<'_, '_>) -> Result<(Option<Isolation>, Option<bool>)> {
    let (mut isolation, mut read_only) = (None, None);
    while !cursor.finished() {
        if cursor.keywords(&["ISOLATION", "LEVEL"]) {
            isolation = Some(isolation_level(cursor)?);
        } else if cursor.keywords(&["READ", "ONLY"]) {
            read_only = Some(true);
        } else if cursor.keywords(&["READ", "WRITE"]) {
            read_only = Some(false);
        } else if !cursor.keyword("DEFERRABLE") && !cursor.keywords(&["NOT", "DEFERRABLE"]) {
            return Err(cursor.error());
        }
        if cursor.token(&Token::Comma) && cursor.finished() {
            return Err(cursor.error());
        }
    }
    Ok((isolation, read_only))
}

fn isolation_level(cursor: &mut Cursor<'_, '_>) -> Result<Isolation> {
    if cursor.keyword("SERIALIZABLE") || cursor.keywords(&["REPEATABLE", "READ"]) {
        Ok(Isolation::RepeatableRead)
    } else if cursor.keywords(&["READ", "COMMITTED"]) || cursor.keywords(&["READ", "UNCOMMITTED"]) {
        Ok(Isolation::ReadCommitted)
    } else {
        Err(cursor.error())
    }
}

fn commit(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    if cursor.keyword("PREPARED") {
        let gid = cursor.string()?;
        cursor.finish()?;
        return Ok(Kind::CommitPrepared(gid));
    }
    end_of_block(cursor, Kind::Commit, "COMMIT AND CHAIN")
}

fn rollback(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    if cursor.keyword("PREPARED") {
        let gid = cursor.string()?;
        cursor.finish()?;
        return Ok(Kind::RollbackPrepared(gid));
    }
    let _ = cursor.keyword("WORK") || cursor.keyword("TRANSACTION");
    if cursor.keyword("TO") {
        return Ok(Kind::Unsupported("ROLLBACK TO SAVEPOINT".into()));
    }
    end_of_block(cursor, Kind::Rollback, "ROLLBACK AND CHAIN")
}

fn end_of_block(cursor: &mut Cursor<'_, '_>, kind: Kind, chained: &str) -> Result<Kind> {
    let _ = cursor.keyword("WORK") || cursor.keyword("TRANSACTION");
    let kind = if cursor.keywords(&["AND", "CHAIN"]) { Kind::Unsupported(chained.into()) } else { kind };
    let _ = cursor.keywords(&["AND", "NO", "CHAIN"]);
    cursor.finish()?;
    Ok(kind)
}

fn prepare(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    if cursor.keyword("TRANSACTION") {
        let gid = cursor.string()?;
        cursor.finish()?;
        return Ok(Kind::PrepareTransaction(gid));
    }
    let name = cursor.name()?;
    let types = if cursor.peek() == Some(&Token::LParen) {
        let inside = cursor.parenthesised()?;
        cursor.tokens.parse(&inside, |parser| parser.parse_comma_separated(Parser::parse_data_type))?
    } else {
        Vec::new()
    };
    cursor.expect_keyword("AS")?;
    let statement = Box::new(statement(cursor.tokens, cursor.rest())?);
    Ok(Kind::Prepare { name, types, statement })
}

fn execute(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    let name = cursor.name()?;
    let arguments = if cursor.peek() == Some(&Token::LParen) {
        let inside = cursor.parenthesised()?;
        cursor.tokens.parse(&inside, |parser| parser.parse_comma_separated(Parser::parse_expr))?
    } else {
        Vec::new()
    };
    cursor.finish()?;
    Ok(Kind::Execute { name, arguments })
}

fn deallocate(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    let _ = cursor.keyword("PREPARE");
    let name = if cursor.keyword("ALL") { None } else { Some(cursor.name()?) };
    cursor.finish()?;
    Ok(Kind::Deallocate { name })
}

fn set(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    let local = cursor.keyword("LOCAL");
    if !local && cursor.at_keyword("SESSION") && cursor.word_at(1).as_deref() != Some("AUTHORIZATION") {
        cursor.at += 1;
        if cursor.keywords(&["CHARACTERISTICS", "AS", "TRANSACTION"]) {
            return session_characteristics(cursor);
        }
    }
    if cursor.keyword("TRANSACTION") {
        let (isolation, read_only) = transaction_modes(cursor)?;
        return Ok(Kind::SetTransaction { isolation, read_only });
    }
    if cursor.keyword("ROLE") || cursor.keywords(&["SESSION", "AUTHORIZATION"]) {
        return Ok(Kind::Unsupported("SET ROLE".into()));
    }
    let name = if cursor.keywords(&["TIME", "ZONE"]) {
        "TimeZone".to_string()
    } else if cursor.keyword("NAMES") {
        "client_encoding".to_string()
    } else {
        let name = setting_name(cursor)?;
        if !cursor.keyword("TO") && !cursor.token(&Token::Eq) {
            return Err(cursor.error());
        }
        name
    };
    let value = setting_value(cursor)?;
    Ok(Kind::Set { name, value, local })
}

fn session_characteristics(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    let (isolation, read_only) = transaction_modes(cursor)?;
    let (name, value) = match (isolation, read_only) {
        (Some(Isolation::RepeatableRead), _) => ("default_transaction_isolation", "repeatable read"),
        (Some(Isolation::ReadCommitted), _) => ("default_transaction_isolation", "read committed"),
        (None, Some(true)) => ("default_transaction_read_only", "on"),
        (None, _) => ("default_transaction_read_only", "off"),
    };
    Ok(Kind::Set { name: name.into(), value: Some(value.into()), local: false })
}

fn setting_name(cursor: &mut Cursor<'_, '_>) -> Result<String> {
    let mut name = cursor.name()?;
    while cursor.token(&Token::Period) {
        name = format!("{name}.{}", cursor.name()?);
    }
    Ok(name)
}

/// `DEFAULT`, or words, strings and numbers joined by `, `.
fn setting_value(cursor: &mut Cursor<'_, '_>) -> Result<Option<String>> {
    if cursor.keyword("DEFAULT") || (cursor.at_keyword("LOCAL") && cursor.at + 1 == cursor.end) {
        cursor.at = cursor.end;
        return Ok(None);
    }
    let mut values = Vec::new();
    loop {
        let negative = cursor.token(&Token::Minus);
        let _ = !negative && (cursor.token(&Token::Plus) || cursor.keyword("INTERVAL"));
        let value = match cursor.peek() {
            Some(Token::Number(number, _)) => {
                cursor.at += 1;
                if negative { format!("-{number}") } else { number.clone() }
            }
            Some(Token::Word(_)) if !negative => cursor.name()?,
            _ if !negative => cursor.string()?,
            _ => return Err(cursor.error()),
        };
        values.push(value);
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    let _ = cursor.keywords(&["HOUR", "TO", "MINUTE"]);
    cursor.finish()?;
    Ok(Some(values.join(", ")))
}

fn reset(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    let name = shown_name(cursor)?;
    cursor.finish()?;
    Ok(Kind::Set { name, value: None, local: false })
}

fn show(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    let name = shown_name(cursor)?;
    cursor.finish()?;
    Ok(Kind::Show(name))
}

fn shown_name(cursor: &mut Cursor<'_, '_>) -> Result<String> {
    if cursor.keywords(&["TIME", "ZONE"]) {
        Ok("TimeZone".into())
    } else if cursor.keywords(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        Ok("transaction_isolation".into())
    } else if cursor.keywords(&["SESSION", "AUTHORIZATION"]) {
        Ok("session_authorization".into())
    } else {
        setting_name(cursor)
    }
}

fn discard(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    let what = cursor.name()?;
    cursor.finish()?;
    match what.as_str() {
        "all" => Ok(Kind::DiscardAll),
        "plans" | "sequences" | "temp" | "temporary" => {
            Ok(Kind::Unsupported(format!("DISCARD {}", what.to_uppercase())))
        }
        _ => Err(cursor.tokens.error_at(cursor.at - 1)),
    }
}

fn explain(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    cursor.at += 1;
    let (mut analyze, mut verbose) = (false, false);
    // `EXPLAIN (SELECT …)` is an explained query in parentheses, not an option list.
    let options = cursor.peek() == Some(&Token::LParen)
        && !matches!(cursor.word_at(1).as_deref(), Some("SELECT" | "WITH" | "VALUES" | "TABLE") | None);
    if options {
        let inside = cursor.parenthesised()?;
        let mut list = Cursor::new(cursor.tokens, inside);
        loop {
            let name = list.name()?;
            let value = explain_option_value(&mut list)?;
            match name.as_str() {
                "analyze" | "analyse" => analyze = switch(&name, value.as_deref())?,
                "verbose" => verbose = switch(&name, value.as_deref())?,
                "costs" | "buffers" | "timing" | "summary" | "settings" | "wal" | "generic_plan" => {
                    switch(&name, value.as_deref())?;
                }
                "format" => {
                    if value.as_deref() != Some("text") {
                        return Ok(Kind::Unsupported("EXPLAIN in another format than text".into()));
                    }
                }
                _ => {
                    return Err(Error::new(codes::SYNTAX_ERROR, format!("unrecognized EXPLAIN option \"{name}\"")));
                }
            }
            if !list.token(&Token::Comma) {
                break;
            }
        }
        list.finish()?;
    } else {
        analyze = cursor.keyword("ANALYZE") || cursor.keyword("ANALYSE");
        verbose = cursor.keyword("VERBOSE");
    }
    let statement = Box::new(statement(cursor.tokens, cursor.rest())?);
    Ok(Kind::Explain { analyze, verbose, statement })
}

fn explain_option_value(list: &mut Cursor<'_, '_>) -> Result<Option<String>> {
    match list.peek() {
        None | Some(Token::Comma) => Ok(None),
        Some(Token::Number(number, _)) => {
            list.at += 1;
            Ok(Some(number.clone()))
        }
        Some(Token::Word(_)) => list.name().map(Some),
        _ => list.string().map(|value| Some(value.to_lowercase())),
    }
}

fn switch(name: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("true" | "on" | "1") => Ok(true),
        Some("false" | "off" | "0") => Ok(false),
        Some(_) => Err(Error::new(codes::SYNTAX_ERROR, format!("{name} requires a Boolean value"))),
    }
}

fn create(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    match cursor.word_at(1).as_deref() {
        Some("DATABASE") => {
            cursor.at += 2;
            // Owner, encoding, template and locale are accepted and of no effect: there is one of each.
            Ok(Kind::CreateDatabase { name: cursor.name()? })
        }
        Some("EXTENSION") => {
            cursor.at += 2;
            let _ = cursor.keywords(&["IF", "NOT", "EXISTS"]);
            Ok(Kind::CreateExtension { name: cursor.name()? })
        }
        Some("SCHEMA") => {
            cursor.at += 2;
            let if_not_exists = cursor.keywords(&["IF", "NOT", "EXISTS"]);
            // `CREATE SCHEMA AUTHORIZATION role` names the schema after the role.
            cursor.keyword("AUTHORIZATION");
            let name = cursor.name()?;
            if cursor.keyword("AUTHORIZATION") {
                cursor.name()?;
            }
            cursor.finish()?;
            Ok(Kind::CreateSchema { name, if_not_exists })
        }
        Some("TABLE" | "INDEX" | "UNIQUE") => parsed(cursor),
        Some("TEMP" | "TEMPORARY" | "GLOBAL" | "LOCAL") => Ok(Kind::Unsupported("CREATE TEMPORARY TABLE".into())),
        Some(_) => Ok(Kind::Unsupported(two_words(cursor, "CREATE"))),
        None => {
            cursor.at += 1;
            Err(cursor.error())
        }
    }
}

fn drop(cursor: &mut Cursor<'_, '_>) -> Result<Kind> {
    match cursor.word_at(1).as_deref() {
        Some("DATABASE") => {
            cursor.at += 2;
            let if_exists = cursor.keywords(&["IF", "EXISTS"]);
            Ok(Kind::DropDatabase { name: cursor.name()?, if_exists })
        }
        Some("SCHEMA") => {
            cursor.at += 2;
            let if_exists = cursor.keywords(&["IF", "EXISTS"]);
            let name = cursor.name()?;
            if cursor.token(&Token::Comma) {
                return Ok(Kind::Unsupported("DROP SCHEMA of several schemas".into()));
            }
            let cascade = cursor.keyword("CASCADE");
            let _ = !cascade && cursor.keyword("RESTRICT");
            cursor.finish()?;
            Ok(Kind::DropSchema { name, if_exists, cascade })
        }
        Some("TABLE") => parsed(cursor),
        Some(_) => Ok(Kind::Unsupported(two_words(cursor, "DROP"))),
        None => {
            cursor.at += 1;
            Err(cursor.error())
        }
    }
}
