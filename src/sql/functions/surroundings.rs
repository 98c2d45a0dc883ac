//! Functions that answer from the session: who, where, when, by which settings; and randomness.

use super::{Environment, Simple};
use crate::sql::types::timestamptz;
use datafusion::arrow::array::{Array, Float64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::cast::as_string_array;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, TypeSignature, Volatility};
use std::sync::Arc;

type Shared = Arc<dyn Environment>;

pub fn functions(environment: &Shared) -> Vec<ScalarUDF> {
    let mut functions = identity(environment);
    functions.extend(times(environment));
    functions.extend(chance(environment));
    functions.extend(settings(environment));
    functions.push(pg_typeof());
    functions.into_iter().map(ScalarUDF::from).collect()
}

/// What `version()` and the `server_version` setting claim: the wire protocol and dialect are PostgreSQL 15's.
pub const SERVER_VERSION: &str = "15.0";

fn constant(
    name: &'static str,
    returns: DataType,
    environment: &Shared,
    value: impl Fn(&dyn Environment) -> ScalarValue + Send + Sync + 'static,
) -> Simple {
    let environment = environment.clone();
    Simple::new(name, Signature::nullary(Volatility::Stable), returns, move |_| {
        Ok(ColumnarValue::Scalar(value(&*environment)))
    })
}

fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

fn identity(environment: &Shared) -> Vec<Simple> {
    vec![
        constant("version", DataType::Utf8, environment, |_| {
            text(format!("PostgreSQL {SERVER_VERSION} (Hypertile {})", env!("CARGO_PKG_VERSION")))
        }),
        constant("current_database", DataType::Utf8, environment, |e| text(e.database()))
            .with_aliases(&["current_catalog"]),
        constant("current_schema", DataType::Utf8, environment, |e| {
            let path = e.setting("search_path").unwrap_or_default();
            let first = path.split(',').map(|name| name.trim().trim_matches('"').to_string()).find(|n| n != "$user");
            text(first.unwrap_or_else(|| "public".into()))
        }),
        constant("current_user", DataType::Utf8, environment, |e| text(e.user())).with_aliases(&[
            "session_user",
            "user",
            "current_role",
        ]),
        constant("pg_backend_pid", DataType::Int32, environment, |e| ScalarValue::Int32(Some(e.process_id()))),
        constant("pg_is_in_recovery", DataType::Boolean, environment, |_| ScalarValue::Boolean(Some(false))),
    ]
}

fn moment(micros: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(micros), Some(crate::sql::types::UTC.into()))
}

/// The transaction's start on the session's wall clock, microseconds.
fn local(environment: &dyn Environment) -> i64 {
    let utc = environment.transaction_time();
    crate::sql::time_zone::to_local(utc, environment.time_zone()).unwrap_or(utc)
}

fn times(environment: &Shared) -> Vec<Simple> {
    let clock = environment.clone();
    vec![
        constant("now", timestamptz(), environment, |e| moment(e.transaction_time()))
            .with_aliases(&["current_timestamp", "transaction_timestamp"]),
        constant("statement_timestamp", timestamptz(), environment, |e| moment(e.statement_time())),
        Simple::new("clock_timestamp", Signature::nullary(Volatility::Volatile), timestamptz(), move |_| {
            Ok(ColumnarValue::Scalar(moment(clock.clock_time())))
        }),
        constant("localtimestamp", DataType::Timestamp(TimeUnit::Microsecond, None), environment, |e| {
            ScalarValue::TimestampMicrosecond(Some(local(e)), None)
        }),
        constant("current_date", DataType::Date32, environment, |e| {
            let days = local(e).div_euclid(86_400_000_000);
            ScalarValue::Date32(i32::try_from(days).ok())
        })
        .with_aliases(&["today"]),
        constant("current_time", DataType::Time64(TimeUnit::Microsecond), environment, |e| {
            ScalarValue::Time64Microsecond(Some(local(e).rem_euclid(86_400_000_000)))
        })
        .with_aliases(&["localtime"]),
        to_timestamp(),
    ]
}

/// Seconds since 1970 as a timestamptz.
fn to_timestamp() -> Simple {
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
    Simple::new("to_timestamp", signature, timestamptz(), |arguments| {
        let seconds = arguments.args[0].to_array(arguments.number_rows)?;
        let seconds = datafusion::common::cast::as_float64_array(&seconds)?;
        let micros: datafusion::arrow::array::TimestampMicrosecondArray =
            seconds.iter().map(|value| value.map(|value| (value * 1e6).round() as i64)).collect();
        Ok(ColumnarValue::Array(Arc::new(micros.with_timezone(crate::sql::types::UTC))))
    })
}

fn chance(environment: &Shared) -> Vec<Simple> {
    let (numbers, uuids) = (environment.clone(), environment.clone());
    vec![
        Simple::new("random", Signature::nullary(Volatility::Volatile), DataType::Float64, move |arguments| {
            let one = || {
                let mut bytes = [0; 8];
                numbers.random_bytes(&mut bytes);
                // 53 random bits, scaled to [0, 1).
                (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
            };
            let values: Float64Array = (0..arguments.number_rows).map(|_| Some(one())).collect();
            Ok(ColumnarValue::Array(Arc::new(values)))
        })
        .with_aliases(&["rand"]),
        Simple::new("gen_random_uuid", Signature::nullary(Volatility::Volatile), DataType::Utf8, move |arguments| {
            let one = || {
                let mut bytes = [0; 16];
                uuids.random_bytes(&mut bytes);
                uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
            };
            let values = StringArray::from_iter_values((0..arguments.number_rows).map(|_| one()));
            Ok(ColumnarValue::Array(Arc::new(values)))
        })
        .with_aliases(&["uuid", "uuid_generate_v4"]),
    ]
}

fn settings(environment: &Shared) -> Vec<Simple> {
    let (reader, writer) = (environment.clone(), environment.clone());
    let one_or_two = Signature::one_of(
        vec![TypeSignature::Exact(vec![DataType::Utf8]), TypeSignature::Exact(vec![DataType::Utf8, DataType::Boolean])],
        Volatility::Stable,
    );
    let three = Signature::exact(vec![DataType::Utf8, DataType::Utf8, DataType::Boolean], Volatility::Volatile);
    vec![
        Simple::new("current_setting", one_or_two, DataType::Utf8, move |arguments| {
            let names = arguments.args[0].to_array(arguments.number_rows)?;
            let missing_ok = arguments
                .args
                .get(1)
                .is_some_and(|value| matches!(value, ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))));
            let values = as_string_array(&names)?.iter().map(|name| match name.map(|name| reader.setting(name)) {
                None => Ok(None),
                Some(Err(_)) if missing_ok => Ok(None),
                Some(found) => found.map(Some),
            });
            let values: StringArray = values.collect::<crate::error::Result<_>>()?;
            Ok(ColumnarValue::Array(Arc::new(values)))
        }),
        Simple::new("set_config", three, DataType::Utf8, move |arguments| {
            let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
            let (names, values) = (as_string_array(&columns[0])?, as_string_array(&columns[1])?);
            let locals = datafusion::common::cast::as_boolean_array(&columns[2])?;
            let mut set = Vec::with_capacity(names.len());
            for row in 0..names.len() {
                if names.is_null(row) {
                    set.push(None);
                    continue;
                }
                let value = if values.is_null(row) { "" } else { values.value(row) };
                let local = !locals.is_null(row) && locals.value(row);
                set.push(Some(writer.set_setting(names.value(row), value, local)?));
            }
            Ok(ColumnarValue::Array(Arc::new(StringArray::from(set))))
        }),
    ]
}

fn pg_typeof() -> Simple {
    Simple::new("pg_typeof", Signature::any(1, Volatility::Stable), DataType::Utf8, |arguments| {
        let name = crate::sql::type_names::display(&crate::sql::types::pg_type(&arguments.arg_fields[0]));
        Ok(ColumnarValue::Scalar(text(name)))
    })
}
