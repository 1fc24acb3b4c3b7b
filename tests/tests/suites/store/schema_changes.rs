//! The schema changes under a process that is connected, as during a migration or a restore.

use anyhow::{Result, ensure};
use paddock_accounts::{Error, users::User};
use paddock_store::Error as StoreError;
use paddock_tests::{database::Engine, eventually::eventually, story::story};

use super::{StoreFixture, open};

/// How many reads are in the air at once, so that the pool has several connections.
const READERS: usize = 5;

async fn read(store: &StoreFixture, user: &User) -> Vec<Result<Option<User>, Error>> {
    let reads = (0..READERS).map(|_| store.accounts.users().find(user.id));
    futures_util::future::join_all(reads).await
}

#[tokio::test]
async fn a_changed_schema_fails_no_connection_for_ever() {
    story(async {
        let store = open(Engine::Postgres).await?;
        let user = store.user("ada@example.com", &[]).await?;
        for found in read(&store, &user).await {
            ensure!(found?.is_some());
        }
        store.database.execute("ALTER TABLE users ALTER COLUMN display_name TYPE varchar(100)").await?;
        let mut failures = 0;
        eventually("only new connections", std::time::Duration::from_secs(10), async || {
            for found in read(&store, &user).await {
                match found {
                    Ok(found) => ensure!(found.is_some()),
                    // Nothing else: the API answers 503, and the operator tries again.
                    Err(Error::Store(StoreError::Unavailable(error))) => {
                        failures += 1;
                        anyhow::bail!("{error}");
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            Ok(())
        })
        .await?;
        ensure!(failures > 0, "the story changes no statement");
        Ok(())
    })
    .await;
}
