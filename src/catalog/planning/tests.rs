use super::*;
use crate::catalog::invariants::violations;
use proptest::prelude::*;

const DAY: i64 = 86_400_000_000;

fn node(name: &str) -> DataNode {
    DataNode {
        name: name.into(),
        host: "127.0.0.1".into(),
        port: 5432,
        database: "tsdb".into(),
        user: None,
        password: None,
        owner: "postgres".into(),
        available: None,
    }
}

fn cluster(nodes: &str) -> State {
    let mut state = State::default();
    for name in nodes.split_whitespace() {
        let change = state.plan_data_node(node(name), "c1".into()).unwrap();
        state.apply(&change).unwrap();
    }
    state
}

fn conditions() -> HypertableRequest {
    HypertableRequest {
        name: RelationName::new("public", "conditions"),
        owner: "postgres".into(),
        time: ("time".into(), Type::TIMESTAMPTZ.oid()),
        interval: None,
        space: Some(("location".into(), Type::TEXT.oid())),
        number_partitions: None,
        replication_factor: None,
        data_nodes: None,
        chunk_schema: None,
        chunk_prefix: None,
    }
}

fn create(state: &mut State, request: HypertableRequest) -> (Hypertable, Vec<Notice>) {
    let planned = state.plan_hypertable(request).unwrap();
    state.apply(&planned.change).unwrap();
    let Change::CreateHypertable { hypertable } = planned.change else { panic!("{:?}", planned.change) };
    (hypertable, planned.notices)
}

fn chunk_at(state: &mut State, table: HypertableId, point: &[i64]) -> Chunk {
    match state.plan_chunk(table, point, 0, &BTreeSet::new()).unwrap() {
        ChunkPlan::Exists(id) => state.chunks[&id].clone(),
        ChunkPlan::Create { chunk, .. } => {
            state.apply(&Change::CreateChunk { chunk: chunk.clone() }).unwrap();
            chunk
        }
    }
}

fn homes(state: &State) -> Vec<String> {
    let table = state.hypertables.values().next().unwrap();
    table.partitions.iter().map(|partition| partition.nodes.join(" ")).collect()
}

fn refusal(state: &State, request: HypertableRequest) -> (SqlState, String) {
    let error = state.plan_hypertable(request).unwrap_err();
    (error.code(), error.message().to_string())
}

#[test]
fn the_seed_documents_story_gives_timescaledbs_chunks() {
    let mut state = cluster("dn1 dn2 dn3");
    let (table, notices) = create(&mut state, conditions());
    assert_eq!((notices, table.chunk_prefix.as_str()), (vec![], "_dist_hyper_1"));
    assert_eq!(homes(&state), ["dn1", "dn2", "dn3"]);
    let hash = |text| i64::from(crate::chunk::hash::partition_of(crate::chunk::hash::hash_text(text)));
    let mut seen = Vec::new();
    // 2023-01-01 is day 19358.
    for (day, place) in [(0, "garage"), (0, "office"), (1, "basement"), (8, "garage"), (16, "attic")] {
        let chunk = chunk_at(&mut state, table.id, &[(19_358 + day) * DAY, hash(place)]);
        seen.push(format!("{} {} {}", chunk.table.name, chunk.cube.0[0].start / DAY, chunk.nodes.join(" ")));
    }
    assert_eq!(
        seen,
        [
            "_dist_hyper_1_1_chunk 19355 dn2",
            "_dist_hyper_1_1_chunk 19355 dn2",
            "_dist_hyper_1_2_chunk 19355 dn3",
            "_dist_hyper_1_3_chunk 19362 dn2",
            "_dist_hyper_1_4_chunk 19369 dn1",
        ]
    );

    state.apply(&state.plan_data_node(node("dn4"), "ignored".into()).unwrap()).unwrap();
    assert_eq!(state.cluster.as_deref(), Some("c1"));
    let planned = state.plan_attachment("dn4", &table.name, true).unwrap();
    state.apply(&planned.change).unwrap();
    assert_eq!(
        planned.notices[0].error.message(),
        "the number of partitions in dimension \"location\" was increased to 4"
    );
    assert_eq!(homes(&state), ["dn1", "dn2", "dn3", "dn4"]);
    assert!(violations(&state).is_empty());

    // dn1 blocked: its partitions are dealt anew over the others.
    let table = state.hypertables[&table.id].clone();
    let mut nodes = table.nodes.clone();
    nodes[0].block_chunks = true;
    state.apply(&state.plan_nodes(&table, nodes, None)).unwrap();
    assert_eq!(homes(&state), ["dn2", "dn3", "dn4", "dn2"]);
}

#[test]
fn requests_that_cannot_be_met_are_refused_by_name() {
    let state = cluster("dn1 dn2 dn3");
    let with = |change: fn(&mut HypertableRequest)| {
        let mut request = conditions();
        change(&mut request);
        refusal(&state, request)
    };
    let none = refusal(&State::default(), conditions());
    assert_eq!(none, (codes::TS_INSUFFICIENT_NODES, "no data nodes can be assigned to the hypertable".into()));
    for (got, code, message) in [
        (with(|r| r.data_nodes = Some(vec![])), "TS170", "no data nodes can be assigned to the hypertable"),
        (
            with(|r| r.replication_factor = Some(4)),
            "TS170",
            "replication factor too large for hypertable \"conditions\"",
        ),
        (
            with(|r| r.replication_factor = Some(40000)),
            "TS170",
            "replication factor too large for hypertable \"conditions\"",
        ),
        (with(|r| r.replication_factor = Some(0)), "22023", "invalid replication factor"),
        (with(|r| r.data_nodes = Some(vec!["dn1".into(), "nope".into()])), "42704", "server \"nope\" does not exist"),
        (
            with(|r| r.data_nodes = Some(vec!["dn1".into(), "dn1".into()])),
            "22023",
            "data node \"dn1\" is listed more than once",
        ),
        (
            with(|r| r.number_partitions = Some(40000)),
            "22023",
            "invalid number of partitions for dimension \"location\"",
        ),
        (with(|r| r.number_partitions = Some(0)), "22023", "invalid number of partitions for dimension \"location\""),
        (with(|r| r.time = ("location".into(), Type::TEXT.oid())), "42809", "invalid type for dimension \"location\""),
        (
            with(|r| r.space = Some(("time".into(), Type::TIMESTAMPTZ.oid()))),
            "TS160",
            "column \"time\" is already a dimension",
        ),
        (
            with(|r| r.space = Some(("j".into(), Type::JSON.oid()))),
            "42883",
            "could not find hash function for type json",
        ),
        (with(|r| r.chunk_prefix = Some("p".repeat(60))), "42622", "associated_table_prefix too long"),
    ] {
        assert_eq!((got.0.as_str(), got.1.as_str()), (code, message));
    }
}

#[test]
fn a_hypertable_is_made_once() {
    let mut state = cluster("dn1");
    let (table, notices) = create(&mut state, conditions());
    assert_eq!(notices[0].error.message(), "only one data node was assigned to the hypertable");
    assert_eq!(refusal(&state, conditions()).1, "table \"conditions\" is already a hypertable");
    assert_eq!(state.plan_data_node(node("dn1"), "c1".into()).unwrap_err().message(), "server \"dn1\" already exists");
    let error = state.plan_attachment("dn1", &table.name, true).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (codes::TS_ALREADY_ATTACHED, "data node \"dn1\" is already attached to hypertable \"conditions\"")
    );
    let error = state.plan_attachment("dn9", &table.name, true).unwrap_err();
    assert_eq!(error.code(), codes::UNDEFINED_OBJECT);
    let error = state.plan_attachment("dn1", &RelationName::new("public", "plain"), true).unwrap_err();
    assert_eq!((error.code(), error.message()), (codes::TS_NOT_A_HYPERTABLE, "table \"plain\" is not a hypertable"));
}

#[test]
fn attaching_without_repartitioning_warns_and_keeps_the_slices() {
    let mut state = cluster("dn1 dn2 dn3");
    let two = Some(vec!["dn2".into(), "dn1".into()]);
    let (table, _) = create(&mut state, HypertableRequest { data_nodes: two, ..conditions() });
    assert_eq!(homes(&state), ["dn2", "dn1"]);
    let planned = state.plan_attachment("dn3", &table.name, false).unwrap();
    state.apply(&planned.change).unwrap();
    assert_eq!(planned.notices[0].severity, Severity::Warning);
    // From now on in order of name.
    assert_eq!(homes(&state), ["dn1", "dn2"]);
}

#[test]
fn a_chunk_avoids_nodes_that_are_down_and_says_when_replicas_are_missing() {
    let mut state = cluster("dn1 dn2 dn3");
    let (table, _) = create(&mut state, HypertableRequest { replication_factor: Some(2), ..conditions() });
    let plan = |down: &[&str]| {
        let down = down.iter().map(|name| name.to_string()).collect();
        state.plan_chunk(table.id, &[0, 0], 7, &down)
    };
    let placed = |down: &[&str]| match plan(down).unwrap() {
        ChunkPlan::Create { chunk, notices } => (chunk.nodes.join(" "), notices.len()),
        ChunkPlan::Exists(id) => panic!("chunk {id} exists"),
    };
    assert_eq!(placed(&[]), ("dn1 dn2".into(), 0));
    assert_eq!(placed(&["dn1"]), ("dn2 dn3".into(), 0));
    assert_eq!(placed(&["dn1", "dn2"]), ("dn3".into(), 1));
    let error = plan(&["dn1", "dn2", "dn3"]).unwrap_err();
    assert_eq!((error.code(), error.message()), (codes::TS_INSUFFICIENT_NODES, "insufficient number of data nodes"));
}

#[test]
fn chunks_of_time_alone_go_round_the_nodes() {
    let mut state = cluster("dn1 dn2 dn3");
    let (table, _) = create(&mut state, HypertableRequest { space: None, number_partitions: Some(7), ..conditions() });
    let nodes: Vec<String> =
        (0..4).map(|week| chunk_at(&mut state, table.id, &[week * 7 * DAY]).nodes.join(" ")).collect();
    assert_eq!(nodes, ["dn2", "dn3", "dn1", "dn2"]);
}

#[test]
fn a_change_that_does_not_fit_leaves_the_state_alone() {
    let mut state = cluster("dn1 dn2");
    let (table, _) = create(&mut state, conditions());
    let chunk = chunk_at(&mut state, table.id, &[0, 0]);
    let before = state.clone();
    let again = Chunk { id: ChunkId(2), ..chunk.clone() };
    for change in [
        Change::CreateChunk { chunk: chunk.clone() },
        Change::CreateChunk { chunk: again },
        Change::DropChunk { chunk: ChunkId(9) },
        Change::DropHypertable { hypertable: HypertableId(9) },
        Change::CreateHypertable { hypertable: table.clone() },
        Change::AddDataNode { node: node("dn1"), cluster: "c1".into() },
        Change::AddDataNode { node: node("dn3"), cluster: "c2".into() },
        Change::SetHypertableNodes { hypertable: table.id, nodes: vec![], slices: None, partitions: vec![] },
        // dn1 holds the chunk.
        state.plan_nodes(&table, vec![HypertableNode { name: "dn2".into(), block_chunks: false }], Some(1)),
    ] {
        assert_eq!(state.apply(&change).unwrap_err().code(), codes::INTERNAL, "{change:?}");
        assert_eq!(state, before);
    }
    state.apply(&Change::DropHypertable { hypertable: table.id }).unwrap();
    assert!(state.chunks.is_empty());
    assert_eq!(state.next_chunk, 2);
}

/// One step of a made-up history.
#[derive(Clone, Debug)]
enum Step {
    AddNode,
    Create { space: bool, partitions: Option<i64>, replicas: i64, interval: i64 },
    Attach { table: usize, node: usize, repartition: bool },
    Block { table: usize, node: usize, blocked: bool },
    Insert { table: usize, time: i64, hash: i64, down: usize },
    DropChunk { nth: usize },
    DropTable { table: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::AddNode),
        2 => (any::<bool>(), proptest::option::of(1i64..6), 1i64..4, 1i64..20)
            .prop_map(|(space, partitions, replicas, interval)| Step::Create { space, partitions, replicas, interval }),
        2 => (0usize..3, 0usize..6, any::<bool>())
            .prop_map(|(table, node, repartition)| Step::Attach { table, node, repartition }),
        2 => (0usize..3, 0usize..6, any::<bool>())
            .prop_map(|(table, node, blocked)| Step::Block { table, node, blocked }),
        12 => (0usize..3, -50i64..50, 0..=i64::from(i32::MAX), 0usize..8)
            .prop_map(|(table, time, hash, down)| Step::Insert { table, time, hash, down }),
        1 => (0usize..20).prop_map(|nth| Step::DropChunk { nth }),
        1 => (0usize..3).prop_map(|table| Step::DropTable { table }),
    ];
    proptest::collection::vec(step, 0..80)
}

/// The change a step asks for in this state; `None` if it is refused or there is nothing to do it to.
fn change_for(state: &State, step: &Step) -> Option<Change> {
    let table = |nth: usize| state.hypertables.values().nth(nth);
    let name = |nth: usize| state.nodes.get(nth).map(|node| node.name.clone());
    match step {
        Step::AddNode => state.plan_data_node(node(&format!("dn{}", state.nodes.len() + 1)), "c1".into()).ok(),
        Step::Create { space, partitions, replicas, interval } => {
            let request = HypertableRequest {
                name: RelationName::new("public", format!("t{}", state.next_hypertable)),
                time: ("time".into(), Type::INT8.oid()),
                interval: Some(IntervalArgument::Integer(*interval)),
                space: space.then(|| ("place".into(), Type::TEXT.oid())),
                number_partitions: *partitions,
                replication_factor: Some(*replicas),
                ..conditions()
            };
            state.plan_hypertable(request).ok().map(|planned| planned.change)
        }
        Step::Attach { table: nth, node, repartition } => {
            let planned = state.plan_attachment(&name(*node)?, &table(*nth)?.name, *repartition);
            planned.ok().map(|planned| planned.change)
        }
        Step::Block { table: nth, node, blocked } => {
            let table = table(*nth)?;
            let mut nodes = table.nodes.clone();
            nodes.get_mut(*node)?.block_chunks = *blocked;
            Some(state.plan_nodes(table, nodes, None))
        }
        Step::Insert { table: nth, time, hash, down } => {
            let table = table(*nth)?;
            let point = &[*time, *hash][..table.dimensions.len()];
            match state.plan_chunk(table.id, point, 0, &name(*down).into_iter().collect()) {
                Ok(ChunkPlan::Create { chunk, .. }) => Some(Change::CreateChunk { chunk }),
                _ => None,
            }
        }
        Step::DropChunk { nth } => state.chunks.keys().nth(*nth).map(|id| Change::DropChunk { chunk: *id }),
        Step::DropTable { table: nth } => table(*nth).map(|table| Change::DropHypertable { hypertable: table.id }),
    }
}

proptest! {
    /// Whatever is asked for in whatever order: what planning proposes fits, and leaves a sound state.
    #[test]
    fn planned_changes_fit_and_keep_the_invariants(steps in steps()) {
        let mut state = State::default();
        let mut log = Vec::new();
        for step in steps {
            let Some(change) = change_for(&state, &step) else { continue };
            let before = (state.next_hypertable, state.next_dimension, state.next_chunk);
            prop_assert_eq!(state.apply(&change), Ok(()), "{:?}", change);
            prop_assert_eq!(violations(&state), Vec::<String>::new(), "after {:?}", change);
            prop_assert!(before <= (state.next_hypertable, state.next_dimension, state.next_chunk));
            if let Change::CreateChunk { chunk } = &change {
                let table = &state.hypertables[&chunk.hypertable];
                prop_assert!(chunk.nodes.len() <= usize::from(table.replication_factor));
                prop_assert!(chunk.nodes.iter().all(|name| state.open_nodes(table).contains(name)));
            }
            log.push(change);
        }
        // The log alone gives the same state, also after a trip through its stored form.
        let mut replayed = State::default();
        for change in &log {
            let stored = serde_json::to_string(change).unwrap();
            replayed.apply(&serde_json::from_str(&stored).unwrap()).unwrap();
        }
        prop_assert_eq!(&replayed, &state);
        let stored = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&stored).unwrap(), state);
    }
}
