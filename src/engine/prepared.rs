//! Prepared transactions as they are stored.

use super::Prepared;
use super::snapshot::Ddl;
use crate::error::{Error, Result, codes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Everything that the decision needs, besides the pending segments that carry the transaction's number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub transaction: u64,
    pub owner: String,
    /// Microseconds since 1970 UTC.
    pub prepared_at: i64,
    pub ddl: Ddl,
    /// Ids of the tables that it has rows for.
    #[serde(default)]
    pub tables: BTreeSet<u64>,
}

impl Record {
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers, strings and lists of them become JSON")
    }

    pub fn parse(gid: &str, bytes: &[u8]) -> Result<Record> {
        serde_json::from_slice(bytes).map_err(|e| {
            Error::new(codes::DATA_CORRUPTED, format!("invalid record of prepared transaction \"{gid}\": {e}"))
        })
    }

    pub fn describe(&self, gid: &str) -> Prepared {
        Prepared {
            gid: gid.to_string(),
            owner: self.owner.clone(),
            prepared_at: self.prepared_at,
            transaction: self.transaction,
        }
    }
}

/// `42704`, in PostgreSQL's words.
pub(super) fn unknown_gid(gid: &str) -> Error {
    Error::new(codes::UNDEFINED_OBJECT, format!("prepared transaction with identifier \"{gid}\" does not exist"))
}

/// `42710`, in PostgreSQL's words.
pub(super) fn used_gid(gid: &str) -> Error {
    Error::new(codes::DUPLICATE_OBJECT, format!("transaction identifier \"{gid}\" is already in use"))
}
