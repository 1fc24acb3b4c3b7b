//! `paddock audit`

use clap::{Args, Subcommand};

use super::{audit_list::List, print};
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
}

/// Reads the whole log and checks the seal of each row and its link to the one before. Exit code 1 when something is wrong.
#[derive(Args)]
struct Verify {
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
        }
    }
}

impl Verify {
    async fn execute(self) -> Result<(), Failure> {
        let environment = config::environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let accounts = Database::resolve_to_read(&self.database, environment)?.open().await?;
        let progress = |rows| {
            if rows % 100_000 == 0 {
                tracing::info!(rows, "verified so far");
            }
        };
        match accounts.verify_audit(progress).await? {
            Ok(whole) => print(&format!("the audit log is whole: {} row(s), head {}\n", whole.rows, whole.head)),
            Err(broken) => Err(Failure::Other(anyhow::anyhow!("the audit log is broken: {broken}"))),
        }
    }
}
