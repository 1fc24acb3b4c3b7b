//! The field manager that last changed an object's spec: the actor of the audit events that follow.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde_json::json;

/// Holds the whole object as `kubectl apply` last sent it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Returns the field manager that last set a field of `spec`, such as `kubectl-client-side-apply`
/// or `kustomize-controller`. `unknown` if the object lists none.
pub(crate) fn last_spec_manager(meta: &ObjectMeta) -> String {
    let last = last_of(meta.managed_fields.iter().flatten());
    last.and_then(|entry| entry.manager.clone()).unwrap_or_else(|| "unknown".to_owned())
}

/// Removes what the operator does not read: the names of all fields, which take more memory than the
/// object itself, and the copy of it that `kubectl apply` leaves. [`last_spec_manager`] stays the same.
pub(crate) fn trim(meta: &mut ObjectMeta) {
    let mut last = last_of(meta.managed_fields.iter().flatten()).cloned();
    if let Some(entry) = &mut last {
        entry.fields_v1 = Some(FieldsV1(json!({"f:spec": {}})));
    }
    meta.managed_fields = last.map(|entry| vec![entry]);
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

fn last_of<'a>(entries: impl Iterator<Item = &'a ManagedFieldsEntry>) -> Option<&'a ManagedFieldsEntry> {
    entries.filter(|entry| sets_spec(entry)).max_by_key(|entry| entry.time.clone())
}

fn sets_spec(entry: &ManagedFieldsEntry) -> bool {
    let is_main_resource = entry.subresource.as_deref().unwrap_or_default().is_empty();
    is_main_resource && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_manager_of_the_spec_is_found() {
        let entry = |manager: &str, fields: serde_json::Value, time: &str, subresource: &str| {
            json!({"manager": manager, "operation": "Apply", "apiVersion": "paddock.dev/v1alpha1", "time": time,
                   "fieldsType": "FieldsV1", "fieldsV1": fields, "subresource": subresource})
        };
        let spec = json!({"f:spec": {"f:email": {}}});
        let mut meta: ObjectMeta = serde_json::from_value(json!({"managedFields": [
            entry("flux", spec.clone(), "2026-01-02T00:00:00Z", ""),
            entry("kubectl", spec, "2026-01-01T00:00:00Z", ""),
            entry("paddock-apiuser", json!({"f:metadata": {"f:finalizers": {}}}), "2026-01-03T00:00:00Z", ""),
            entry("paddock-apiuser", json!({"f:status": {}}), "2026-01-04T00:00:00Z", "status"),
        ]}))
        .unwrap();
        assert_eq!(last_spec_manager(&meta), "flux");
        trim(&mut meta);
        assert_eq!(last_spec_manager(&meta), "flux");
        assert_eq!(meta.managed_fields.iter().flatten().count(), 1);
        assert_eq!(last_spec_manager(&ObjectMeta::default()), "unknown");
    }
}
