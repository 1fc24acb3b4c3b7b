//! File descriptors: how many this process may have open, and how many connections that leaves room for.

use paddock_store::OpenOptions;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    failure::Failure,
    settings::{DatabaseSettings, LEAST_PLACES, ServeSettings},
};

/// The most connections by default: each may hold a head of 128 KiB.
const MOST: u64 = 4096;
/// What is open beside connections and the database: listeners, the spool, Redis, Kubernetes, a collector, whoever probes,
/// and those who are told that there is no place.
const BESIDE: u64 = 100;
/// A connection to the gateway, and the one to Ollama that serves it.
const EACH: u64 = 2;
/// A SQLite connection: the database, its write-ahead log and that one's index.
const EACH_OF_SQLITE: u64 = 3;

/// Takes as many as the hard limit allows. The soft one is lower for the sake of programs that use `select`, which we do not.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, limit = current, "file descriptors: the soft limit cannot be raised");
        return;
    }
    tracing::info!(limit = maximum, "file descriptors");
}

/// The most connections to the API: as set, if they fit; otherwise as many as do.
pub(crate) fn max_connections(
    serve: &ServeSettings,
    database: &DatabaseSettings,
    options: &OpenOptions,
) -> Result<usize, Failure> {
    let each = if options.sqlite_file()?.is_some() { EACH_OF_SQLITE } else { 1 };
    let beside = BESIDE + each * u64::from(database.db_max_connections);
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    within(limit, beside, serve.max_connections).map(|most| usize::try_from(most).unwrap_or(usize::MAX))
}

fn within(limit: u64, beside: u64, wanted: Option<u32>) -> Result<u32, Failure> {
    let room = limit.saturating_sub(beside) / EACH;
    let needed = |connections: u32| beside + EACH * u64::from(connections);
    if room < LEAST_PLACES.into() {
        return Err(Failure::config(format!(
            "the hard limit of file descriptors is {limit}, and at least {} are needed: raise it ({HOW}), or set \
             DB_MAX_CONNECTIONS to a lower number",
            needed(LEAST_PLACES)
        )));
    }
    match wanted {
        Some(wanted) if u64::from(wanted) > room => Err(Failure::config(format!(
            "MAX_CONNECTIONS {wanted} needs {} file descriptors, and their hard limit is {limit}: set it to {room} at most, or \
             raise the limit ({HOW})",
            needed(wanted)
        ))),
        Some(wanted) => Ok(wanted),
        None => Ok(u32::try_from(room.min(MOST)).unwrap_or(u32::MAX)),
    }
}

const HOW: &str = "`ulimit -Hn`, LimitNOFILE= of systemd, --ulimit nofile= of a container";

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::usual(1024, None, Some(452))]
    #[case::plenty(1_048_576, None, Some(4096))]
    #[case::no_limit(u64::MAX, None, Some(4096))]
    #[case::set(1024, Some(452), Some(452))]
    #[case::set_high(1_048_576, Some(100_000), Some(100_000))]
    #[case::set_too_high(1024, Some(453), None)]
    #[case::too_few(151, None, None)]
    #[case::just_enough(152, None, Some(16))]
    fn connections_fit_into_the_limit(#[case] limit: u64, #[case] wanted: Option<u32>, #[case] most: Option<u32>) {
        assert_eq!(within(limit, 120, wanted).ok(), most);
    }

    #[test]
    fn what_does_not_fit_is_said_with_what_would() {
        let said = within(1024, 120, Some(500)).unwrap_err().to_string();
        for word in ["MAX_CONNECTIONS 500", "1120", "1024", "452", "LimitNOFILE"] {
            assert!(said.contains(word), "{said}");
        }
    }
}
