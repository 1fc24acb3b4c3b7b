//! `paddock seed`

use clap::Args;
use paddock_accounts::seed::Seeded;
use secrecy::ExposeSecret as _;

use super::print;
use crate::{
    config::{self, Database},
    failure::Failure,
    logging,
    settings::{CommonSettings, DatabaseSettings, SeedSettings},
};

/// Makes sure that there is an admin with a password and a live key labelled `bootstrap`. What was made is printed once, as
/// BOOTSTRAP_ADMIN_EMAIL=, BOOTSTRAP_ADMIN_PASSWORD= and BOOTSTRAP_ADMIN_API_KEY=; running it twice changes nothing and prints
/// nothing secret.
#[derive(Args)]
pub(crate) struct Seed {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    admin: SeedSettings,
}

impl Seed {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let database = Database::resolve(&self.database, environment)?;
        let seed = config::seed(&self.admin)?;
        let accounts = database.open().await?;
        let seeded = accounts.seed(&seed).await?;
        accounts.close().await;
        print(&lines(&seeded))
    }
}

/// What was made, one `NAME=value` a line; nothing where nothing was.
pub(crate) fn lines(seeded: &Seeded) -> String {
    let password = seeded.password.as_ref().map(|password| format!("PASSWORD={}", password.expose_secret()));
    let key = seeded.key.as_ref().map(|key| format!("API_KEY={}", key.plaintext().expose_secret()));
    let email = (password.is_some() || key.is_some()).then(|| format!("EMAIL={}", seeded.email));
    let made = [email, password, key].into_iter().flatten();
    made.flat_map(|pair| ["BOOTSTRAP_ADMIN_".to_owned(), pair, "\n".to_owned()]).collect()
}
