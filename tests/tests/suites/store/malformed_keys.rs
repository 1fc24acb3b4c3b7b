//! Malformed keys are refused without the database.

use std::time::Duration;

use anyhow::ensure;
use paddock_accounts::{Accounts, AuthFailure, Error, passwords::PasswordPolicy, types::Role};
use paddock_store::{OpenOptions, clock::SystemClock};
use paddock_tests::{database::Engine, process::free_port, random::SeededRng, story::story};
use secrecy::ExposeSecret as _;

use super::{chain, context, keys::new_key, open, sessions};

const KEYS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_keys_are_refused_without_a_query() {
    story(async {
        let issuer = open(Engine::Sqlite).await?;
        let ada = issuer.user("ada@example.com", &[Role::User]).await?;
        let real = issuer.accounts.credentials().issue(&context(), new_key(ada.id)).await?.token;
        let real = real.plaintext().expose_secret();

        // No server listens there, so that a query would fail.
        let nowhere = format!("postgres://nobody:x@127.0.0.1:{}/nothing", free_port()?);
        let options = OpenOptions::new(nowhere.into());
        let accounts =
            Accounts::open(&options, chain(), sessions()?, PasswordPolicy::default(), std::sync::Arc::new(SystemClock))
                .await?;
        let mut rng = SeededRng::new(10);
        let judged = tokio::time::timeout(Duration::from_mins(1), async {
            for _ in 0..KEYS {
                let key = malformed(real, &mut rng);
                let judged = accounts.authentication().authenticate(&key.as_str().into()).await?;
                ensure!(judged.as_ref().err() == Some(&AuthFailure::Malformed), "{key}: {judged:?}");
            }
            Ok(())
        });
        judged.await??;
        let asked = accounts.authentication().authenticate(&real.into()).await;
        ensure!(
            matches!(asked, Err(Error::Store(paddock_store::Error::Unavailable(_)))),
            "a well-formed key is not looked up: {asked:?}"
        );
        Ok(())
    })
    .await;
}

/// A malformed key: with a changed character, a cut, an additional character, or another alphabet.
fn malformed(real: &str, rng: &mut SeededRng) -> String {
    let at = usize::try_from(rng.below(60)).expect("small") + 4;
    let mut key = real.to_owned();
    match rng.below(4) {
        0 => {
            let other = if &real[at..=at] == "x" { "y" } else { "x" };
            key.replace_range(at..=at, other);
        }
        1 => key.truncate(at),
        2 => key.insert(at, '0'),
        _ => key.replace_range(at..=at, "\u{e9}"),
    }
    key
}
