//! `paddock seed`

mod destination;

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use paddock_accounts::{
    Accounts,
    bootstrap::{KEY_LABEL, Seeded},
};
use paddock_store::context::AuditContext as By;
use secrecy::ExposeSecret as _;

use crate::{
    config::{self, Database},
    failure::Failure,
    logging,
    settings::{CommonSettings, DatabaseSettings, SeedSettings},
};
use destination::Destination;

/// Makes sure that there is an admin: where nobody can administer, admin@example.com becomes one, with a password and a key
/// labelled `bootstrap`. What was made is told once, as BOOTSTRAP_ADMIN_EMAIL=, BOOTSTRAP_ADMIN_PASSWORD= and
/// BOOTSTRAP_ADMIN_API_KEY=: on standard output, in a file, or in a Kubernetes Secret. Running it twice changes nothing and
/// tells nothing secret.
#[derive(Args)]
pub(crate) struct Seed {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    admin: SeedSettings,
    #[command(flatten)]
    destination: DestinationSettings,
}

/// Where to tell what was made, instead of on standard output.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What was made")]
struct DestinationSettings {
    /// Write it to this file, which only its owner can read
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Write it to this Kubernetes Secret, as namespace/name
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "output_file")]
    secret: Option<String>,
    /// The kubeconfig context of --secret; in a pod unset: the pod's own service account
    #[arg(long, value_name = "NAME", requires = "secret")]
    context: Option<String>,
}

impl Seed {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let database = Database::resolve(&self.database, environment)?;
        let seed = config::seed(&self.admin)?;
        // Whether it can be told is known before there is anything to tell.
        let destination = self.destination.open().await?;
        let accounts = database
            .open()
            .await
            .map_err(|failure| failure.or_ask_the_server("`paddock user create EMAIL --admin` makes an admin"))?;
        let seeded = accounts.seed(&seed).await?;
        let told = tell_or_undo(&destination, &accounts, &seeded).await;
        accounts.close().await;
        told
    }
}

impl DestinationSettings {
    async fn open(&self) -> Result<Destination, Failure> {
        match (&self.output_file, &self.secret) {
            (Some(path), _) => Destination::file(path),
            (None, Some(secret)) => Destination::secret(secret, self.context.as_deref()).await,
            (None, None) => Ok(Destination::Stdout),
        }
    }
}

/// Tells on standard output what was made.
pub(crate) async fn tell_here(accounts: &Accounts, seeded: &Seeded) -> Result<(), Failure> {
    tell_or_undo(&Destination::Stdout, accounts, seeded).await
}

async fn tell_or_undo(destination: &Destination, accounts: &Accounts, seeded: &Seeded) -> Result<(), Failure> {
    match tell(destination, seeded).await {
        Ok(()) => Ok(()),
        Err(failure) => Err(undo(accounts, seeded, &failure).await),
    }
}

/// Tells what was made; where nothing was, what was told before stays as it is.
async fn tell(destination: &Destination, seeded: &Seeded) -> Result<(), Failure> {
    let pairs = pairs(seeded);
    if pairs.is_empty() { Ok(()) } else { destination.write(&pairs).await }
}

/// What nobody was told must not stay in force: ends the key, and says what to do about the password.
async fn undo(accounts: &Accounts, seeded: &Seeded, failure: &Failure) -> Failure {
    let mut rest = Vec::new();
    if let Some(key) = &seeded.key {
        match revoke(accounts, key.key_id()).await {
            Ok(()) => rest.push("the key that was made is revoked; run the command again for another".to_owned()),
            Err(error) => rest.push(format!(
                "the key that was made, labelled {KEY_LABEL}, is live and could not be revoked ({error}): revoke it with `paddock \
                 key revoke`"
            )),
        }
    }
    if seeded.password.is_some() {
        rest.push("a password was set that nobody was told, unless you chose it: ADMIN_BOOTSTRAP_PASSWORD_FORCE=1 sets it anew".to_owned());
    }
    anyhow::anyhow!("{failure}; {}", rest.join("; ")).into()
}

async fn revoke(accounts: &Accounts, key_id: &str) -> Result<(), paddock_accounts::Error> {
    let keys = accounts.credentials().list(None).await?;
    let made = keys.iter().find(|key| key.key_id.as_deref() == Some(key_id));
    match made {
        Some(key) => accounts.credentials().revoke(&By::system("seed"), key.id).await.map(|_| ()),
        None => Ok(()),
    }
}

/// What was made, by name; nothing where nothing was.
fn pairs(seeded: &Seeded) -> Vec<(String, String)> {
    let password = seeded.password.as_ref().map(|password| ("PASSWORD", password.expose_secret().to_owned()));
    let key = seeded.key.as_ref().map(|key| ("API_KEY", key.plaintext().expose_secret().to_owned()));
    let email = (password.is_some() || key.is_some()).then(|| ("EMAIL", seeded.email.to_string()));
    let made = [email, password, key].into_iter().flatten();
    made.map(|(name, value)| (format!("BOOTSTRAP_ADMIN_{name}"), value)).collect()
}

/// One `NAME=value` a line.
fn text(pairs: &[(String, String)]) -> String {
    pairs.iter().flat_map(|(name, value)| [name, "=", value, "\n"]).collect()
}

/// On standard output. A reader that has gone is a failure here: nobody was told.
fn show(pairs: &[(String, String)]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text(pairs).as_bytes()).and_then(|()| out.flush());
    Ok(written.context("cannot write to standard output")?)
}
