//! What a server says as errors and notices of ours.

use crate::error::{Error, Notice, Severity, SqlState, codes};
use std::error::Error as _;
use tokio_postgres::error::DbError;

/// A client error as one of ours: what the server said keeps its SQLSTATE, message, detail, hint; a broken
/// connection is `08006`.
pub fn error_of(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(said) => error_said(said),
        None => Error::new(codes::CONNECTION_FAILURE, "connection to server was lost").with_detail(reasons(error)),
    }
}

fn error_said(said: &DbError) -> Error {
    let mut error = Error::new(SqlState::parse(said.code().code()), said.message());
    if let Some(detail) = said.detail() {
        error = error.with_detail(detail);
    }
    if let Some(hint) = said.hint() {
        error = error.with_hint(hint);
    }
    error
}

pub fn notice_of(said: &DbError) -> Notice {
    let severity = match said.parsed_severity() {
        Some(tokio_postgres::error::Severity::Warning) => Severity::Warning,
        Some(tokio_postgres::error::Severity::Info) => Severity::Info,
        _ => Severity::Notice,
    };
    Notice { severity, error: error_said(said) }
}

/// An error and what caused it, in one line.
pub fn reasons(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}
