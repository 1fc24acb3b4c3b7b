//! Which backends have the model, and where a pull must start. Pure.

use std::fmt;

use paddock_ollama::Progress;

/// The model on one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObservedBackend {
    /// The backend's name.
    pub(crate) name: String,
    pub(crate) presence: ModelPresence,
    /// The pull that this process runs on the backend.
    pub(crate) pull: Option<Pull>,
}

/// Whether a backend has the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelPresence {
    Present {
        /// The digest of the manifest, with the prefix `sha256:`.
        digest: String,
        bytes: u64,
    },
    Absent,
    /// The backend did not answer; the error's text.
    Unreachable(String),
}

/// The state of a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) progress: Progress,
    /// Why the last attempt ended. The pull is retried, and the failure stays until a new byte
    /// arrives.
    pub(crate) failure: Option<PullFailure>,
}

/// Why an attempt of a pull ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PullFailure {
    /// Ollama or the registry reported this error.
    Failed(String),
    /// No new byte arrived.
    Stalled,
}

impl fmt::Display for PullFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.write_str(error),
            Self::Stalled => f.write_str("no new byte arrives"),
        }
    }
}

/// Returns the indices of the backends that need a pull.
pub(crate) fn pulls_to_start(backends: &[ObservedBackend]) -> Vec<usize> {
    let needs_pull = |backend: &ObservedBackend| backend.presence == ModelPresence::Absent && backend.pull.is_none();
    backends.iter().enumerate().filter(|(_, backend)| needs_pull(backend)).map(|(index, _)| index).collect()
}

/// Returns the digest and size of the model on the first backend that has it.
pub(crate) fn first_present(backends: &[ObservedBackend]) -> Option<(&str, u64)> {
    backends.iter().find_map(|backend| match &backend.presence {
        ModelPresence::Present { digest, bytes } => Some((digest.as_str(), *bytes)),
        _ => None,
    })
}

/// Returns the progress of all pulls together: the sum of the bytes and the lowest percentage.
pub(crate) fn total_progress(backends: &[ObservedBackend]) -> Option<Progress> {
    let pulls = backends.iter().filter_map(|backend| backend.pull.as_ref()).map(|pull| pull.progress);
    pulls.reduce(|a, b| Progress {
        percent: a.percent.min(b.percent),
        completed_bytes: a.completed_bytes + b.completed_bytes,
        total_bytes: a.total_bytes + b.total_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(presence: ModelPresence, pull: Option<u8>) -> ObservedBackend {
        let pull = pull.map(|percent| Pull {
            progress: Progress { percent, completed_bytes: u64::from(percent), total_bytes: 100 },
            failure: None,
        });
        ObservedBackend { name: "http://ollama:11434".to_owned(), presence, pull }
    }

    #[test]
    fn a_pull_starts_only_where_the_model_is_absent() {
        let present = || ModelPresence::Present { digest: "sha256:1".to_owned(), bytes: 7 };
        let backends = [
            backend(present(), None),
            backend(ModelPresence::Absent, None),
            backend(ModelPresence::Absent, Some(40)),
            backend(ModelPresence::Absent, Some(60)),
            backend(ModelPresence::Unreachable("away".to_owned()), None),
        ];
        assert_eq!(pulls_to_start(&backends), [1]);
        assert_eq!(first_present(&backends), Some(("sha256:1", 7)));
        let total = Progress { percent: 40, completed_bytes: 100, total_bytes: 200 };
        assert_eq!(total_progress(&backends), Some(total));
        assert_eq!(total_progress(&backends[..1]), None);
    }
}
