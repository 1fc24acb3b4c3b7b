//! The sources of an error, for log fields.

use std::{error, iter};

/// Joins the sources of an error, outermost first. `None`: it has no source.
pub(crate) fn causes(error: &dyn error::Error) -> Option<String> {
    let sources = iter::successors(error.source(), |source| source.source());
    let mut texts: Vec<String> = sources.map(ToString::to_string).collect();
    // The text of many errors ends with that of their source.
    texts.dedup_by(|next, before| before.ends_with(next.as_str()));
    (!texts.is_empty()).then(|| texts.join(": "))
}
