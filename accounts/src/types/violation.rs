//! A field that breaks a rule.

/// A field of a request that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as a JSON pointer into the request: `/email`.
    pub pointer: String,
    /// The rule, and a correct value where that helps.
    pub detail: String,
}

impl Violation {
    /// A field and its rule.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}
