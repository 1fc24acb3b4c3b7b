//! `paddock migrate`

use std::time::Duration;

use clap::Args;
use paddock_store::OpenOptions;

use super::print;
use crate::{
    config::{environment, open_options},
    error::Error,
    logging,
    settings::{CommonSettings, DatabaseSettings},
    value_parsers::parse_duration,
};

/// Migrate the database to the schema of this executable.
///
/// Creates a missing SQLite file. Safe to run concurrently, and to run again after an interruption:
/// a second migration of the same database waits for the first.
#[derive(Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    /// How long to wait for another migration of the same database
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    lock_timeout: Duration,
}

impl Migrate {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let environment = environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let options =
            OpenOptions { migration_lock_timeout: self.lock_timeout, ..open_options(&self.database, environment)? };
        let ran = paddock_store::migrate(&options).await?;
        print(&match ran {
            0 => "the database is up to date\n".to_owned(),
            n => format!("the database is up to date; {n} migration(s) ran\n"),
        })
    }
}
