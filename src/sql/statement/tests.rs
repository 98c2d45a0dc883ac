use super::*;
use crate::sql::copy_options::CopyFormat;

fn one(sql: &str) -> Kind {
    let mut statements = parse(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(statements.len(), 1, "{sql}");
    statements.remove(0).kind
}

fn error(sql: &str) -> (String, Option<u32>) {
    let error = parse(sql).expect_err(sql);
    assert_eq!(error.code(), codes::SYNTAX_ERROR, "{sql}");
    (error.message().to_string(), error.position())
}

#[test]
fn several_statements_are_split_and_keep_their_text() {
    let statements = parse("BEGIN; SELECT 'a;b' /* ; */ ; ;\n COMMIT;").unwrap();
    let texts: Vec<&str> = statements.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(texts, ["BEGIN", "SELECT 'a;b'", "COMMIT"]);
    assert!(matches!(parse(" ; -- nothing\n").unwrap()[0].kind, Kind::Empty));
}

#[test]
fn syntax_errors_name_the_token_and_its_place_in_the_whole_string() {
    assert_eq!(error("SELEC 1"), ("syntax error at or near \"SELEC\"".into(), Some(1)));
    assert_eq!(error("SELECT 1;\nSELECT a b c"), ("syntax error at or near \"c\"".into(), Some(22)));
    assert_eq!(error("SELECT 'é' a b c").1, Some(14));
    assert_eq!(error("SELECT a FROM WHERE b"), ("syntax error at or near \"WHERE\"".into(), Some(15)));
    assert_eq!(error("SELECT * FROM").0, "syntax error at end of input");
    assert_eq!(error("SELECT (1").0, "syntax error at end of input");
    assert_eq!(error("SELECT (1;"), ("syntax error at or near \";\"".into(), Some(10)));
    assert_eq!(error("SELECT 'abc"), ("unterminated quoted string at or near \"'abc\"".into(), Some(8)));
    assert_eq!(error("COPY t FROM STDIN WITH (FORMAT csv").0, "syntax error at end of input");
    assert_eq!(error("BEGIN ISOLATION LEVEL dirty").0, "syntax error at or near \"dirty\"");
}

#[test]
fn transaction_control_is_read_in_all_its_spellings() {
    for sql in ["BEGIN", "BEGIN WORK", "begin transaction", "START TRANSACTION"] {
        assert!(matches!(one(sql), Kind::Begin { isolation: None, read_only: None }), "{sql}");
    }
    assert!(matches!(
        one("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"),
        Kind::Begin { isolation: Some(Isolation::RepeatableRead), read_only: Some(true) }
    ));
    assert!(matches!(
        one("START TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE"),
        Kind::Begin { isolation: Some(Isolation::ReadCommitted), read_only: Some(false) }
    ));
    for sql in ["COMMIT", "END", "COMMIT WORK", "END TRANSACTION", "COMMIT AND NO CHAIN"] {
        assert!(matches!(one(sql), Kind::Commit), "{sql}");
    }
    for sql in ["ROLLBACK", "ABORT", "ROLLBACK TRANSACTION"] {
        assert!(matches!(one(sql), Kind::Rollback), "{sql}");
    }
    assert!(matches!(one("PREPARE TRANSACTION 'x'"), Kind::PrepareTransaction(gid) if gid == "x"));
    assert!(matches!(one("COMMIT PREPARED 'x''y'"), Kind::CommitPrepared(gid) if gid == "x'y"));
    assert!(matches!(one("ROLLBACK PREPARED 'x'"), Kind::RollbackPrepared(gid) if gid == "x"));
    assert!(matches!(one("SET TRANSACTION READ ONLY"), Kind::SetTransaction { read_only: Some(true), .. }));
}

#[test]
fn settings_are_read_in_all_their_spellings() {
    let set = |sql: &str| match one(sql) {
        Kind::Set { name, value, local } => (name, value, local),
        other => panic!("{other:?}"),
    };
    let is = |name: &str, value: Option<&str>, local| (name.to_string(), value.map(str::to_string), local);
    assert_eq!(set("SET x TO y"), is("x", Some("y"), false));
    assert_eq!(set("SET LOCAL work_mem = '64MB'"), is("work_mem", Some("64MB"), true));
    assert_eq!(
        set("SET SESSION hypertile.consistent_reads = off"),
        is("hypertile.consistent_reads", Some("off"), false)
    );
    assert_eq!(set("SET search_path TO a, \"B\", public"), is("search_path", Some("a, B, public"), false));
    assert_eq!(set("SET TIME ZONE 'America/New_York'"), is("TimeZone", Some("America/New_York"), false));
    assert_eq!(set("SET TIME ZONE -5"), is("TimeZone", Some("-5"), false));
    assert_eq!(set("SET TIME ZONE LOCAL"), is("TimeZone", None, false));
    assert_eq!(set("SET timezone TO DEFAULT"), is("timezone", None, false));
    assert_eq!(set("RESET timezone"), is("timezone", None, false));
    assert_eq!(set("RESET ALL"), is("all", None, false));
    assert!(matches!(one("SHOW TIME ZONE"), Kind::Show(name) if name == "TimeZone"));
    assert!(matches!(one("SHOW transaction isolation level"), Kind::Show(name) if name == "transaction_isolation"));
    assert!(matches!(one("DISCARD ALL"), Kind::DiscardAll));
}

#[test]
fn explain_takes_old_and_new_options() {
    let explain = |sql: &str| match one(sql) {
        Kind::Explain { analyze, verbose, statement } => (analyze, verbose, statement.text),
        other => panic!("{other:?}"),
    };
    assert_eq!(explain("EXPLAIN SELECT 1"), (false, false, "SELECT 1".into()));
    assert_eq!(explain("EXPLAIN ANALYZE VERBOSE SELECT 1"), (true, true, "SELECT 1".into()));
    assert_eq!(explain("EXPLAIN (VERBOSE, ANALYZE off, COSTS OFF) SELECT 1"), (false, true, "SELECT 1".into()));
    assert_eq!(explain("EXPLAIN (SELECT 1)"), (false, false, "(SELECT 1)".into()));
    assert_eq!(error("EXPLAIN (COLOUR) SELECT 1").0, "unrecognized EXPLAIN option \"colour\"");
}

#[test]
fn copy_takes_old_and_new_options() {
    let copy = |sql: &str| match one(sql) {
        Kind::Copy(copy) => copy,
        other => panic!("{other:?}"),
    };
    let plain = copy("COPY t FROM STDIN");
    assert_eq!(plain.options, CopyOptions::new(CopyFormat::Text));
    assert_eq!(plain.direction, CopyDirection::FromStdin);
    let old = copy("COPY public.t (a, \"B\") FROM STDIN WITH CSV HEADER DELIMITER ';' NULL AS 'none'");
    assert_eq!((old.options.format, old.options.header, old.options.delimiter), (CopyFormat::Csv, true, b';'));
    assert_eq!(old.options.null, "none");
    assert!(matches!(old.target, CopyTarget::Table { columns, .. } if columns == ["a", "B"]));
    let new = copy("COPY (SELECT 1) TO STDOUT (FORMAT csv, HEADER, QUOTE '''')");
    assert_eq!((new.options.quote, new.options.escape, new.options.header), (b'\'', b'\'', true));
    assert_eq!(copy("COPY t TO STDOUT (FORMAT 'binary')").options.format, CopyFormat::Binary);
    assert_eq!(copy("COPY BINARY t TO STDOUT").options.format, CopyFormat::Binary);
    assert_eq!(copy("copy t from stdin csv").options.format, CopyFormat::Csv);
    assert_eq!(parse("COPY t FROM STDIN (FORMAT xml)").unwrap_err().message(), "COPY format \"xml\" not recognized");
    assert!(matches!(one("COPY t FROM '/tmp/x'"), Kind::Unsupported(_)));
}

#[test]
fn statements_beyond_us_are_named() {
    let name = |sql: &str| match one(sql) {
        Kind::Unsupported(name) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name("UPDATE t SET a = 1"), "UPDATE");
    assert_eq!(name("ALTER TABLE t ADD COLUMN a int"), "ALTER TABLE");
    assert_eq!(name("CREATE VIEW v AS SELECT 1"), "CREATE VIEW");
    assert_eq!(name("TRUNCATE t"), "TRUNCATE");
    assert_eq!(name("SELECT * FROM t FOR UPDATE"), "SELECT FOR UPDATE");
    assert_eq!(name("DROP VIEW v"), "DROP VIEW");
}

#[test]
fn definitions_and_calls_are_sorted() {
    assert!(matches!(one("CREATE TABLE IF NOT EXISTS t (a int)"), Kind::CreateTable(t) if t.if_not_exists));
    assert!(
        matches!(one("DROP TABLE IF EXISTS a, s.b"), Kind::DropTable { names, if_exists: true } if names.len() == 2)
    );
    assert!(matches!(one("CREATE UNIQUE INDEX i ON t (a)"), Kind::CreateIndex(i) if i.unique));
    assert!(
        matches!(one("CREATE EXTENSION IF NOT EXISTS timescaledb CASCADE"), Kind::CreateExtension { name } if name == "timescaledb")
    );
    assert!(matches!(one("CREATE DATABASE d TEMPLATE template0"), Kind::CreateDatabase { name } if name == "d"));
    assert!(matches!(one("DROP DATABASE IF EXISTS d WITH (FORCE)"), Kind::DropDatabase { if_exists: true, .. }));
    assert!(matches!(one("DROP SCHEMA s CASCADE"), Kind::DropSchema { cascade: true, .. }));
    assert!(matches!(one("CALL distributed_exec($$ SELECT 1 $$)"), Kind::Call(_)));
    assert!(matches!(one("PREPARE p (int, text) AS SELECT $1"), Kind::Prepare { types, .. } if types.len() == 2));
    assert!(matches!(one("EXECUTE p(1, 'x')"), Kind::Execute { arguments, .. } if arguments.len() == 2));
    assert!(matches!(one("DEALLOCATE ALL"), Kind::Deallocate { name: None }));
    assert!(matches!(one("TABLE t"), Kind::Query(_)));
    assert!(matches!(one("(SELECT 1) UNION SELECT 2"), Kind::Query(_)));
}

#[test]
fn names_are_folded_unless_quoted() {
    let ast::Statement::Insert(insert) = sqlparser::parser::Parser::parse_sql(
        &sqlparser::dialect::PostgreSqlDialect {},
        "INSERT INTO Public.\"Mixed\" VALUES (1)",
    )
    .unwrap()
    .remove(0) else {
        panic!()
    };
    let ast::TableObject::TableName(name) = insert.table else { panic!() };
    assert_eq!(relation_name(&name, "other").unwrap(), RelationName::new("public", "Mixed"));
}
