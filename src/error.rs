//! The one error type that may reach a client: a SQLSTATE, what happened, and a way out.
//!
//! Source of the codes: PostgreSQL documentation, Appendix A; class `TS` is TimescaleDB's.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A five-character SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    pub const fn new(code: &str) -> SqlState {
        let bytes = code.as_bytes();
        assert!(bytes.len() == 5, "a SQLSTATE has five characters");
        SqlState([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]])
    }

    /// A code that came over the wire; anything malformed becomes `XX000`.
    pub fn parse(code: &str) -> SqlState {
        if code.len() == 5 && code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            SqlState::new(code)
        } else {
            codes::INTERNAL
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked to be ASCII when made")
    }

    pub fn class(&self) -> &str {
        &self.as_str()[..2]
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The codes that Hypertile itself raises.
pub mod codes {
    use super::SqlState;

    pub const SUCCESS: SqlState = SqlState::new("00000");
    pub const WARNING: SqlState = SqlState::new("01000");
    pub const CANNOT_CONNECT: SqlState = SqlState::new("08001");
    pub const CONNECTION_FAILURE: SqlState = SqlState::new("08006");
    /// Commit was under way when the connection broke: the outcome is unknown.
    pub const TRANSACTION_RESOLUTION_UNKNOWN: SqlState = SqlState::new("08007");
    pub const PROTOCOL_VIOLATION: SqlState = SqlState::new("08P01");
    pub const FEATURE_NOT_SUPPORTED: SqlState = SqlState::new("0A000");
    pub const CARDINALITY_VIOLATION: SqlState = SqlState::new("21000");
    pub const DATA_EXCEPTION: SqlState = SqlState::new("22000");
    pub const NUMERIC_OUT_OF_RANGE: SqlState = SqlState::new("22003");
    pub const INVALID_DATETIME: SqlState = SqlState::new("22007");
    pub const DATETIME_OVERFLOW: SqlState = SqlState::new("22008");
    pub const DIVISION_BY_ZERO: SqlState = SqlState::new("22012");
    pub const INVALID_PARAMETER_VALUE: SqlState = SqlState::new("22023");
    pub const INVALID_TEXT: SqlState = SqlState::new("22P02");
    pub const INVALID_BINARY: SqlState = SqlState::new("22P03");
    pub const BAD_COPY_FORMAT: SqlState = SqlState::new("22P04");
    pub const NOT_NULL_VIOLATION: SqlState = SqlState::new("23502");
    pub const UNIQUE_VIOLATION: SqlState = SqlState::new("23505");
    pub const CHECK_VIOLATION: SqlState = SqlState::new("23514");
    pub const ACTIVE_TRANSACTION: SqlState = SqlState::new("25001");
    pub const READ_ONLY_TRANSACTION: SqlState = SqlState::new("25006");
    pub const NO_ACTIVE_TRANSACTION: SqlState = SqlState::new("25P01");
    pub const IN_FAILED_TRANSACTION: SqlState = SqlState::new("25P02");
    pub const INVALID_STATEMENT_NAME: SqlState = SqlState::new("26000");
    pub const INVALID_PASSWORD: SqlState = SqlState::new("28P01");
    pub const INVALID_CURSOR_NAME: SqlState = SqlState::new("34000");
    pub const INVALID_CATALOG_NAME: SqlState = SqlState::new("3D000");
    pub const INVALID_SCHEMA_NAME: SqlState = SqlState::new("3F000");
    pub const SERIALIZATION_FAILURE: SqlState = SqlState::new("40001");
    pub const DEADLOCK_DETECTED: SqlState = SqlState::new("40P01");
    pub const SYNTAX_ERROR: SqlState = SqlState::new("42601");
    pub const UNDEFINED_COLUMN: SqlState = SqlState::new("42703");
    pub const UNDEFINED_OBJECT: SqlState = SqlState::new("42704");
    pub const DUPLICATE_COLUMN: SqlState = SqlState::new("42701");
    pub const DUPLICATE_OBJECT: SqlState = SqlState::new("42710");
    pub const DUPLICATE_DATABASE: SqlState = SqlState::new("42P04");
    pub const DUPLICATE_SCHEMA: SqlState = SqlState::new("42P06");
    pub const DUPLICATE_TABLE: SqlState = SqlState::new("42P07");
    pub const DUPLICATE_PREPARED_STATEMENT: SqlState = SqlState::new("42P05");
    pub const AMBIGUOUS_COLUMN: SqlState = SqlState::new("42702");
    pub const GROUPING_ERROR: SqlState = SqlState::new("42803");
    pub const DATATYPE_MISMATCH: SqlState = SqlState::new("42804");
    pub const WRONG_OBJECT_TYPE: SqlState = SqlState::new("42809");
    pub const UNDEFINED_FUNCTION: SqlState = SqlState::new("42883");
    pub const UNDEFINED_TABLE: SqlState = SqlState::new("42P01");
    pub const UNDEFINED_PARAMETER: SqlState = SqlState::new("42P02");
    pub const AMBIGUOUS_PARAMETER: SqlState = SqlState::new("42P08");
    pub const INVALID_TABLE_DEFINITION: SqlState = SqlState::new("42P16");
    pub const DISK_FULL: SqlState = SqlState::new("53100");
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: SqlState = SqlState::new("55000");
    pub const OBJECT_IN_USE: SqlState = SqlState::new("55006");
    pub const LOCK_NOT_AVAILABLE: SqlState = SqlState::new("55P03");
    pub const QUERY_CANCELED: SqlState = SqlState::new("57014");
    pub const ADMIN_SHUTDOWN: SqlState = SqlState::new("57P01");
    pub const CRASH_SHUTDOWN: SqlState = SqlState::new("57P02");
    pub const CANNOT_CONNECT_NOW: SqlState = SqlState::new("57P03");
    pub const IO_ERROR: SqlState = SqlState::new("58030");
    pub const INTERNAL: SqlState = SqlState::new("XX000");
    pub const DATA_CORRUPTED: SqlState = SqlState::new("XX001");

    pub const TS_NOT_A_HYPERTABLE: SqlState = SqlState::new("TS001");
    pub const TS_BAD_INDEX: SqlState = SqlState::new("TS103");
    pub const TS_ALREADY_HYPERTABLE: SqlState = SqlState::new("TS110");
    pub const TS_DUPLICATE_DIMENSION: SqlState = SqlState::new("TS160");
    pub const TS_INSUFFICIENT_NODES: SqlState = SqlState::new("TS170");
    pub const TS_ALREADY_A_DATA_NODE: SqlState = SqlState::new("TS171");
    pub const TS_ALREADY_ATTACHED: SqlState = SqlState::new("TS172");
    pub const TS_NODE_CONFIGURATION: SqlState = SqlState::new("TS174");
    pub const TS_NODE_IN_USE: SqlState = SqlState::new("TS504");
}

/// An error as a client sees it. Boxed inside: results stay two words wide.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Fields>);

#[derive(Clone, PartialEq, Eq)]
struct Fields {
    code: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// 1-based character offset into the statement text, as PostgreSQL counts.
    position: Option<u32>,
}

impl Error {
    pub fn new(code: SqlState, message: impl Into<String>) -> Error {
        Error(Box::new(Fields { code, message: message.into(), detail: None, hint: None, position: None }))
    }

    /// A fault of ours, never of the user's input.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(codes::INTERNAL, message)
    }

    /// Something PostgreSQL can do and Hypertile cannot (yet): `0A000`.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(codes::FEATURE_NOT_SUPPORTED, message)
    }

    pub fn with_detail(mut self, detail: impl Into<String>) -> Error {
        self.0.detail = Some(detail.into());
        self
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    pub fn with_position(mut self, position: u32) -> Error {
        self.0.position = Some(position);
        self
    }

    /// The same error as raised on a data node: the message gets the prefix `[node]: `, as in TimescaleDB.
    pub fn on_node(mut self, node: &str) -> Error {
        self.0.message = format!("[{node}]: {}", self.0.message);
        self.0.position = None;
        self
    }

    pub fn code(&self) -> SqlState {
        self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub fn position(&self) -> Option<u32> {
        self.0.position
    }

    /// What the caller should do next.
    pub fn kind(&self) -> Kind {
        match self.code() {
            codes::TRANSACTION_RESOLUTION_UNKNOWN => Kind::Unknown,
            code if matches!(code.class(), "08" | "40" | "53" | "57") => Kind::Retry,
            _ => Kind::Reject,
        }
    }
}

/// Errors by what the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing happened; the same request may succeed later.
    Retry,
    /// The request itself is at fault.
    Reject,
    /// It may or may not have happened.
    Unknown,
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())?;
        if let Some(detail) = self.detail() {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// NOTICE and WARNING messages that accompany a statement's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub severity: Severity,
    pub error: Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Notice,
    Info,
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Notice => "NOTICE",
            Severity::Info => "INFO",
            Severity::Warning => "WARNING",
        }
    }
}

impl Notice {
    #[expect(clippy::self_named_constructors, reason = "NOTICE is the severity's name")]
    pub fn notice(code: SqlState, message: impl Into<String>) -> Notice {
        Notice { severity: Severity::Notice, error: Error::new(code, message) }
    }

    pub fn warning(code: SqlState, message: impl Into<String>) -> Notice {
        Notice { severity: Severity::Warning, error: Error::new(code, message) }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        let code = if error.kind() == std::io::ErrorKind::StorageFull { codes::DISK_FULL } else { codes::IO_ERROR };
        Error::new(code, error.to_string())
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Error {
        from_datafusion(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Error {
        from_arrow(error)
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        datafusion::error::DataFusionError::External(Box::new(error))
    }
}

/// Our own errors travel through DataFusion as `External` and come out unchanged; its own get the nearest SQLSTATE.
fn from_datafusion(error: datafusion::error::DataFusionError) -> Error {
    use datafusion::common::SchemaError;
    use datafusion::error::DataFusionError as D;
    match error {
        D::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => match other.downcast::<D>() {
                Ok(nested) => from_datafusion(*nested),
                Err(other) => Error::internal(other.to_string()),
            },
        },
        D::Context(_, inner) | D::Diagnostic(_, inner) => from_datafusion(*inner),
        D::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
            Ok(inner) => from_datafusion(inner),
            Err(shared) => match &*shared {
                D::External(e) if e.downcast_ref::<Error>().is_some() => {
                    e.downcast_ref::<Error>().expect("just seen").clone()
                }
                other => Error::internal(other.strip_backtrace()),
            },
        },
        D::ArrowError(inner, _) => from_arrow(*inner),
        D::SQL(inner, _) => Error::new(codes::SYNTAX_ERROR, inner.to_string()),
        D::NotImplemented(message) => Error::unsupported(message),
        D::SchemaError(inner, _) => match &*inner {
            SchemaError::FieldNotFound { field, .. } => Error::new(
                codes::UNDEFINED_COLUMN,
                format!("column \"{}\" does not exist", field.flat_name().replace('"', "")),
            ),
            SchemaError::AmbiguousReference { field } => {
                Error::new(codes::AMBIGUOUS_COLUMN, format!("column reference \"{}\" is ambiguous", field.name))
            }
            other => Error::new(codes::DUPLICATE_COLUMN, other.to_string()),
        },
        D::Plan(message) => Error::new(plan_code(&message), message),
        D::ResourcesExhausted(message) => Error::new(SqlState::new("53200"), message),
        D::Execution(message) => Error::new(codes::DATA_EXCEPTION, message),
        other => Error::internal(other.strip_backtrace()),
    }
}

/// DataFusion tells planning errors apart by text only.
fn plan_code(message: &str) -> SqlState {
    let lower = message.to_ascii_lowercase();
    if lower.contains("table") && lower.contains("not found") {
        codes::UNDEFINED_TABLE
    } else if lower.contains("invalid function")
        || lower.contains("no function matches")
        || lower.contains("failed to coerce arguments")
    {
        codes::UNDEFINED_FUNCTION
    } else if lower.contains("must appear in the group by") || lower.contains("group by") {
        codes::GROUPING_ERROR
    } else if lower.contains("cast") || lower.contains("coerce") || lower.contains("type") {
        codes::DATATYPE_MISMATCH
    } else {
        codes::SYNTAX_ERROR
    }
}

fn from_arrow(error: arrow::error::ArrowError) -> Error {
    use arrow::error::ArrowError as A;
    match error {
        A::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::internal(other.to_string()),
        },
        A::DivideByZero => Error::new(codes::DIVISION_BY_ZERO, "division by zero"),
        A::ArithmeticOverflow(message) => Error::new(codes::NUMERIC_OUT_OF_RANGE, message),
        A::CastError(message) | A::ParseError(message) => Error::new(codes::INVALID_TEXT, message),
        other => Error::internal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_errors_pass_through_datafusion_unchanged() {
        let own = Error::new(codes::CHECK_VIOLATION, "no").with_hint("yes");
        let through: datafusion::error::DataFusionError = own.clone().into();
        assert_eq!(Error::from(through.context("while scanning")), own);
    }

    #[test]
    fn kind_tells_the_caller_what_to_do() {
        assert_eq!(Error::new(codes::CANNOT_CONNECT, "").kind(), Kind::Retry);
        assert_eq!(Error::new(codes::TRANSACTION_RESOLUTION_UNKNOWN, "").kind(), Kind::Unknown);
        assert_eq!(Error::new(codes::SYNTAX_ERROR, "").kind(), Kind::Reject);
    }
}
