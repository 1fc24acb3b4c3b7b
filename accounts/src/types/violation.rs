//! Violations of validation rules.

/// A field of a request that violates a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as a JSON pointer into the request, such as `/email`.
    pub pointer: String,
    /// The rule, with an example of a correct value where useful.
    pub detail: String,
}

impl Violation {
    /// Creates a violation: `pointer` is the field, `detail` the rule that it violates.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}
