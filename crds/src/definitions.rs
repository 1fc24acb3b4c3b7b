//! The custom resource definitions as YAML for the API server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{ApiKey, ApiUser, OllamaModel};

/// All definitions, ordered by name.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![ApiKey::crd(), ApiUser::crd(), OllamaModel::crd()];
    let schemas = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions).filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        forbid_null(schema);
    }
    crds
}

/// All definitions as one stream of YAML documents, for `kubectl apply -f -`.
#[must_use]
pub fn yaml() -> String {
    definitions().iter().map(document).collect()
}

/// One definition as a YAML document with its `---`.
fn document(crd: &CustomResourceDefinition) -> String {
    let text = serde_yaml_ng::to_string(crd).expect("a definition is plain data with string keys");
    format!("---\n{text}")
}

/// Removes `nullable`: optional fields must be absent rather than null, because CEL's `has(self.x)`
/// is true for a null.
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        forbid_null(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        forbid_null(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        forbid_null(values);
    }
}
