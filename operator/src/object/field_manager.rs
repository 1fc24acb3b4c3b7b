//! The field manager that last changed an object's spec: the actor of the audit events that follow.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

/// Returns the field manager that last set a field of `spec`, such as `kubectl-client-side-apply`
/// or `kustomize-controller`. `unknown` if the object lists none.
pub(crate) fn last_spec_manager(meta: &ObjectMeta) -> String {
    let entries = meta.managed_fields.iter().flatten();
    let last = entries.filter(|entry| sets_spec(entry)).max_by_key(|entry| entry.time.clone());
    last.and_then(|entry| entry.manager.clone()).unwrap_or_else(|| "unknown".to_owned())
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
        let meta: ObjectMeta = serde_json::from_value(json!({"managedFields": [
            entry("flux", spec.clone(), "2026-01-02T00:00:00Z", ""),
            entry("kubectl", spec, "2026-01-01T00:00:00Z", ""),
            entry("paddock-apiuser", json!({"f:metadata": {"f:finalizers": {}}}), "2026-01-03T00:00:00Z", ""),
            entry("paddock-apiuser", json!({"f:status": {}}), "2026-01-04T00:00:00Z", "status"),
        ]}))
        .unwrap();
        assert_eq!(last_spec_manager(&meta), "flux");
        assert_eq!(last_spec_manager(&ObjectMeta::default()), "unknown");
    }
}
