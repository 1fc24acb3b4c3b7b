//! `paddock migrate`

use clap::Args;
use paddock_store::OpenOptions;

use super::print;
use crate::{
    config::{database_url, environment},
    error::Error,
    logging,
    settings::{CommonSettings, DatabaseSettings},
};

/// Migrate the database to the schema of this executable.
///
/// Creates a missing SQLite file. Safe to run concurrently, and to run again after an interruption.
#[derive(Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Migrate {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let environment = environment(&self.common)?;
        logging::init(&self.common, environment)?;
        let options = OpenOptions {
            max_connections: self.database.db_max_connections,
            ..OpenOptions::new(database_url(&self.database, environment)?)
        };
        let ran = paddock_store::migrate(&options).await?;
        print(&match ran {
            0 => "the database is up to date\n".to_owned(),
            n => format!("the database is up to date; {n} migration(s) ran\n"),
        })
    }
}
