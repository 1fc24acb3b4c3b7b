//! Resident memory of `paddock api` on SQLite: at rest, and after a load.

use anyhow::Result;
use paddock_tests::{
    database::{Database, Engine},
    paddock::Paddock,
};
use serde::Serialize;

use crate::{
    load::{Load, Script},
    markdown::table,
    plan::Plan,
    setup::{Cores, launch, start_upstream},
};

/// The figures of this section, in KiB.
#[derive(Serialize)]
pub(crate) struct Memory {
    at_rest: u64,
    after_chats: u64,
    after_writes: u64,
    highest: u64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Memory> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let (paddock, admin) = Paddock::seeded(launch(database.url())?.ollama(&upstream.url)).await?;
    let at_rest = paddock.process().memory_kib("VmRSS")?;
    let length = plan.length * plan.rounds;
    let key = admin.create_workload().await?.key().to_owned();
    let chats = Load::new(Script::Chat, &key, &cores.load)?;
    chats.run(&format!("{}/api/chat", paddock.url()), 32, length)?;
    let after_chats = paddock.process().memory_kib("VmRSS")?;
    let writes = Load::new(Script::NewUser, admin.key(), &cores.load)?;
    writes.run(&format!("{}/users", paddock.url()), 16, length)?;
    let after_writes = paddock.process().memory_kib("VmRSS")?;
    Ok(Memory { at_rest, after_chats, after_writes, highest: paddock.process().memory_kib("VmHWM")? })
}

impl Memory {
    pub(crate) fn markdown(&self) -> String {
        let rows = [
            ("at rest", self.at_rest),
            ("after chats of 32 clients", self.after_chats),
            ("after writes of 16 clients", self.after_writes),
            ("highest", self.highest),
        ];
        let rows = rows.map(|(name, kibibytes)| (name.to_owned(), vec![(kibibytes / 1024).to_string()]));
        format!("## Memory\n\n{}", table("`paddock api`, SQLite", &["MiB"], rows))
    }
}
