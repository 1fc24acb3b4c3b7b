//! `paddock seed`

mod destination;

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use paddock_accounts::{
    Accounts,
    bootstrap::{KEY_LABEL, Seeded},
};
use paddock_store::context::AuditContext;
use secrecy::ExposeSecret as _;

use self::destination::Destination;
use crate::{
    config::{self, Database},
    error::Error,
    logging,
    settings::{CommonSettings, DatabaseSettings, SeedSettings},
};

/// Make sure that there is an admin, and print new secrets once.
///
/// If no user can administer, admin@example.com becomes an admin, with a password and a key
/// labelled `bootstrap`. New secrets are written once, as BOOTSTRAP_ADMIN_EMAIL=,
/// BOOTSTRAP_ADMIN_PASSWORD= and BOOTSTRAP_ADMIN_API_KEY=: to standard output, a file, or a
/// Kubernetes Secret. A password that was given is not repeated. A second run changes nothing and
/// prints no secret.
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

/// Where to write the new secrets instead of standard output.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Destination")]
struct DestinationSettings {
    /// Write to this file, readable only by its owner
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Write to this Kubernetes Secret, as namespace/name
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "output_file")]
    secret: Option<String>,
    /// The kubeconfig context for --secret [default in a pod: the pod's service account]
    #[arg(long, value_name = "NAME", requires = "secret")]
    context: Option<String>,
}

impl Seed {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let database = Database::resolve(&self.database, environment)?;
        let seed = config::seed(&self.admin)?;
        // Checked before anything is created, so that no secret is lost.
        let destination = self.destination.open().await?;
        let accounts = database
            .open()
            .await
            .map_err(|error| error.with_server_hint("`paddock user create EMAIL --admin` makes an admin"))?;
        let seeded = accounts.seed(&seed).await?;
        let written = write_or_revoke(&destination, &accounts, &seeded).await;
        accounts.close().await;
        written
    }
}

impl DestinationSettings {
    async fn open(&self) -> Result<Destination, Error> {
        match (&self.output_file, &self.secret) {
            (Some(path), _) => Destination::file(path),
            (None, Some(secret)) => Destination::secret(secret, self.context.as_deref()).await,
            (None, None) => Ok(Destination::Stdout),
        }
    }
}

/// Writes the new secrets to standard output. Revokes the new key if that fails.
pub(crate) async fn print_or_revoke(accounts: &Accounts, seeded: &Seeded) -> Result<(), Error> {
    write_or_revoke(&Destination::Stdout, accounts, seeded).await
}

async fn write_or_revoke(destination: &Destination, accounts: &Accounts, seeded: &Seeded) -> Result<(), Error> {
    match write(destination, seeded).await {
        Ok(()) => Ok(()),
        Err(error) => Err(revoke_unwritten(accounts, seeded, &error).await),
    }
}

/// Writes the new secrets. Leaves the destination as it is if there are none.
async fn write(destination: &Destination, seeded: &Seeded) -> Result<(), Error> {
    let pairs = pairs(seeded);
    if pairs.is_empty() { Ok(()) } else { destination.write(&pairs).await }
}

/// Revokes the key that could not be written, because its text is lost. The returned error says
/// so, and how to replace the password.
async fn revoke_unwritten(accounts: &Accounts, seeded: &Seeded, error: &Error) -> Error {
    let mut notes = Vec::new();
    if let Some(key) = &seeded.key {
        match revoke(accounts, key.key_id()).await {
            Ok(()) => notes.push("the key that was made is revoked; run the command again for another".to_owned()),
            Err(cause) => notes.push(format!(
                "the key that was made, labelled {KEY_LABEL}, is live and could not be revoked ({cause}): revoke it with `paddock \
                 key revoke`"
            )),
        }
    }
    if seeded.password.is_some() {
        notes.push("nobody knows the password that was made: ADMIN_BOOTSTRAP_PASSWORD_FORCE=1 sets another".to_owned());
    }
    anyhow::anyhow!("{error}; {}", notes.join("; ")).into()
}

async fn revoke(accounts: &Accounts, key_id: &str) -> Result<(), paddock_accounts::Error> {
    let keys = accounts.credentials().list(None).await?;
    let made = keys.iter().find(|key| key.key_id.as_deref() == Some(key_id));
    match made {
        Some(key) => accounts.credentials().revoke(&AuditContext::system("seed"), key.id).await.map(|_| ()),
        None => Ok(()),
    }
}

/// The new secrets as names and values, without a given password. Empty if nothing was created.
fn pairs(seeded: &Seeded) -> Vec<(String, String)> {
    let password = seeded.password.as_ref().map(|password| ("PASSWORD", password.expose_secret().to_owned()));
    let key = seeded.key.as_ref().map(|key| ("API_KEY", key.plaintext().expose_secret().to_owned()));
    let email = (password.is_some() || key.is_some()).then(|| ("EMAIL", seeded.email.to_string()));
    let made = [email, password, key].into_iter().flatten();
    made.map(|(name, value)| (format!("BOOTSTRAP_ADMIN_{name}"), value)).collect()
}

/// One `NAME=value` per line.
fn env_lines(pairs: &[(String, String)]) -> String {
    pairs.iter().flat_map(|(name, value)| [name, "=", value, "\n"]).collect()
}

/// Writes to standard output. A closed pipe is an error here: the secrets would be lost.
fn write_to_stdout(pairs: &[(String, String)]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(env_lines(pairs).as_bytes()).and_then(|()| out.flush());
    Ok(written.context("cannot write to standard output")?)
}
