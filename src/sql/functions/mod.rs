//! Scalar and aggregate functions beyond DataFusion's own, each meaning what it means in PostgreSQL or TimescaleDB.
//!
//! What a function asks of its surroundings (who is connected, what time it is, a random number) comes from the
//! session's [`Environment`]: DataFusion's own `now()`, `random()` and `uuid()`, which ask the machine, are replaced.
//!
//! Reading order: this file, [`time_bucket`], [`date_bin`], [`at_time_zone`], [`first_last`], [`hash`], [`surroundings`].

pub mod at_time_zone;
pub mod date_bin;
pub mod first_last;
pub mod hash;
pub mod surroundings;
pub mod time_bucket;

use crate::error::{Error, codes};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What functions may ask of the session that runs them.
pub trait Environment: Send + Sync {
    fn database(&self) -> String;
    fn user(&self) -> String;
    fn process_id(&self) -> i32;
    /// Start of the transaction, microseconds since 1970 UTC: `now()`.
    fn transaction_time(&self) -> i64;
    fn statement_time(&self) -> i64;
    /// This very moment: `clock_timestamp()`.
    fn clock_time(&self) -> i64;
    fn random_bytes(&self, bytes: &mut [u8]);
    fn time_zone(&self) -> chrono_tz::Tz;
    /// A setting as SHOW prints it. Errors: `42704`.
    fn setting(&self, name: &str) -> crate::error::Result<String>;
    /// Errors: `42704`, `22023`.
    fn set_setting(&self, name: &str, value: &str, local: bool) -> crate::error::Result<String>;
}

/// All scalar functions; names given twice replace DataFusion's.
pub fn scalar(environment: &Arc<dyn Environment>) -> Vec<ScalarUDF> {
    let mut functions = vec![
        ScalarUDF::from(time_bucket::TimeBucket::new()),
        ScalarUDF::from(date_bin::DateBin::new()),
        ScalarUDF::from(at_time_zone::AtTimeZone::new()),
    ];
    functions.extend(hash::functions());
    functions.extend(surroundings::functions(environment));
    functions
}

pub fn aggregate() -> Vec<AggregateUDF> {
    vec![
        AggregateUDF::from(first_last::Bookend::new(first_last::End::First)),
        AggregateUDF::from(first_last::Bookend::new(first_last::End::Last)),
    ]
}

fn no_such_function(name: &str, types: &[DataType]) -> Error {
    let names: Vec<String> = types
        .iter()
        .map(|ty| match ty {
            DataType::Utf8 | DataType::Null => "unknown".into(),
            ty => {
                let field = datafusion::arrow::datatypes::Field::new("", ty.clone(), true);
                crate::sql::type_names::display(&crate::sql::types::pg_type(&field))
            }
        })
        .collect();
    Error::new(codes::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", names.join(", ")))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

type Body = Arc<dyn Fn(&ScalarFunctionArgs) -> Result<ColumnarValue> + Send + Sync>;

/// A function that needs no more than a name, types and a closure.
pub struct Simple {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    returns: DataType,
    body: Body,
}

impl Simple {
    pub fn new(
        name: &'static str,
        signature: Signature,
        returns: DataType,
        body: impl Fn(&ScalarFunctionArgs) -> Result<ColumnarValue> + Send + Sync + 'static,
    ) -> Simple {
        Simple { name, aliases: Vec::new(), signature, returns, body: Arc::new(body) }
    }

    pub fn with_aliases(mut self, aliases: &[&str]) -> Simple {
        self.aliases = aliases.iter().map(|alias| (*alias).to_string()).collect();
        self
    }

    pub fn exact(arguments: Vec<DataType>, volatility: Volatility) -> Signature {
        if arguments.is_empty() { Signature::nullary(volatility) } else { Signature::exact(arguments, volatility) }
    }
}

impl ScalarUDFImpl for Simple {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.body)(&arguments)
    }
}

impl fmt::Debug for Simple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Simple {
    fn eq(&self, other: &Simple) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.body, &other.body)
    }
}

impl Eq for Simple {}

impl Hash for Simple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}
