//! CREATE DATABASE and DROP DATABASE: the only statements about the server and not about one database of it.

use crate::error::{Error, Notice, Result, codes};
use async_trait::async_trait;

/// The databases of a server, as its sessions use them.
#[async_trait]
pub trait Databases: Send + Sync {
    /// Durable when it returns. Errors: `42P04` `database "x" already exists`.
    async fn create(&self, name: &str) -> Result<()>;

    /// Errors: `3D000` unknown, `55006` in use.
    async fn drop(&self, name: &str) -> Result<()>;

    /// Sorted by name.
    fn list(&self) -> Vec<String>;
}

/// Returns the command tag. Errors: `25001` in a block, and those of [`Databases`].
pub async fn create(databases: &dyn Databases, in_block: bool, name: &str) -> Result<String> {
    refuse_in_block("CREATE DATABASE", in_block)?;
    databases.create(name).await?;
    Ok("CREATE DATABASE".into())
}

/// Returns the command tag, and a notice where IF EXISTS made the difference.
pub async fn drop(
    databases: &dyn Databases,
    in_block: bool,
    current: &str,
    name: &str,
    if_exists: bool,
) -> Result<(String, Option<Notice>)> {
    refuse_in_block("DROP DATABASE", in_block)?;
    if name == current {
        return Err(Error::new(codes::OBJECT_IN_USE, "cannot drop the currently open database"));
    }
    let notice = match databases.drop(name).await {
        Ok(()) => None,
        Err(error) if if_exists && error.code() == codes::INVALID_CATALOG_NAME => {
            Some(Notice::notice(codes::SUCCESS, format!("database \"{name}\" does not exist, skipping")))
        }
        Err(error) => return Err(error),
    };
    Ok(("DROP DATABASE".into(), notice))
}

fn refuse_in_block(command: &str, in_block: bool) -> Result<()> {
    match in_block {
        true => Err(Error::new(codes::ACTIVE_TRANSACTION, format!("{command} cannot run inside a transaction block"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Fake(Mutex<BTreeSet<String>>);

    #[async_trait]
    impl Databases for Fake {
        async fn create(&self, name: &str) -> Result<()> {
            match self.0.lock().unwrap().insert(name.to_string()) {
                true => Ok(()),
                false => Err(Error::new(codes::DUPLICATE_DATABASE, format!("database \"{name}\" already exists"))),
            }
        }

        async fn drop(&self, name: &str) -> Result<()> {
            match self.0.lock().unwrap().remove(name) {
                true => Ok(()),
                false => Err(Error::new(codes::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))),
            }
        }

        fn list(&self) -> Vec<String> {
            self.0.lock().unwrap().iter().cloned().collect()
        }
    }

    #[test]
    fn databases_come_and_go_outside_of_blocks_only() {
        let fake = Fake::default();
        futures::executor::block_on(async {
            assert_eq!(create(&fake, false, "a").await.unwrap(), "CREATE DATABASE");
            assert_eq!(create(&fake, false, "a").await.unwrap_err().code(), codes::DUPLICATE_DATABASE);
            assert_eq!(create(&fake, true, "b").await.unwrap_err().code(), codes::ACTIVE_TRANSACTION);
            assert_eq!(drop(&fake, false, "a", "a", true).await.unwrap_err().code(), codes::OBJECT_IN_USE);
            assert!(drop(&fake, false, "x", "a", false).await.unwrap().1.is_none());
            let missing = drop(&fake, false, "x", "a", false).await.unwrap_err();
            assert_eq!(missing.code(), codes::INVALID_CATALOG_NAME);
            assert!(drop(&fake, false, "x", "a", true).await.unwrap().1.is_some());
        });
    }
}
