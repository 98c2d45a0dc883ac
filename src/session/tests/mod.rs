//! Scripts of SQL and what must come back. `postgres/*.txt` hold what PostgreSQL 15 answered to the same statements;
//! `own/*.txt` what differs from it, or does not exist there.

mod script;
mod situations;

use script::run_script;

#[tokio::test]
async fn answers_equal_those_of_postgresql() {
    run_script("postgres/expressions.txt", include_str!("postgres/expressions.txt")).await;
}

#[tokio::test]
async fn tables_and_constraints_behave_as_in_postgresql() {
    run_script("postgres/tables.txt", include_str!("postgres/tables.txt")).await;
}

#[tokio::test]
async fn transactions_behave_as_in_postgresql() {
    run_script("postgres/transactions.txt", include_str!("postgres/transactions.txt")).await;
}

#[tokio::test]
async fn queries_answer_as_in_postgresql() {
    run_script("postgres/queries.txt", include_str!("postgres/queries.txt")).await;
}

#[tokio::test]
async fn what_postgresql_lacks_or_does_differently() {
    run_script("own/own.txt", include_str!("own/own.txt")).await;
}
