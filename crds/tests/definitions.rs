//! The generated definitions are the ones in `yaml/`, and say what users rely on.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use paddock_crds as crds;
use rstest::rstest;
use serde_json::{Value, json};

/// The JSON at `pointer` of the definition of `kind`.
fn at(kind: &str, pointer: &str) -> Value {
    let crd = crds::all().into_iter().find(|c| c.spec.names.kind == kind).expect("the kind");
    serde_json::to_value(crd).expect("plain data").pointer(pointer).cloned().unwrap_or(Value::Null)
}

#[test]
fn the_file_in_the_repository_is_the_generated_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml/paddock.dev.yaml");
    if std::env::var_os("PADDOCK_GENERATE").is_some() {
        std::fs::write(&file, crds::yaml()).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept == crds::yaml(), "{} is old: run `make generate`", file.display());
}

#[rstest]
#[case("ApiUser", json!(["au"]), json!(["Email", "Roles", "Active", "Ready", "Keys", "Age"]))]
#[case("ApiKey", json!(["ak"]), json!(["User", "Secret", "Prefix", "Ready", "Expires", "Age"]))]
#[case("OllamaModel", json!(["om"]), json!(["Model", "Ready", "Progress", "Size", "Backends", "Age"]))]
fn names_and_columns(#[case] kind: &str, #[case] short: Value, #[case] columns: Value) {
    assert_eq!(at(kind, "/spec/names/shortNames"), short);
    assert_eq!(at(kind, "/spec/names/categories"), json!([crds::CATEGORY]));
    assert_eq!(at(kind, "/spec/scope"), json!("Namespaced"));
    assert_eq!(at(kind, "/spec/versions/0/subresources/status"), json!({}));
    let shown = at(kind, "/spec/versions/0/additionalPrinterColumns");
    let narrow: Vec<_> =
        shown.as_array().unwrap().iter().filter(|c| c["priority"] != json!(1)).map(|c| c["name"].clone()).collect();
    assert_eq!(Value::Array(narrow), columns);
}

#[rstest]
fn a_new_object_has_not_been_observed(#[values("ApiUser", "ApiKey", "OllamaModel")] kind: &str) {
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
    assert_eq!(at(kind, &format!("{status}/default")), json!({"observedGeneration": -1}));
    assert_eq!(at(kind, &format!("{status}/properties/conditions/x-kubernetes-list-map-keys")), json!(["type"]));
}

#[rstest]
fn every_field_is_documented(#[values("ApiUser", "ApiKey", "OllamaModel")] kind: &str) {
    fn walk(path: &str, schema: &Value, bare: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property["description"].as_str().is_none_or(str::is_empty) {
                bare.push(path.clone());
            }
            walk(&path, property, bare);
            walk(&path, &property["items"], bare);
        }
    }
    let mut bare = Vec::new();
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties";
    for part in ["spec", "status"] {
        walk(part, &at(kind, &format!("{schema}/{part}")), &mut bare);
    }
    assert_eq!(bare, Vec::<String>::new());
}

#[test]
fn the_yaml_reads_back() {
    let read: Vec<CustomResourceDefinition> = serde_yaml_ng::Deserializer::from_str(&crds::yaml())
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect();
    assert_eq!(read, crds::all());
}
