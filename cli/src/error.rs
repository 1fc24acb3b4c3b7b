//! The error of a command: one line on standard error, and an exit code.

use std::{fmt, process::ExitCode};

use paddock_accounts::bootstrap::SeedError;
use paddock_store::{OpenError, error_chain};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The configuration is invalid, and nothing was started: exit code 2.
    Config(String),
    /// The database cannot be opened: exit code 1.
    Open(OpenError),
    /// Any other error: exit code 1.
    Other(anyhow::Error),
}

impl Error {
    /// An invalid setting. The message names it, and a valid value.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config(message.into())
    }

    /// Several invalid settings, one line each.
    pub(crate) fn config_all(lines: &[String]) -> Self {
        match lines {
            [line] => Self::Config(line.clone()),
            lines => Self::Config(format!("the configuration is invalid:\n  {}", lines.join("\n  "))),
        }
    }

    /// Adds a hint if another process serves the SQLite file: how to do the same through that
    /// server.
    pub(crate) fn with_server_hint(self, hint: &str) -> Self {
        match self {
            Self::Open(locked @ OpenError::Locked(_)) => {
                Self::Other(anyhow::anyhow!("{locked}, or ask it with --server and PADDOCK_TOKEN: {hint}"))
            }
            other => other,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            Self::Open(_) | Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(message) => f.write_str(message),
            Self::Open(error) => f.write_str(&error_chain(error)),
            Self::Other(error) => f.write_str(&error_chain(error.as_ref())),
        }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<paddock_accounts::Error> for Error {
    fn from(error: paddock_accounts::Error) -> Self {
        match error {
            paddock_accounts::Error::Invalid(_) => Self::Config(error.to_string()),
            other => Self::Other(other.into()),
        }
    }
}

impl From<paddock_store::Error> for Error {
    fn from(error: paddock_store::Error) -> Self {
        paddock_accounts::Error::from(error).into()
    }
}

impl From<SeedError> for Error {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::Other(error) => error.into(),
            other => Self::Other(other.into()),
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Url(_) | OpenError::Missing(_) => Self::Config(error.to_string()),
            other => Self::Open(other),
        }
    }
}
