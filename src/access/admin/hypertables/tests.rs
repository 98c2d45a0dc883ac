use super::super::arguments::{Passed, bind};
use super::super::registry;
use super::*;
use crate::catalog::{DataNode, State};
use crate::engine::table::Key;
use crate::ids::RelationName;
use postgres_types::Type;

fn table() -> Table {
    let column = |name: &str, ty: Type, not_null| Column {
        name: name.into(),
        type_oid: ty.oid(),
        numeric: None,
        length: None,
        not_null,
        default: None,
    };
    Table {
        id: 1,
        name: RelationName::new("public", "conditions"),
        owner: "postgres".into(),
        columns: vec![
            column("time", Type::TIMESTAMPTZ, false),
            column("location", Type::TEXT, true),
            column("day", Type::INT4, true),
        ],
        checks: vec![],
        keys: vec![],
    }
}

fn literal(text: &str) -> Constant {
    Constant::Untyped(text.into())
}

fn arguments(given: &[(&str, Constant)]) -> Arguments {
    let passed: Vec<Passed> =
        given.iter().map(|(name, value)| Passed { name: Some(name.to_string()), value: value.clone() }).collect();
    bind(registry::find(None, "create_distributed_hypertable").unwrap(), "f", &passed).unwrap()
}

fn asked(time: &str, more: &[(&str, Constant)]) -> Result<HypertableRequest> {
    let mut given = vec![("relation", literal("conditions")), ("time_column_name", literal(time))];
    given.extend(more.iter().cloned());
    request(&arguments(&given), &table(), "ann")
}

#[test]
fn columns_are_looked_up_with_their_types() {
    let request = asked("time", &[("partitioning_column", literal("location"))]).unwrap();
    assert_eq!(request.time, ("time".to_string(), Type::TIMESTAMPTZ.oid()));
    assert_eq!(request.space, Some(("location".to_string(), Type::TEXT.oid())));
    assert_eq!((request.interval, request.owner.as_str()), (None, "ann"));
    assert_eq!(asked("nope", &[]).unwrap_err().message(), "column \"nope\" does not exist");
    assert_eq!(asked("location", &[]).unwrap_err().code(), codes::WRONG_OBJECT_TYPE);
}

#[test]
fn without_data_nodes_nothing_can_be_created() {
    let error = State::default().plan_hypertable(asked("time", &[]).unwrap()).unwrap_err();
    assert_eq!(error.code(), codes::TS_INSUFFICIENT_NODES);
    assert_eq!(error.message(), "no data nodes can be assigned to the hypertable");
}

#[test]
fn intervals_may_be_numbers_lengths_or_text() {
    let interval = |time: &str, value: Constant| asked(time, &[("chunk_time_interval", value)]).map(|r| r.interval);
    let day = IntervalMonthDayNano::new(0, 1, 0);
    let typed = Constant::Typed(Type::INTERVAL, ScalarValue::IntervalMonthDayNano(Some(day)));
    let a_day = Some(IntervalArgument::Interval { months: 0, days: 1, micros: 0 });
    assert_eq!(interval("time", typed.clone()).unwrap(), a_day);
    assert_eq!(interval("time", literal("1 day")).unwrap(), a_day);
    let units = Constant::Typed(Type::INT8, ScalarValue::Int64(Some(100)));
    assert_eq!(interval("day", units).unwrap(), Some(IntervalArgument::Integer(100)));
    assert_eq!(interval("day", literal("soon")).unwrap_err().hint(), Some("Use an interval of type integer."));
    let text = Constant::Typed(Type::BOOL, ScalarValue::Boolean(Some(true)));
    assert_eq!(interval("time", text).unwrap_err().code(), codes::INVALID_PARAMETER_VALUE);
}

#[test]
fn keys_must_hold_every_partitioning_column() {
    let mut keyed = table();
    keyed.keys.push(Key { name: "pk".into(), columns: vec![0], primary: true });
    assert!(check_keys(&keyed, "time", None).is_ok());
    let error = check_keys(&keyed, "time", Some("location")).unwrap_err();
    assert_eq!(error.code(), codes::TS_BAD_INDEX);
    assert_eq!(error.message(), "cannot create a unique index without the column \"location\" (used in partitioning)");
}

#[test]
fn a_nullable_time_column_becomes_not_null_with_a_notice() {
    let (redefined, notice) = with_time_not_null(&table(), "time");
    let notice = notice.unwrap();
    assert!(redefined.columns[0].not_null);
    assert_eq!(notice.error.message(), "adding not-null constraint to column \"time\"");
    assert!(with_time_not_null(&table(), "location").1.is_none());
}

#[test]
fn options_without_meaning_here_are_refused() {
    let given = [("relation", literal("t")), ("time_column_name", literal("time"))];
    let with = |name: &'static str, value: &str| {
        let mut given = given.to_vec();
        given.push((name, literal(value)));
        refuse_unsupported(&arguments(&given))
    };
    assert_eq!(with("migrate_data", "true").unwrap_err().code(), codes::FEATURE_NOT_SUPPORTED);
    assert!(with("partitioning_func", "f").is_err() && with("chunk_target_size", "1GB").is_err());
    assert!(with("chunk_target_size", "off").is_ok() && with("create_default_indexes", "false").is_ok());
}

#[test]
fn a_node_that_was_deleted_is_gone_from_the_catalog() {
    let mut state = State::default();
    let node = DataNode {
        name: "dn1".into(),
        host: "h".into(),
        port: 1,
        database: "d".into(),
        user: None,
        password: None,
        owner: "postgres".into(),
        available: None,
    };
    state.apply(&Change::AddDataNode { node, cluster: "c".into() }).unwrap();
    let planned = state.plan_hypertable(asked("time", &[]).unwrap()).unwrap();
    let mut used = state.clone();
    used.apply(&planned.change).unwrap();
    assert!(used.apply(&Change::DeleteDataNode { node: "dn1".into() }).is_err());
    state.apply(&Change::DeleteDataNode { node: "dn1".into() }).unwrap();
    assert_eq!((state.nodes.len(), state.cluster), (0, None));
}
