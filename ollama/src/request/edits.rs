//! The edits that the gateway applies to a request.

use std::borrow::Cow;

use super::{
    scan::{Member, Object, Scanned},
    splice::Edit,
};

impl Scanned<'_> {
    /// Returns the edit that sets `stream_options.include_usage`, or `None` if the client has set
    /// it.
    ///
    /// With it, Ollama ends the stream with a usage chunk, from which [`crate::Meter`] reads the
    /// token counts.
    #[must_use]
    pub fn request_usage(&self) -> Option<Edit> {
        if self.includes_usage() {
            return None;
        }
        let insert = |object: &Object<'_>, member: &str| {
            let comma = if object.members.is_empty() { "" } else { "," };
            let span = object.content_start..object.content_start;
            Edit { span, replacement: format!("{member}{comma}").into() }
        };
        let replace =
            |member: &Member<'_>, value| Edit { span: member.value_span.clone(), replacement: Cow::Borrowed(value) };
        let options = self.nested("stream_options");
        Some(match (options, self.top_level().member("stream_options")) {
            (Some(options), _) => match options.member("include_usage") {
                Some(member) => replace(member, "true"),
                None => insert(options, r#""include_usage":true"#),
            },
            (None, Some(null)) => replace(null, r#"{"include_usage":true}"#),
            (None, None) => insert(self.top_level(), r#""stream_options":{"include_usage":true}"#),
        })
    }

    /// Returns the edits that remove top-level members.
    pub fn remove_members(&self, is_removed: impl Fn(&Member<'_>) -> bool) -> Vec<Edit> {
        remove_from(self.top_level(), is_removed)
    }

    /// Returns the edits that remove members of a nested object, such as `options`.
    pub fn remove_members_of(&self, key: &str, is_removed: impl Fn(&Member<'_>) -> bool) -> Vec<Edit> {
        self.nested(key).map_or_else(Vec::new, |object| remove_from(object, is_removed))
    }
}

/// Returns the edits that remove members of an object, each with one comma.
///
/// A member is removed with the comma before it. A member before the first remaining member is
/// removed with the comma after it.
fn remove_from(object: &Object<'_>, is_removed: impl Fn(&Member<'_>) -> bool) -> Vec<Edit> {
    let members = &object.members;
    let first_kept = members.iter().position(|member| !is_removed(member)).unwrap_or(members.len());
    let span = |at: usize| {
        let member = &members[at].span;
        match members.get(at + 1) {
            Some(next) if at < first_kept => member.start..next.span.start,
            None if at < first_kept => member.clone(),
            _ => members[at - 1].span.end..member.end,
        }
    };
    let removed = (0..members.len()).filter(|&at| is_removed(&members[at]));
    removed.map(|at| Edit { span: span(at), replacement: Cow::Borrowed("") }).collect()
}
