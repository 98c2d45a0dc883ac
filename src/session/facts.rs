//! What a session's functions may ask of it, shared with the functions themselves.

use super::settings::Settings;
use crate::error::Result;
use crate::host::Host;
use crate::sql::functions::Environment;
use crate::wire::Startup;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub struct Facts {
    pub host: Host,
    pub database: String,
    pub user: String,
    pub process_id: i32,
    settings: Mutex<Settings>,
    transaction_time: AtomicI64,
    statement_time: AtomicI64,
}

impl Facts {
    pub fn new(host: &Host, startup: &Startup) -> Facts {
        let now = host.utc_micros();
        Facts {
            host: host.clone(),
            database: startup.database.clone(),
            user: startup.user.clone(),
            process_id: startup.process_id,
            settings: Mutex::new(Settings::new(&startup.user, &startup.parameters)),
            transaction_time: AtomicI64::new(now),
            statement_time: AtomicI64::new(now),
        }
    }

    /// Never held across an await.
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin_transaction(&self) {
        self.transaction_time.store(self.host.utc_micros(), Ordering::Relaxed);
    }

    pub fn begin_statement(&self) {
        self.statement_time.store(self.host.utc_micros(), Ordering::Relaxed);
    }
}

impl Environment for Facts {
    fn database(&self) -> String {
        self.database.clone()
    }

    fn user(&self) -> String {
        self.user.clone()
    }

    fn process_id(&self) -> i32 {
        self.process_id
    }

    fn transaction_time(&self) -> i64 {
        self.transaction_time.load(Ordering::Relaxed)
    }

    fn statement_time(&self) -> i64 {
        self.statement_time.load(Ordering::Relaxed)
    }

    fn clock_time(&self) -> i64 {
        self.host.utc_micros()
    }

    fn random_bytes(&self, bytes: &mut [u8]) {
        self.host.random_bytes(bytes);
    }

    fn time_zone(&self) -> chrono_tz::Tz {
        self.settings().time_zone()
    }

    fn setting(&self, name: &str) -> Result<String> {
        self.settings().get(name).map(str::to_string)
    }

    fn set_setting(&self, name: &str, value: &str, local: bool) -> Result<String> {
        let mut settings = self.settings();
        settings.set(name, Some(value), local)?;
        settings.get(name).map(str::to_string)
    }
}
