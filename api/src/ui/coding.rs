//! The content codings in which the build stores files (RFC 9110, section 12.5.3).

use http::{HeaderMap, header};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// All codings. If a client accepts several equally, the first of them is used.
    const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// The name in headers.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The end of the name of a file in this coding.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    /// Whether a file is another file in a coding.
    pub(super) fn is_coded(name: &str) -> bool {
        Self::ALL.iter().any(|coding| name.ends_with(coding.suffix()))
    }

    /// Returns the codings that the client accepts, the preferred one first.
    pub(super) fn accepted(request: &HeaderMap) -> Vec<Self> {
        let values = request.get_all(header::ACCEPT_ENCODING);
        let items: Vec<_> = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .map(weighted)
            .collect();
        let weight = |wanted: &str| items.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, q)| *q);
        let any = weight("*").unwrap_or(0.0);
        let mut accepted: Vec<_> =
            Self::ALL.into_iter().map(|coding| (coding, weight(coding.text()).unwrap_or(any))).collect();
        accepted.retain(|(_, weight)| *weight > 0.0);
        // Stable, so that the order of ALL decides between equal weights.
        accepted.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        accepted.into_iter().map(|(coding, _)| coding).collect()
    }
}

/// Returns the name and the weight of an item, such as `br;q=0.5`. A malformed weight counts as 0.
fn weighted(item: &str) -> (&str, f32) {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}
