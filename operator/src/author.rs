//! Who last said what an object should be: the actor of the audit events it causes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

/// The field manager that last set something in `spec`: `kubectl-client-side-apply`, `kustomize-controller`. `unknown`
/// where the API server does not tell.
pub(crate) fn of(meta: &ObjectMeta) -> String {
    let entries = meta.managed_fields.iter().flatten();
    let last = entries.filter(|entry| sets_spec(entry)).max_by_key(|entry| entry.time.clone());
    last.and_then(|entry| entry.manager.clone()).unwrap_or_else(|| "unknown".to_owned())
}

fn sets_spec(entry: &ManagedFieldsEntry) -> bool {
    let main = entry.subresource.as_deref().unwrap_or_default().is_empty();
    main && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_one_that_set_the_spec() {
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
        assert_eq!(of(&meta), "flux");
        assert_eq!(of(&ObjectMeta::default()), "unknown");
    }
}
