//! PostgreSQL's hash functions under their own names.

use datafusion::logical_expr::ScalarUDF;

pub fn functions() -> Vec<ScalarUDF> {
    Vec::new()
}
