//! The limit of file descriptors, and how many connections fit into it.

use paddock_store::OpenOptions;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    error::Error,
    settings::{DatabaseSettings, ServeSettings},
    value_parsers::MIN_CONNECTIONS,
};

/// Default maximum of connections. Each may hold a request head of 128 KiB.
const DEFAULT_MAX_CONNECTIONS: u64 = 4096;
/// Descriptors for everything else: listeners, the spool, Redis, Kubernetes, the collector, probes,
/// and connections that are about to be refused.
const RESERVED_FDS: u64 = 100;
/// A connection to the gateway and its connection to Ollama.
const FDS_PER_CONNECTION: u64 = 2;
/// A SQLite connection: the database, its write-ahead log and the log's index.
const FDS_PER_SQLITE_CONNECTION: u64 = 3;

/// Raises the soft limit to the hard limit. The default soft limit is low only for programs that
/// use `select`.
pub(crate) fn raise_fd_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, limit = current, "cannot raise the soft limit of file descriptors");
        return;
    }
    tracing::info!(limit = maximum, "raised the limit of file descriptors");
}

/// The maximum of connections to the API: as configured, which must fit into the limit of file
/// descriptors, or as many as fit.
pub(crate) fn max_connections(
    serve: &ServeSettings,
    database: &DatabaseSettings,
    options: &OpenOptions,
) -> Result<usize, Error> {
    let fds_per_database_connection = if options.sqlite_file()?.is_some() { FDS_PER_SQLITE_CONNECTION } else { 1 };
    let reserved = RESERVED_FDS + fds_per_database_connection * u64::from(database.db_max_connections);
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    fit_connections(limit, reserved, serve.max_connections).map(|max| usize::try_from(max).unwrap_or(usize::MAX))
}

fn fit_connections(limit: u64, reserved: u64, configured: Option<u32>) -> Result<u32, Error> {
    let fitting = limit.saturating_sub(reserved) / FDS_PER_CONNECTION;
    let needed = |connections: u32| reserved + FDS_PER_CONNECTION * u64::from(connections);
    if fitting < MIN_CONNECTIONS.into() {
        return Err(Error::config(format!(
            "the hard limit of file descriptors is {limit}, but at least {} are needed: raise the limit ({HOW_TO_RAISE}), or set \
             DB_MAX_CONNECTIONS to a lower number",
            needed(MIN_CONNECTIONS)
        )));
    }
    match configured {
        Some(configured) if u64::from(configured) > fitting => Err(Error::config(format!(
            "MAX_CONNECTIONS {configured} needs {} file descriptors, but their hard limit is {limit}: set it to at most {fitting}, or \
             raise the limit ({HOW_TO_RAISE})",
            needed(configured)
        ))),
        Some(configured) => Ok(configured),
        None => Ok(u32::try_from(fitting.min(DEFAULT_MAX_CONNECTIONS)).unwrap_or(u32::MAX)),
    }
}

const HOW_TO_RAISE: &str = "`ulimit -Hn`, LimitNOFILE= of systemd, --ulimit nofile= of a container";

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::usual(1024, None, Some(452))]
    #[case::high(1_048_576, None, Some(4096))]
    #[case::no_limit(u64::MAX, None, Some(4096))]
    #[case::configured(1024, Some(452), Some(452))]
    #[case::configured_high(1_048_576, Some(100_000), Some(100_000))]
    #[case::configured_too_high(1024, Some(453), None)]
    #[case::too_few(151, None, None)]
    #[case::just_enough(152, None, Some(16))]
    fn connections_fit_into_the_limit(#[case] limit: u64, #[case] configured: Option<u32>, #[case] max: Option<u32>) {
        assert_eq!(fit_connections(limit, 120, configured).ok(), max);
    }

    #[test]
    fn an_error_names_the_limit_and_a_valid_maximum() {
        let message = fit_connections(1024, 120, Some(500)).unwrap_err().to_string();
        for word in ["MAX_CONNECTIONS 500", "1120", "1024", "452", "LimitNOFILE"] {
            assert!(message.contains(word), "{message}");
        }
    }
}
