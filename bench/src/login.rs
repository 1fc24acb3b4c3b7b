//! Sign-ins per second, as a fraction of the rate of Argon2 alone on as many threads; and many
//! sign-ins at one moment.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use argon2::{Algorithm, Argon2, Params, Version};
use paddock_tests::{
    database::{Database, Engine},
    login_load::sign_in_at_once,
    paddock::{Bootstrap, Paddock},
};
use serde::Serialize;

use crate::{
    load::{Load, Measure, Script, medians},
    markdown::table,
    plan::Plan,
    setup::{cores, launch},
};

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct Login {
    threads: usize,
    connections: u32,
    argon2: Measure,
    paddock: Measure,
    fraction: f64,
    flood: Flood,
}

/// Many sign-ins at one moment.
#[derive(Serialize)]
struct Flood {
    sign_ins: usize,
    /// The number of answers by status.
    answers: BTreeMap<u16, usize>,
    /// `GET /healthz` during the flood.
    health: Measure,
    growth_kib: u64,
}

const FLOOD_SIZE: usize = 300;

pub(crate) async fn measure(plan: &Plan) -> Result<Login> {
    let database = Database::new(Engine::Sqlite).await?;
    let launch = launch(database.url())?;
    let admin = launch.seed()?;
    let paddock = launch.start().await?;
    let load = Load::new(Script::Login { username: &admin.email, password: &admin.password }, "", &[])?;
    let url = format!("{}/auth/login", paddock.url());
    // The number of threads that hash passwords in Paddock. More connections than that keep all of
    // them busy.
    let threads = (cores() / 2).max(1);
    let connections = u32::try_from(threads * 4)?;
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        raw.push(argon2(threads, plan.length)?);
        ours.push(load.run(&url, connections, plan.length)?);
    }
    let (argon2, rate) = (medians(&raw), medians(&ours));
    let flood = flood(&paddock, &admin).await?;
    Ok(Login { threads, connections, fraction: rate.rate / argon2.rate, argon2, paddock: rate, flood })
}

async fn flood(paddock: &Paddock, admin: &Bootstrap) -> Result<Flood> {
    let began = Instant::now();
    let flood = sign_in_at_once(paddock, admin, FLOOD_SIZE).await?;
    ensure!(flood.without_retry_after == 0, "{flood:?}");
    Ok(Flood {
        sign_ins: FLOOD_SIZE,
        answers: flood.answers.iter().map(|(status, count)| (status.as_u16(), *count)).collect(),
        health: Measure::of(flood.health, began.elapsed()),
        growth_kib: flood.growth_kib,
    })
}

/// Argon2id with the parameters of passwords, on `threads` threads.
fn argon2(threads: usize, length: Duration) -> Result<Measure> {
    let began = Instant::now();
    let hashing = (0..threads).map(|_| thread::spawn(move || hash(length)));
    let mut each = Vec::new();
    for hashed in hashing.collect::<Vec<_>>() {
        each.extend(hashed.join().map_err(|_| anyhow!("a thread panicked"))??);
    }
    Ok(Measure::of(each, began.elapsed()))
}

fn hash(length: Duration) -> Result<Vec<Duration>> {
    let params = Params::new(19_456, 2, 1, None).map_err(|error| anyhow!("{error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (began, mut each) = (Instant::now(), Vec::new());
    while began.elapsed() < length {
        let start = Instant::now();
        let mut hash = [0; 32];
        argon2
            .hash_password_into(b"correct horse battery staple", b"sixteen bytes it", &mut hash)
            .map_err(|error| anyhow!("{error}"))?;
        std::hint::black_box(hash);
        each.push(start.elapsed());
    }
    Ok(each)
}

impl Login {
    pub(crate) fn markdown(&self) -> String {
        let row = |name: &str, m: &Measure| {
            (
                name.to_owned(),
                vec![format!("{:.1}", m.rate), format!("{:.1}", m.p50 / 1e3), format!("{:.1}", m.p99 / 1e3)],
            )
        };
        let rows = [row("Argon2 alone", &self.argon2), row("POST /auth/login", &self.paddock)];
        format!(
            "## Login\n\n{}\n{} thread(s) hash; {} connections sign in. Paddock signs in at {:.2} times the rate of Argon2 alone.\n\n\
             Of {} sign-ins at one moment: {}. /healthz meanwhile took {:.1} ms (p50) and {:.1} ms (p99), and the process grew by \
             {} MiB at the most.\n",
            table("", &["per second", "p50 ms", "p99 ms"], rows),
            self.threads,
            self.connections,
            self.fraction,
            self.flood.sign_ins,
            self.flood
                .answers
                .iter()
                .map(|(status, count)| format!("{count} x {status}"))
                .collect::<Vec<_>>()
                .join(", "),
            self.flood.health.p50 / 1e3,
            self.flood.health.p99 / 1e3,
            self.flood.growth_kib / 1024,
        )
    }
}
