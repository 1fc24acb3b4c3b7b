//! Access to the conditions of any status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// A status with conditions.
pub trait HasConditions {
    /// `status.conditions`.
    fn conditions(&self) -> &[Condition];

    /// `status.observedGeneration`.
    fn observed_generation(&self) -> i64;

    /// Replaces the conditions and the generation that they describe.
    fn set_conditions(&mut self, observed_generation: i64, conditions: Vec<Condition>);

    /// `status.lastHandledReconcileAt`.
    fn last_handled_reconcile_at(&self) -> Option<&str>;

    /// Sets `status.lastHandledReconcileAt`.
    fn set_last_handled_reconcile_at(&mut self, request: Option<String>);

    /// The condition of a type.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions().iter().find(|c| c.type_ == type_)
    }
}

/// Implements [`HasConditions`] for a status with the fields `conditions`, `observed_generation` and
/// `last_handled_reconcile_at`.
macro_rules! has_conditions {
    ($status:ty) => {
        impl $crate::conditions::HasConditions for $status {
            fn conditions(&self) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
                &self.conditions
            }

            fn observed_generation(&self) -> i64 {
                self.observed_generation
            }

            fn set_conditions(
                &mut self,
                observed_generation: i64,
                conditions: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>,
            ) {
                self.observed_generation = observed_generation;
                self.conditions = conditions;
            }

            fn last_handled_reconcile_at(&self) -> Option<&str> {
                self.last_handled_reconcile_at.as_deref()
            }

            fn set_last_handled_reconcile_at(&mut self, request: Option<String>) {
                self.last_handled_reconcile_at = request;
            }
        }
    };
}

pub(crate) use has_conditions;
