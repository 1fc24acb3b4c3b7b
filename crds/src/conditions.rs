//! Access to the conditions of any status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// A status with conditions.
pub trait HasConditions {
    /// `status.conditions`.
    fn conditions(&self) -> &[Condition];

    /// The condition of a type.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions().iter().find(|c| c.type_ == type_)
    }
}
