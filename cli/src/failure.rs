//! How a command ends badly: one line, and a code that says whose turn it is.

use std::{error::Error, fmt, process::ExitCode};

use paddock_accounts::bootstrap::SeedError;
use paddock_store::OpenError;

/// Why a command ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong: exit code 2, and nothing was started.
    Config(String),
    /// The database cannot be used: exit code 1.
    Open(OpenError),
    /// Something else: exit code 1.
    Other(anyhow::Error),
}

impl Failure {
    /// A setting is wrong: which, and what a right value is.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config(message.into())
    }

    /// Several settings are wrong: one line for each.
    pub(crate) fn wrong(lines: &[String]) -> Self {
        match lines {
            [line] => Self::Config(line.clone()),
            lines => Self::Config(format!("the configuration is wrong:\n  {}", lines.join("\n  "))),
        }
    }

    /// The same; where another process serves the SQLite file, with what can be asked of that one instead.
    pub(crate) fn or_ask_the_server(self, instead: &str) -> Self {
        match self {
            Self::Open(locked @ OpenError::Locked(_)) => {
                Self::Other(anyhow::anyhow!("{locked}, or ask it with --server and PADDOCK_TOKEN: {instead}"))
            }
            other => other,
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            Self::Open(_) | Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(message) => f.write_str(message),
            Self::Open(error) => f.write_str(&with_causes(error)),
            Self::Other(error) => f.write_str(&with_causes(error.as_ref())),
        }
    }
}

/// An error and what it came from, down to the last cause.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> =
        std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    // Many a library's error ends in the words of its source.
    texts.dedup_by(|next, before| before.ends_with(next.as_str()));
    texts.join(": ")
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<paddock_accounts::Error> for Failure {
    fn from(error: paddock_accounts::Error) -> Self {
        match error {
            paddock_accounts::Error::Invalid(_) => Self::Config(error.to_string()),
            other => Self::Other(other.into()),
        }
    }
}

impl From<paddock_store::Error> for Failure {
    fn from(error: paddock_store::Error) -> Self {
        paddock_accounts::Error::from(error).into()
    }
}

impl From<SeedError> for Failure {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::Other(error) => error.into(),
            other => Self::Other(other.into()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Url(_) | OpenError::Missing(_) => Self::Config(error.to_string()),
            other => Self::Open(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("the disk is gone");
        let repeated = anyhow::Error::new(cause).context("cannot read it: the disk is gone").context("no luck");
        assert_eq!(Failure::from(repeated).to_string(), "no luck: cannot read it: the disk is gone");
    }
}
