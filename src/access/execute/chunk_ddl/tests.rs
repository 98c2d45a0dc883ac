use super::*;
use crate::catalog::HypertableNode;
use crate::chunk::slice::Hypercube;
use crate::engine::table::{Check, Key};
use crate::ids::{DimensionId, HypertableId, RelationName};

const DAY: i64 = MICROS_PER_DAY;

fn column_of(name: &str, ty: Type, not_null: bool) -> Column {
    Column { name: name.into(), type_oid: ty.oid(), numeric: None, length: None, not_null, default: None }
}

fn dimension(column: &str, ty: Type, kind: DimensionKind) -> Dimension {
    Dimension { id: DimensionId(1), column: column.into(), type_oid: ty.oid(), kind }
}

fn open(ty: Type) -> Dimension {
    dimension("t", ty, DimensionKind::Open { interval: 1 })
}

#[test]
fn a_chunk_is_a_table_with_its_ranges_as_checks() {
    let table = Table {
        id: 1,
        name: RelationName::new("public", "conditions"),
        owner: "postgres".into(),
        columns: vec![
            column_of("time", Type::TIMESTAMPTZ, true),
            column_of("location", Type::TEXT, true),
            Column { default: Some("0".into()), ..column_of("temperature", Type::FLOAT8, false) },
            Column { length: Some(10), ..column_of("kind", Type::VARCHAR, false) },
            Column { numeric: Some((10, 2)), ..column_of("cost", Type::NUMERIC, false) },
            column_of("tags", Type::TEXT_ARRAY, false),
        ],
        checks: vec![Check { name: "warm".into(), expression: "temperature > -273.15".into() }],
        keys: vec![Key { name: "conditions_pkey".into(), columns: vec![0, 1], primary: true }],
    };
    let mut space = dimension("location", Type::TEXT, DimensionKind::Closed { partitions: 3 });
    space.id = DimensionId(2);
    let hypertable = Hypertable {
        id: HypertableId(1),
        name: table.name.clone(),
        owner: "postgres".into(),
        dimensions: vec![dimension("time", Type::TIMESTAMPTZ, DimensionKind::Open { interval: 7 * DAY }), space],
        replication_factor: 1,
        nodes: vec![HypertableNode { name: "dn1".into(), block_chunks: false }],
        partitions: vec![],
        chunk_schema: "_timescaledb_internal".into(),
        chunk_prefix: "_dist_hyper_1".into(),
    };
    let week = 1_672_272_000_000_000;
    let chunk = Chunk {
        id: ChunkId(4),
        hypertable: HypertableId(1),
        table: RelationName::new("_timescaledb_internal", "_dist_hyper_1_4_chunk"),
        cube: Hypercube(vec![
            Slice { start: week, end: week + 7 * DAY },
            Slice { start: 715_827_882, end: 1_431_655_764 },
        ]),
        nodes: vec!["dn1".into()],
        created_at: 0,
    };
    insta::assert_snapshot!(create_chunk_table(&table, &hypertable, &chunk).unwrap(), @r#"
    CREATE SCHEMA IF NOT EXISTS "_timescaledb_internal"; CREATE TABLE "_timescaledb_internal"."_dist_hyper_1_4_chunk" (
      "time" timestamp with time zone NOT NULL,
      "location" text NOT NULL,
      "temperature" double precision,
      "kind" character varying(10),
      "cost" numeric(10,2),
      "tags" text[],
      CONSTRAINT "4_1_time" CHECK ("time" >= CAST('2022-12-29 00:00:00+00' AS timestamp with time zone) AND "time" < CAST('2023-01-05 00:00:00+00' AS timestamp with time zone)),
      CONSTRAINT "4_2_location" CHECK ((hashtext("location") & 2147483647) >= 715827882 AND (hashtext("location") & 2147483647) < 1431655764),
      CONSTRAINT "warm" CHECK (temperature > -273.15),
      CONSTRAINT "4_1_conditions_pkey" PRIMARY KEY ("time", "location")
    );
    "#);
}

#[test]
fn open_ends_are_left_out() {
    let check = |start, end| range_check(&open(Type::INT4), &Slice { start, end });
    assert_eq!(check(i64::MIN, 10).as_deref(), Some("\"t\" < 10"));
    assert_eq!(check(-10, i64::MAX).as_deref(), Some("\"t\" >= -10"));
    assert_eq!(check(i64::MIN, i64::MAX), None);
}

#[test]
fn bounds_that_one_of_the_servers_cannot_read_are_left_out() {
    let far = Slice { start: -70_000_000_000_000_000, end: 0 };
    assert_eq!(
        range_check(&open(Type::TIMESTAMP), &far).as_deref(),
        Some("\"t\" < CAST('1970-01-01 00:00:00' AS timestamp without time zone)")
    );
}

#[test]
fn a_bound_within_a_day_counts_from_the_next_midnight() {
    let slice = Slice { start: DAY / 2, end: 2 * DAY };
    assert_eq!(
        range_check(&open(Type::DATE), &slice).as_deref(),
        Some("\"t\" >= CAST('1970-01-02' AS date) AND \"t\" < CAST('1970-01-03' AS date)")
    );
}

#[test]
fn a_type_whose_hash_cannot_be_called_has_no_check() {
    let space = dimension("s", Type::TIMESTAMPTZ, DimensionKind::Closed { partitions: 2 });
    assert_eq!(range_check(&space, &Slice { start: 0, end: 5 }), None);
}

#[test]
fn long_names_are_cut_between_characters() {
    let name = constraint_name(ChunkId(1), "1", &"ü".repeat(40));
    assert_eq!(name.len(), 62);
    assert!(name.starts_with("1_1_ü"));
}
