//! The versions of Ollama that are used.

/// The oldest version without known holes that a client can use from afar.
pub(super) const MINIMUM: &str = "0.17.1";
const MINIMUM_PARTS: [u32; 3] = [0, 17, 1];
/// The version of a build that no release made.
const DEVELOPMENT: [u32; 3] = [0, 0, 0];

/// Whether a version is older than [`MINIMUM`]. A text that is no version is not.
pub(super) fn is_outdated(version: &str) -> bool {
    parse(version).is_some_and(|parts| parts < MINIMUM_PARTS && parts != DEVELOPMENT)
}

/// Reads the numbers of a version such as `0.32.15` or `0.17.1-rc0`.
fn parse(version: &str) -> Option<[u32; 3]> {
    let release = version.split(['-', '+']).next()?;
    let mut numbers = release.split('.').map(|number| number.parse().ok());
    let parts = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(parts)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0.17.0", true)]
    #[case("0.9.12", true)]
    #[case("0.17.0-rc3", true)]
    #[case("0.17.1", false)]
    #[case("0.32.15", false)]
    #[case("1.0.0", false)]
    #[case("0.0.0", false)]
    #[case("", false)]
    #[case("0.16", false)]
    fn an_older_version_is_outdated(#[case] version: &str, #[case] outdated: bool) {
        assert_eq!(is_outdated(version), outdated);
    }

    #[test]
    fn the_minimum_is_written_once() {
        assert_eq!(parse(MINIMUM), Some(MINIMUM_PARTS));
    }
}
