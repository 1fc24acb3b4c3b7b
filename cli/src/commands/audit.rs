//! `paddock audit`

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use paddock_accounts::{Accounts, CredentialId};
use paddock_api::export::{Encoder, Format};
use paddock_store::{
    audit::{AuditFilter, EventType, KnownHead, Verified},
    clock::Timestamp,
};

use super::{audit_list::List, print, user};
use crate::{
    config::{self, Database},
    failure::Failure,
    logging,
    settings::{CommonSettings, DatabaseSettings},
};

/// Works with the audit log: `list` asks a running server, the others read the database directly; a server may be running.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// List events, newest first, through a running server
    List(List),
    /// Check that no row was changed, removed, inserted or moved, and that none was cut from the end
    Verify(Verify),
    /// Print events, oldest first, as CSV or as one JSON object a line
    Export(Export),
}

/// Reads the whole log and checks the seal of each row, its link to the one before, where the log begins, and that it
/// reaches as far as each head that was kept. Exit code 1 when something is wrong.
#[derive(Args)]
struct Verify {
    /// A file that AUDIT_HEAD_FILE named once, or a line `<position> <hash>` from a log of Paddock; may be given several
    /// times. The present AUDIT_HEAD_FILE is taken by itself where it is there
    #[arg(long = "head", value_name = "FILE")]
    heads: Vec<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Prints events to standard output, oldest first, to where the log ends now. In CSV a text that a spreadsheet would take
/// for a formula has an apostrophe before it, and so has one that begins with an apostrophe.
#[derive(Args)]
struct Export {
    /// csv or ndjson
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    format: Format,
    /// Only events of this type, as user_created
    #[arg(long = "type", alias = "event-type", value_name = "TYPE")]
    event_type: Option<EventType>,
    /// Only events about this user: an id or e-mail address
    #[arg(long, alias = "user-id", value_name = "USER")]
    user: Option<String>,
    /// Only events about this credential
    #[arg(long, alias = "credential-id", value_name = "ID")]
    credential: Option<i64>,
    /// Only what this one did: user:1, key:1, system:seed, anonymous
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Not before this time, in RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Before this time, in RFC 3339
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Audit {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        match self.command {
            AuditCommand::List(list) => list.execute().await,
            AuditCommand::Verify(verify) => verify.execute().await,
            AuditCommand::Export(export) => export.execute().await,
        }
    }
}

impl Verify {
    async fn execute(self) -> Result<(), Failure> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let database = Database::resolve_to_read(&self.database, environment)?;
        // Before the log is read: what they name is there by then.
        let heads = self.heads(database.options.audit_head_file.as_deref())?;
        let accounts = database.open().await?;
        let progress = |rows| {
            if rows % 100_000 == 0 {
                tracing::info!(rows, "verified so far");
            }
        };
        match accounts.audit().verify(&heads, progress).await? {
            Ok(whole) => print(&report(&whole, heads.len())),
            Err(broken) => Err(Failure::Other(anyhow::anyhow!("the audit log is broken: {broken}"))),
        }
    }

    /// Those that were named, which must be there, and the one of the settings.
    fn heads(&self, own: Option<&Path>) -> Result<Vec<KnownHead>, Failure> {
        let own = own.filter(|file| file.exists() && !self.heads.iter().any(|named| named == file));
        self.heads.iter().map(PathBuf::as_path).chain(own).map(known_head).collect()
    }
}

fn known_head(file: &Path) -> Result<KnownHead, Failure> {
    let source = file.display().to_string();
    let text =
        fs::read_to_string(file).map_err(|error| Failure::config(format!("--head: cannot read {source}: {error}")))?;
    let head = text.parse().map_err(|why| Failure::config(format!("--head: what {source} holds {why}")))?;
    Ok(KnownHead { source, head })
}

/// What was found, and what it does not prove.
fn report(whole: &Verified, heads: usize) -> String {
    let mut lines = vec![format!("the audit log is whole: {} row(s), head {}", whole.rows, whole.head)];
    if whole.trimmed > 0 {
        lines.push(format!("{} row(s) before them were removed when their time was over", whole.trimmed));
    }
    lines.push(match whole.beyond {
        Some(beyond) => format!("{beyond} row(s) are newer than the newest of {heads} known head(s)"),
        None => {
            "no head is known: a cut that took the database's own head along would not be seen (--head FILE)".into()
        }
    });
    let outlived = whole.outlived.iter();
    lines.extend(outlived.map(|source| format!("{source} proves nothing any more: its row was removed since")));
    lines.join("\n") + "\n"
}

impl Export {
    async fn execute(self) -> Result<(), Failure> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let accounts = Database::resolve_to_read(&self.database, environment)?.open().await?;
        let user_id = match &self.user {
            Some(user) => Some(user::look_up(&accounts, user).await?),
            None => None,
        };
        let filter = AuditFilter {
            event_type: self.event_type.map(|event_type| event_type.text().to_owned()),
            user_id,
            credential_id: self.credential.map(CredentialId),
            actor: self.actor,
            since: self.since,
            until: self.until,
            before: None,
        };
        match write(&accounts, filter, Encoder::new(self.format)).await {
            // A reader that has gone, as `head` does, has had enough.
            Err(Failure::Other(error)) if is_gone(&error) => Ok(()),
            written => written,
        }
    }
}

async fn write(accounts: &Accounts, filter: AuditFilter, mut encoder: Encoder) -> Result<(), Failure> {
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

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
