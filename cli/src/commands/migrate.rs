//! `paddock migrate`

use clap::Args;
use paddock_store::OpenOptions;

use super::print;
use crate::{
    config::{database_url, environment},
    failure::Failure,
    logging,
    settings::{CommonSettings, DatabaseSettings},
};

/// Brings the database to this executable's schema, creating a SQLite file that is not there. Several at once wait for each
/// other; run again after an interruption.
#[derive(Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Migrate {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
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
