//! Global transaction ids: who prepared what.
//!
//! `hypertile-<cluster>-<incarnation>-<transaction>-<participant>`. The cluster (a UUID) tells ours from other
//! clusters' and other programs' prepared transactions. The incarnation, which grows with every opening of the
//! catalog, tells transactions of a process that has died from living ones, and keeps numbers from coming back.
//! The participant is part of it because the databases of one stock PostgreSQL server share one space of gids.
//!
//! PostgreSQL takes fewer than 200 bytes: 10 + 36 + 20 + 20 + 63 and three hyphens stay below.

use std::fmt;

/// One distributed transaction of one access node; participants' gids follow by [`Gid::of`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gid {
    pub cluster: String,
    pub incarnation: u64,
    pub number: u64,
}

const PREFIX: &str = "hypertile-";

/// Identifies local transactions of a database that has never had a data node.
pub const NO_CLUSTER: &str = "local";

const UUID_BYTES: usize = 36;

impl Gid {
    /// The gid under which `participant` prepares.
    pub fn of(&self, participant: &str) -> String {
        format!("{self}-{participant}")
    }

    /// Enough to tell the transactions of one cluster apart.
    pub fn short(&self) -> impl fmt::Display {
        fmt::from_fn(|f| write!(f, "{}-{}", self.incarnation, self.number))
    }

    /// Takes a participant's gid apart; `None` if it is not one of `cluster`'s.
    pub fn parse(text: &str, cluster: &str) -> Option<(Gid, String)> {
        Gid::parse_any(text).filter(|(gid, _)| gid.cluster == cluster)
    }

    /// The same for the gid of whatever cluster.
    pub fn parse_any(text: &str) -> Option<(Gid, String)> {
        let text = text.strip_prefix(PREFIX)?;
        let length = if text.starts_with(NO_CLUSTER) { NO_CLUSTER.len() } else { UUID_BYTES };
        let (cluster, rest) = text.split_at_checked(length)?;
        let rest = rest.strip_prefix('-')?;
        let mut parts = rest.splitn(3, '-');
        let (incarnation, number, participant) = (parts.next()?, parts.next()?, parts.next()?);
        let gid = Gid { cluster: cluster.into(), incarnation: decimal(incarnation)?, number: decimal(number)? };
        Some((gid, participant.into()))
    }
}

/// Digits as we write them; `+7` and `007` are somebody else's.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// The transaction as a whole: what decisions are filed under.
impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}-{}", self.cluster, self.incarnation, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";

    #[test]
    fn a_gid_comes_apart_into_what_it_was_made_of() {
        let gid = Gid { cluster: CLUSTER.into(), incarnation: 3, number: 12 };
        for participant in ["", "dn1", "a-b-7", "ü \"x\""] {
            assert_eq!(Gid::parse(&gid.of(participant), CLUSTER), Some((gid.clone(), participant.into())));
        }
        assert_eq!(gid.to_string(), format!("hypertile-{CLUSTER}-3-12"));
    }

    #[test]
    fn a_gid_says_whose_it_is() {
        for cluster in [CLUSTER, NO_CLUSTER] {
            let gid = Gid { cluster: cluster.into(), incarnation: 3, number: 12 };
            assert_eq!(Gid::parse_any(&gid.of("dn1")), Some((gid, "dn1".into())));
        }
        assert_eq!(Gid::parse_any("hypertile-ü"), None);
    }

    #[test]
    fn prepared_transactions_of_others_are_not_ours() {
        let other = "00000000-8b86-d011-b42d-00c04fc964ff";
        let gid = Gid { cluster: other.into(), incarnation: 3, number: 12 };
        for text in [
            gid.of("dn1"),
            "ts-1-567-16389-10".into(),
            format!("hypertile-{CLUSTER}"),
            format!("hypertile-{CLUSTER}-1"),
            format!("hypertile-{CLUSTER}-1-2"),
            format!("hypertile-{CLUSTER}-01-2-dn1"),
            format!("hypertile-{CLUSTER}-x-2-dn1"),
            format!("hypertile-{CLUSTER}8-1-2-dn1"),
        ] {
            assert_eq!(Gid::parse(&text, CLUSTER), None, "{text}");
        }
    }

    #[test]
    fn the_longest_gid_fits_into_stock_postgresql() {
        let gid = Gid { cluster: CLUSTER.into(), incarnation: u64::MAX, number: u64::MAX };
        assert!(gid.of(&"n".repeat(crate::limits::IDENTIFIER_BYTES_MAX)).len() < 200);
    }
}
