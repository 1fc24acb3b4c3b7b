//! Where the model is and where it has to be pulled. Pure.

use paddock_ollama::Progress;

/// The model on one backend, as just seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The backend.
    pub(crate) backend: String,
    pub(crate) seen: Seen,
    /// The pull that this process runs there.
    pub(crate) pull: Option<Pull>,
}

/// What a backend says of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It has it.
    Present {
        /// `sha256:` and the digest of the manifest.
        digest: String,
        bytes: u64,
    },
    /// It does not have it.
    Absent,
    /// It does not answer, and why.
    Unreachable(String),
}

/// How a pull stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) progress: Progress,
    /// Why the last attempt failed; another follows.
    pub(crate) failure: Option<String>,
}

/// The backends on which a pull has to begin, by their place.
pub(crate) fn to_begin(sights: &[Sight]) -> Vec<usize> {
    let begins = |sight: &Sight| sight.seen == Seen::Absent && sight.pull.is_none();
    sights.iter().enumerate().filter(|(_, sight)| begins(sight)).map(|(place, _)| place).collect()
}

/// Digest and size where the model is; the first backend that has it speaks for all.
pub(crate) fn present(sights: &[Sight]) -> Option<(&str, u64)> {
    sights.iter().find_map(|sight| match &sight.seen {
        Seen::Present { digest, bytes } => Some((digest.as_str(), *bytes)),
        _ => None,
    })
}

/// How far the pulls are together.
pub(crate) fn progress(sights: &[Sight]) -> Option<Progress> {
    let pulls = sights.iter().filter_map(|sight| sight.pull.as_ref()).map(|pull| pull.progress);
    let sum = pulls.reduce(|a, b| Progress {
        percent: a.percent.min(b.percent),
        completed_bytes: a.completed_bytes + b.completed_bytes,
        total_bytes: a.total_bytes + b.total_bytes,
    })?;
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(seen: Seen, pull: Option<u8>) -> Sight {
        let pull = pull.map(|percent| Pull {
            progress: Progress { percent, completed_bytes: u64::from(percent), total_bytes: 100 },
            failure: None,
        });
        Sight { backend: "http://ollama:11434".to_owned(), seen, pull }
    }

    #[test]
    fn pulls_begin_where_the_model_is_known_to_be_missing() {
        let present = || Seen::Present { digest: "sha256:1".to_owned(), bytes: 7 };
        let sights = [
            sight(present(), None),
            sight(Seen::Absent, None),
            sight(Seen::Absent, Some(40)),
            sight(Seen::Absent, Some(60)),
            sight(Seen::Unreachable("away".to_owned()), None),
        ];
        assert_eq!(to_begin(&sights), [1]);
        assert_eq!(super::present(&sights), Some(("sha256:1", 7)));
        assert_eq!(progress(&sights), Some(Progress { percent: 40, completed_bytes: 100, total_bytes: 200 }));
        assert_eq!(progress(&sights[..1]), None);
    }
}
