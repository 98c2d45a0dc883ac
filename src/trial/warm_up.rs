//! Touches once what the libraries of a node initialise once per process.

use crate::node;
use crate::sim::world::{WorldConfig, run_simulation};
use datafusion::prelude::SessionContext;

/// Plans and runs a query in a simulation of its own, before the first run that counts.
///
/// Libraries initialise things once per process, some of them with randomness, which inside a simulation comes from the
/// seed: the first run would otherwise draw numbers that the next ones do not.
pub fn warm_up() {
    run_simulation(0, WorldConfig::default(), |_| async move {
        node::warm_up();
        let context = SessionContext::new();
        let sql = "SELECT key, count(*), avg(value) FROM (VALUES ('a', 1), ('b', 2)) AS rows (key, value) \
                   WHERE value > 0 GROUP BY key ORDER BY key";
        let query = context.sql(sql).await.expect("the warm-up query is valid");
        query.collect().await.expect("the warm-up query runs");
    });
}
