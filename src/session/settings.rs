//! A session's settings: names, values, what a transaction's end undoes.

use crate::error::{Error, Result, SqlState, codes};
use crate::limits;
use crate::sql::functions::surroundings::SERVER_VERSION;
use crate::sql::time_zone;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Bool,
    /// Milliseconds when no unit is written.
    Duration,
    Integer(i64, i64),
    TimeZone,
    Encoding,
    DateStyle,
    OneOf(&'static [&'static str]),
    ReadOnly,
}

struct Known {
    name: &'static str,
    default: &'static str,
    kind: Kind,
    /// Sent to the client as ParameterStatus.
    reported: bool,
}

const fn known(name: &'static str, default: &'static str, kind: Kind) -> Known {
    Known { name, default, kind, reported: false }
}

const fn reported(name: &'static str, default: &'static str, kind: Kind) -> Known {
    Known { name, default, kind, reported: true }
}

const ISOLATION_LEVELS: &[&str] = &["serializable", "repeatable read", "read committed", "read uncommitted"];
const LEVELS: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error", "info"];

/// Settings with a name without a dot. Those that only tune PostgreSQL's planner or storage are taken and kept; so are
/// the `tcp_keepalives`: the host gives all connections the defaults shown here.
const KNOWN: &[Known] = &[
    reported("application_name", "", Kind::Text),
    known("bytea_output", "hex", Kind::OneOf(&["hex", "escape"])),
    known("check_function_bodies", "on", Kind::Bool),
    reported("client_encoding", "UTF8", Kind::Encoding),
    known("client_min_messages", "notice", Kind::OneOf(LEVELS)),
    reported("DateStyle", "ISO, MDY", Kind::DateStyle),
    known("constraint_exclusion", "partition", Kind::Text),
    known("cpu_tuple_cost", "0.01", Kind::Text),
    known("default_table_access_method", "heap", Kind::Text),
    known("default_tablespace", "", Kind::Text),
    known("default_text_search_config", "pg_catalog.simple", Kind::Text),
    known("default_transaction_deferrable", "off", Kind::Bool),
    known("default_transaction_isolation", "read committed", Kind::OneOf(ISOLATION_LEVELS)),
    reported("default_transaction_read_only", "off", Kind::Bool),
    known("effective_cache_size", "4GB", Kind::Text),
    known("escape_string_warning", "on", Kind::Bool),
    known("extra_float_digits", "1", Kind::Integer(-15, 3)),
    known("idle_in_transaction_session_timeout", "0", Kind::Duration),
    known("idle_session_timeout", "0", Kind::Duration),
    reported("in_hot_standby", "off", Kind::ReadOnly),
    reported("integer_datetimes", "on", Kind::ReadOnly),
    reported("IntervalStyle", "postgres", Kind::OneOf(&["postgres"])),
    reported("is_superuser", "on", Kind::ReadOnly),
    known("jit", "off", Kind::Bool),
    known("lc_collate", "C", Kind::ReadOnly),
    known("lc_ctype", "C.UTF-8", Kind::ReadOnly),
    known("lc_messages", "C", Kind::Text),
    known("lc_monetary", "C", Kind::Text),
    known("lc_numeric", "C", Kind::Text),
    known("lc_time", "C", Kind::Text),
    known("lock_timeout", "0", Kind::Duration),
    known("maintenance_work_mem", "64MB", Kind::Text),
    known("max_connections", "1000", Kind::ReadOnly),
    known("max_identifier_length", "63", Kind::ReadOnly),
    known("max_parallel_workers_per_gather", "0", Kind::Integer(0, 1024)),
    known("max_prepared_transactions", "1000", Kind::ReadOnly),
    known("plan_cache_mode", "auto", Kind::OneOf(&["auto", "force_generic_plan", "force_custom_plan"])),
    known("quote_all_identifiers", "off", Kind::Bool),
    known("random_page_cost", "4", Kind::Text),
    known("row_security", "on", Kind::Bool),
    known("search_path", "\"$user\", public", Kind::Text),
    reported("server_encoding", "UTF8", Kind::ReadOnly),
    reported("server_version", SERVER_VERSION, Kind::ReadOnly),
    known("server_version_num", "150000", Kind::ReadOnly),
    reported("session_authorization", "", Kind::ReadOnly),
    reported("standard_conforming_strings", "on", Kind::OneOf(&["on"])),
    known("seq_page_cost", "1", Kind::Text),
    known("statement_timeout", "0", Kind::Duration),
    known("synchronize_seqscans", "on", Kind::Bool),
    known("synchronous_commit", "on", Kind::Text),
    known("tcp_keepalives_count", "3", Kind::Integer(0, 127)),
    known("tcp_keepalives_idle", "10", Kind::Integer(0, 32_767)),
    known("tcp_keepalives_interval", "5", Kind::Integer(0, 32_767)),
    reported("TimeZone", "UTC", Kind::TimeZone),
    known("transaction_deferrable", "off", Kind::Bool),
    known("transaction_isolation", "read committed", Kind::OneOf(ISOLATION_LEVELS)),
    known("transaction_read_only", "off", Kind::Bool),
    known("wal_level", "logical", Kind::ReadOnly),
    known("work_mem", "4MB", Kind::Text),
    known("xmloption", "content", Kind::Text),
];

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

/// Names with a dot belong to somebody else's extension, and PostgreSQL takes them all, too.
fn is_custom(name: &str) -> bool {
    name.contains('.') || name.to_ascii_lowercase().starts_with("enable_")
}

fn unknown(name: &str) -> Error {
    Error::new(codes::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// All settings of one session.
#[derive(Debug)]
pub struct Settings {
    /// What RESET goes back to: the built-in defaults, overlaid by the client's start-up message.
    defaults: BTreeMap<String, String>,
    values: BTreeMap<String, String>,
    /// Values before this transaction's changes, in order: a rollback puts them back from the end.
    undo: Vec<(String, Option<String>)>,
    /// Values before SET LOCAL: also a commit puts these back.
    local: Vec<(String, Option<String>)>,
    /// Reported settings whose value the client has not been told.
    unreported: BTreeSet<&'static str>,
    time_zone: chrono_tz::Tz,
    statement_timeout: Option<Duration>,
}

impl Settings {
    /// Start-up parameters that are unknown or malformed are left out: a connection must not fail for them.
    pub fn new(user: &str, startup: &[(String, String)]) -> Settings {
        let mut settings = Settings {
            defaults: BTreeMap::from([("session_authorization".to_string(), user.to_string())]),
            values: BTreeMap::new(),
            undo: Vec::new(),
            local: Vec::new(),
            unreported: KNOWN.iter().filter(|known| known.reported).map(|known| known.name).collect(),
            time_zone: chrono_tz::UTC,
            statement_timeout: None,
        };
        for (name, value) in startup {
            if find(name).is_some() || is_custom(name) {
                let _ = settings.set_default(name, value);
            }
        }
        settings
    }

    fn set_default(&mut self, name: &str, value: &str) -> Result<()> {
        let (name, value) = checked(name, value)?;
        self.defaults.insert(name, value);
        self.refresh();
        Ok(())
    }

    /// The value as SHOW prints it. Errors: `42704`.
    pub fn get(&self, name: &str) -> Result<&str> {
        let key = canonical(name);
        if let Some(value) = self.values.get(&key).or_else(|| self.defaults.get(&key)) {
            return Ok(value);
        }
        match find(name) {
            Some(known) => Ok(known.default),
            // PostgreSQL, too, knows nothing of a custom setting that nobody has set.
            None => Err(unknown(name)),
        }
    }

    /// Whether a setting of two values is on; `default` for a custom one never set.
    pub fn is_on(&self, name: &str, default: bool) -> bool {
        self.get(name).ok().and_then(parse_bool).unwrap_or(default)
    }

    /// `value` `None`: back to the default. Errors: `42704`, `22023`, `55P02`.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        if name.eq_ignore_ascii_case("all") && value.is_none() {
            let all: Vec<String> = self.values.keys().cloned().collect();
            return all.iter().try_for_each(|name| self.set(name, None, false));
        }
        if find(name).is_none() && !is_custom(name) {
            return Err(unknown(name));
        }
        let key = canonical(name);
        let before = self.values.get(&key).cloned();
        match value {
            Some(value) => {
                let (key, value) = checked(name, value)?;
                self.values.insert(key, value);
            }
            None => {
                self.values.remove(&key);
            }
        }
        self.undo.push((key.clone(), before.clone()));
        if local {
            self.local.push((key.clone(), before));
        }
        self.changed(&key);
        Ok(())
    }

    /// The transaction has ended: SET LOCAL ends with it; a rollback takes back SET as well.
    pub fn end_transaction(&mut self, committed: bool) {
        let undo = if committed { std::mem::take(&mut self.local) } else { std::mem::take(&mut self.undo) };
        for (key, before) in undo.into_iter().rev() {
            match before {
                Some(value) => self.values.insert(key.clone(), value),
                None => self.values.remove(&key),
            };
            self.changed(&key);
        }
        self.undo.clear();
        self.local.clear();
    }

    fn changed(&mut self, key: &str) {
        if let Some(known) = find(key).filter(|known| known.reported) {
            self.unreported.insert(known.name);
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        self.time_zone =
            self.get("TimeZone").ok().and_then(|name| time_zone::named(name).ok()).unwrap_or(chrono_tz::UTC);
        self.statement_timeout = self.duration("statement_timeout");
    }

    pub fn time_zone(&self) -> chrono_tz::Tz {
        self.time_zone
    }

    /// A limit of time; `None` for 0, which means that there is none.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        let milliseconds = self.get(name).ok().and_then(parse_milliseconds)?;
        u64::try_from(milliseconds).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    pub fn statement_timeout(&self) -> Option<Duration> {
        self.statement_timeout
    }

    /// Schemas in which unqualified names are looked up, in order; `pg_catalog` comes first unless it is named.
    pub fn search_path(&self, user: &str) -> Vec<String> {
        let written = self.get("search_path").unwrap_or("public");
        let mut path: Vec<String> = written
            .split(',')
            .map(|name| name.trim().trim_matches('"').to_string())
            .map(|name| if name == "$user" { user.to_string() } else { name })
            .filter(|name| !name.is_empty())
            .collect();
        if !path.iter().any(|name| name == "pg_catalog") {
            path.insert(0, "pg_catalog".into());
        }
        path
    }

    /// Reported settings that changed since the last call (at first: all).
    pub fn take_changes(&mut self) -> Vec<(String, String)> {
        let names = std::mem::take(&mut self.unreported);
        names.into_iter().map(|name| (name.to_string(), self.get(name).unwrap_or_default().to_string())).collect()
    }

    /// Name and value of every setting, by name.
    pub fn all(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = KNOWN
            .iter()
            .map(|known| (known.name.to_string(), self.get(known.name).unwrap_or_default().to_string()))
            .collect();
        all.extend(self.values.iter().filter(|(name, _)| name.contains('.')).map(|(n, v)| (n.clone(), v.clone())));
        all
    }
}

/// The name as it is stored and shown.
pub fn canonical(name: &str) -> String {
    find(name).map_or_else(|| name.to_ascii_lowercase(), |known| known.name.to_string())
}

fn checked(name: &str, value: &str) -> Result<(String, String)> {
    let invalid = || {
        let shown = canonical(name);
        Error::new(codes::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{shown}\": \"{value}\""))
    };
    let Some(known) = find(name) else { return Ok((canonical(name), value.to_string())) };
    let value = match known.kind {
        Kind::Text => value.to_string(),
        Kind::Bool => {
            let on = parse_bool(value).ok_or_else(|| {
                Error::new(
                    codes::INVALID_PARAMETER_VALUE,
                    format!("parameter \"{}\" requires a Boolean value", known.name),
                )
            })?;
            if on { "on".into() } else { "off".into() }
        }
        Kind::Duration => show_milliseconds(parse_milliseconds(value).filter(|ms| *ms >= 0).ok_or_else(invalid)?),
        Kind::Integer(lowest, highest) => {
            let number: i64 = value.trim().parse().map_err(|_| invalid())?;
            if !(lowest..=highest).contains(&number) {
                return Err(Error::new(
                    codes::INVALID_PARAMETER_VALUE,
                    format!(
                        "{number} is outside the valid range for parameter \"{}\" ({lowest} .. {highest})",
                        known.name
                    ),
                ));
            }
            number.to_string()
        }
        Kind::TimeZone => time_zone::named(value).map_err(|_| invalid())?.name().to_string(),
        Kind::Encoding => match value.to_ascii_uppercase().replace(['-', '_'], "").as_str() {
            "UTF8" | "UNICODE" => "UTF8".into(),
            // ASCII bytes are valid UTF-8, and psql asks for this in the C locale.
            "SQLASCII" => "UTF8".into(),
            _ => return Err(invalid().with_hint("Only UTF8 is supported.")),
        },
        Kind::DateStyle => match value.to_ascii_uppercase() {
            style if style.contains("SQL") || style.contains("GERMAN") || style.contains("POSTGRES") => {
                return Err(invalid().with_hint("Only the ISO date style is supported."));
            }
            style if style.contains("DMY") => "ISO, DMY".into(),
            style if style.contains("YMD") => "ISO, YMD".into(),
            _ => "ISO, MDY".into(),
        },
        Kind::OneOf(values) => {
            let found = values.iter().find(|known| known.eq_ignore_ascii_case(value.trim()));
            (*found.ok_or_else(|| invalid().with_hint(format!("Available values: {}.", values.join(", "))))?)
                .to_string()
        }
        Kind::ReadOnly => {
            return Err(Error::new(SqlState::new("55P02"), format!("parameter \"{}\" cannot be changed", known.name)));
        }
    };
    Ok((known.name.to_string(), value))
}

pub fn parse_bool(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" | "t" | "y" => Some(true),
        "off" | "false" | "no" | "0" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// `250`, `250ms`, `5s`, `2min`, `1h`, `1d`.
fn parse_milliseconds(value: &str) -> Option<i64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(value.len());
    let number: i64 = value[..digits].parse().ok()?;
    let factor = match value[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// The largest unit that divides it, as PostgreSQL shows.
fn show_milliseconds(milliseconds: i64) -> String {
    for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
        if milliseconds != 0 && milliseconds % factor == 0 {
            return format!("{}{unit}", milliseconds / factor);
        }
    }
    if milliseconds == 0 { "0".into() } else { format!("{milliseconds}ms") }
}

const _: () = assert!(limits::KEEPALIVE_IDLE.as_secs() == 10 && limits::KEEPALIVE_INTERVAL.as_secs() == 5);
const _: () = assert!(limits::KEEPALIVE_PROBES == 3);

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("alice", &[("TimeZone".into(), "Europe/Berlin".into()), ("bogus".into(), "1".into())])
    }

    #[test]
    fn reset_goes_back_to_what_the_client_said_at_start() {
        let mut settings = settings();
        assert_eq!(settings.time_zone(), chrono_tz::Europe::Berlin);
        settings.set("timezone", Some("utc"), false).unwrap();
        assert_eq!(settings.get("TIMEZONE").unwrap(), "UTC");
        settings.set("all", None, false).unwrap();
        assert_eq!(settings.get("timezone").unwrap(), "Europe/Berlin");
    }

    #[test]
    fn a_rollback_takes_back_set_and_a_commit_only_set_local() {
        let mut settings = settings();
        settings.set("statement_timeout", Some("5s"), false).unwrap();
        settings.set("application_name", Some("x"), true).unwrap();
        settings.end_transaction(true);
        assert_eq!(settings.get("statement_timeout").unwrap(), "5s");
        assert_eq!(settings.get("application_name").unwrap(), "");
        settings.set("statement_timeout", Some("250"), false).unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_millis(250)));
        settings.end_transaction(false);
        assert_eq!(settings.get("statement_timeout").unwrap(), "5s");
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn unknown_names_and_values_are_refused_as_postgresql_refuses_them() {
        let mut settings = settings();
        let message = |result: Result<()>| result.unwrap_err().message().to_string();
        assert_eq!(message(settings.set("nope", Some("1"), false)), "unrecognized configuration parameter \"nope\"");
        assert_eq!(
            message(settings.set("server_version", Some("1"), false)),
            "parameter \"server_version\" cannot be changed"
        );
        assert_eq!(
            message(settings.set("timezone", Some("x"), false)),
            "invalid value for parameter \"TimeZone\": \"x\""
        );
        assert_eq!(message(settings.set("jit", Some("maybe"), false)), "parameter \"jit\" requires a Boolean value");
        settings.set("hypertile.consistent_reads", Some("off"), false).unwrap();
        assert!(!settings.is_on("hypertile.consistent_reads", true));
        assert!(settings.get("hypertile.never_set").is_err());
    }

    #[test]
    fn the_client_is_told_all_reported_settings_once_and_changes_after() {
        let mut settings = settings();
        let first = settings.take_changes();
        assert!(first.contains(&("server_version".into(), SERVER_VERSION.into())));
        assert!(first.contains(&("session_authorization".into(), "alice".into())));
        assert!(settings.take_changes().is_empty());
        settings.set("application_name", Some("psql"), false).unwrap();
        settings.set("work_mem", Some("1MB"), false).unwrap();
        assert_eq!(settings.take_changes(), [("application_name".to_string(), "psql".to_string())]);
    }
}
