//! Comparison of request paths.

/// Returns whether `path` is `parent` or lies below it. Bytes are compared without decoding.
pub(crate) fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/api", true)]
    #[case("/api/", true)]
    #[case("/api/chat", true)]
    #[case("/apiary", false)]
    #[case("/API/chat", false)]
    #[case("/", false)]
    fn only_whole_segments_count(#[case] path: &str, #[case] below: bool) {
        assert_eq!(is_below(path, "/api"), below);
    }
}
