//! Resident memory of `paddock api` on SQLite: at rest, and when it has served.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::load::{Load, Script};
use super::report::table;
use super::{Cores, Plan, launch, start_upstream};
use crate::database::{Database, Engine};
use crate::paddock::Paddock;

/// What was found, in KiB.
#[derive(Serialize)]
pub(super) struct Memory {
    at_rest: u64,
    after_chats: u64,
    after_writes: u64,
    highest: u64,
}

pub(super) async fn measure(plan: &Plan, cores: &Cores) -> Result<Memory> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let (paddock, admin) = Paddock::seeded(launch(database.url())?.ollama(&upstream.url)).await?;
    let at_rest = resident(&paddock, "VmRSS:")?;
    let key = admin.create_workload().await?.key().to_owned();
    let chats = Load::new(Script::Chat, &key, &cores.load)?;
    chats.run(&format!("{}/api/chat", paddock.url()), 32, plan.length)?;
    let after_chats = resident(&paddock, "VmRSS:")?;
    let writes = Load::new(Script::NewUser, admin.key(), &cores.load)?;
    writes.run(&format!("{}/users", paddock.url()), 16, plan.length)?;
    let after_writes = resident(&paddock, "VmRSS:")?;
    Ok(Memory { at_rest, after_chats, after_writes, highest: resident(&paddock, "VmHWM:")? })
}

fn resident(paddock: &Paddock, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", paddock.process().id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| status.clone())?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

impl Memory {
    pub(super) fn markdown(&self) -> String {
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
