//! `paddock audit`

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use paddock_accounts::{Accounts, CredentialId};
use paddock_api::{AuditEncoder, ExportFormat};
use paddock_store::{
    audit::{AuditFilter, EventType, KnownHead, Verified},
    clock::Timestamp,
};

use super::{audit_list::List, print, user};
use crate::{
    config::{self, Database},
    error::Error,
    logging,
    settings::{CommonSettings, DatabaseSettings},
};

/// List, verify and export the audit log.
///
/// `list` asks a running server; `verify` and `export` read the database directly, also while a
/// server runs.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    List(List),
    Verify(Verify),
    Export(Export),
}

/// Check that no row was changed, removed, inserted or moved, and that the newest rows are still
/// there.
///
/// Reads the whole log. Checks the MAC of each row, its link to the row before it, the first row,
/// and that the log contains every known head. Exits with 1 if the log is broken.
#[derive(Args)]
struct Verify {
    /// A head file written earlier (AUDIT_HEAD_FILE), or a file with a line `<position> <hash>`
    /// from Paddock's log; can be repeated. The current AUDIT_HEAD_FILE is checked too, if it
    /// exists
    #[arg(long = "head", value_name = "FILE")]
    heads: Vec<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Print events, oldest first, as CSV or as one JSON object per line.
///
/// Stops at the event that is the newest when the command starts. In CSV, a text that a spreadsheet
/// would take for a formula, or that begins with an apostrophe, gets an apostrophe in front.
#[derive(Args)]
struct Export {
    /// csv or ndjson
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    format: ExportFormat,
    /// Only events of this type, such as user_created
    #[arg(long = "type", alias = "event-type", value_name = "TYPE")]
    event_type: Option<EventType>,
    /// Only events about this user: an id or e-mail address
    #[arg(long, alias = "user-id", value_name = "USER")]
    user: Option<String>,
    /// Only events about this credential
    #[arg(long, alias = "credential-id", value_name = "ID")]
    credential: Option<i64>,
    /// Only actions of this actor: user:1, key:1, system:seed, anonymous
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Only events at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only events before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Audit {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        match self.command {
            AuditCommand::List(list) => list.execute().await,
            AuditCommand::Verify(verify) => verify.execute().await,
            AuditCommand::Export(export) => export.execute().await,
        }
    }
}

impl Verify {
    async fn execute(self) -> Result<(), Error> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let database = Database::resolve_to_read(&self.database, environment)?;
        // Heads are read before the log, so that the log already contains the rows that they name.
        let heads = self.heads(database.options.audit_head_file.as_deref())?;
        let accounts = database.open().await?;
        let progress = |rows| {
            if rows % 100_000 == 0 {
                tracing::info!(rows, "verifying the audit log");
            }
        };
        match accounts.audit().verify(&heads, progress).await? {
            Ok(verified) => print(&report(&verified, heads.len())),
            Err(error) => Err(Error::Other(anyhow::anyhow!("the audit log is broken: {error}"))),
        }
    }

    /// The heads of `--head`, whose files must exist, and of AUDIT_HEAD_FILE, if that file exists.
    fn heads(&self, current: Option<&Path>) -> Result<Vec<KnownHead>, Error> {
        let current = current.filter(|file| file.exists() && !self.heads.iter().any(|given| given == file));
        self.heads.iter().map(PathBuf::as_path).chain(current).map(read_head).collect()
    }
}

fn read_head(file: &Path) -> Result<KnownHead, Error> {
    let source = file.display().to_string();
    let text =
        fs::read_to_string(file).map_err(|error| Error::config(format!("--head: cannot read {source}: {error}")))?;
    let head = text.parse().map_err(|why| Error::config(format!("--head: the content of {source} {why}")))?;
    Ok(KnownHead { source, head })
}

/// The result of a successful verification, and what it does not prove.
fn report(verified: &Verified, heads: usize) -> String {
    let mut lines = vec![format!("the audit log is whole: {}, head {}", counted(verified.rows, "row"), verified.head)];
    if verified.trimmed > 0 {
        lines.push(format!("{} before them removed by retention", counted(verified.trimmed, "row")));
    }
    lines.push(match verified.beyond {
        Some(beyond) => {
            let verb = if beyond == 1 { "is" } else { "are" };
            let heads = counted(i64::try_from(heads).unwrap_or(i64::MAX), "known head");
            format!("{heads} checked; {} {verb} newer than the newest of them", counted(beyond, "row"))
        }
        None => {
            "no head is known: a cut that took the database's own head along would not be seen (--head FILE)".into()
        }
    });
    let outlived = verified.outlived.iter();
    lines.extend(outlived.map(|source| format!("{source} proves nothing any more: its row was removed since")));
    lines.join("\n") + "\n"
}

/// Returns a number with its noun in the singular or plural, such as `2 rows`.
fn counted(count: i64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl Export {
    async fn execute(self) -> Result<(), Error> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let accounts = Database::resolve_to_read(&self.database, environment)?.open().await?;
        let user_id = match &self.user {
            Some(user) => Some(user::find_user_id(&accounts, user).await?),
            None => None,
        };
        let filter = AuditFilter {
            event_types: self.event_type.map(|event_type| vec![event_type]),
            user_id,
            credential_id: self.credential.map(CredentialId),
            actor: self.actor,
            since: self.since,
            until: self.until,
            ..AuditFilter::default()
        };
        match write(&accounts, filter, AuditEncoder::new(self.format)).await {
            // The reader, such as `head`, closed the pipe.
            Err(Error::Other(error)) if is_broken_pipe(&error) => Ok(()),
            result => result,
        }
    }
}

async fn write(accounts: &Accounts, filter: AuditFilter, mut encoder: AuditEncoder) -> Result<(), Error> {
    let mut export = accounts.audit().export(filter).await?;
    let mut out = io::stdout();
    loop {
        out.write_all(&encoder.take()?)?;
        let rows = export.next_page(|row| encoder.push(row)).await?;
        if rows.is_empty() {
            return Ok(out.flush()?);
        }
        rows.into_iter().collect::<io::Result<()>>()?;
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
