//! Queries put together at random: pushdown never changes an answer.

use super::cluster::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const FILTERS: &[&str] = &[
    "n > 3",
    "v <= 20.5",
    "host IN ('host_1', 'host_2', 'host_6')",
    "host = 'host_0'",
    "region <> 'eu'",
    "region IS NOT NULL",
    "upper(region) = 'US'",
    "ok",
    "time >= '2023-01-02 12:34:00+00'",
    "time < '2023-01-03'",
    "time BETWEEN '2023-01-01 06:00:00+00' AND '2023-01-04'",
    "(n < 0 OR day = '2023-01-03')",
    "price * 2 > 4.5",
    "time_bucket('1 day', time) = '2023-01-02'",
    "coalesce(small, n) % 2 = 0",
    "time::date <> '2023-01-01'",
];

const GROUPS: &[&str] =
    &["host", "region", "day", "ok", "time_bucket('6 hours', time)", "n % 4", "rack", "date_trunc('day', at)"];

const AGGREGATES: &[&str] = &[
    "count(*)",
    "count(v)",
    "sum(v)",
    "sum(n)",
    "avg(v)",
    "avg(small)",
    "min(time)",
    "max(at)",
    "max(price)",
    "sum(price)",
    "sum(w)",
    "bool_or(ok)",
    "count(DISTINCT region)",
    "sum(n) FILTER (WHERE ok)",
    "min(host)",
    "last(n, big)",
    "var_pop(v)",
];

fn filter() -> impl Strategy<Value = String> {
    subsequence(FILTERS, 0..=3).prop_map(|filters| match filters.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", filters.join(" AND ")),
    })
}

/// Grouping and sorting by position; the sort keys are all columns, so the order is total up to equal rows.
fn grouped() -> impl Strategy<Value = String> {
    let parts = (subsequence(GROUPS, 0..=3), subsequence(AGGREGATES, 1..=4), filter(), any::<bool>(), 0..6usize);
    parts.prop_map(|(groups, aggregates, filter, sorted, limit)| {
        let columns: Vec<&str> = groups.iter().chain(&aggregates).copied().collect();
        let mut sql = format!("SELECT {} FROM cpu{filter}", columns.join(", "));
        let positions = |count: usize| (1..=count).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
        if !groups.is_empty() {
            sql += &format!(" GROUP BY {}", positions(groups.len()));
            if sorted {
                sql += &format!(" ORDER BY {}", positions(groups.len()));
                if limit > 0 {
                    sql += &format!(" LIMIT {limit}");
                }
            }
        }
        sql
    })
}

fn plain() -> impl Strategy<Value = String> {
    let columns = vec!["v", "host", "time", "region", "price", "rack", "n + 1", "1"];
    let order = select(vec!["", "ORDER BY big", "ORDER BY time DESC, big", "ORDER BY region, big", "ORDER BY v, big"]);
    (subsequence(columns, 1..=4), filter(), order, 0..20usize).prop_map(|(columns, filter, order, limit)| {
        let mut sql = format!("SELECT big, {} FROM cpu{filter} {order}", columns.join(", "));
        if !order.is_empty() && limit > 0 {
            sql += &format!(" LIMIT {limit}");
        }
        sql
    })
}

fn check(cluster: &Cluster, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(super::queries::check(&cluster.three_ways(), sql));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_query_has_one_answer(
        sql in prop_oneof![3 => grouped(), 1 => plain()],
        layout in select(vec![aligned as Layout, rotating, replicated, single]),
        seed in 0..1000u64,
    ) {
        check(&Cluster::new(layout, rows(seed, 150, 4)), &sql);
    }
}
