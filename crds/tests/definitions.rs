//! The generated definitions: equal to the file in `yaml/`, and as users rely on them.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use paddock_crds as crds;
use rstest::rstest;
use serde_json::{Value, json};

/// The JSON at `pointer` of the definition of `kind`.
fn at(kind: &str, pointer: &str) -> Value {
    let crd = crds::definitions().into_iter().find(|c| c.spec.names.kind == kind).expect("the kind");
    serde_json::to_value(crd).expect("plain data").pointer(pointer).cloned().unwrap_or(Value::Null)
}

#[test]
fn the_file_in_the_repository_is_the_generated_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml/paddock.dev.yaml");
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(stored == crds::yaml(), "{} is outdated: run `make generate`", file.display());
}

#[rstest]
#[case("ApiUser", json!(["au"]), json!(["Email", "Roles", "Active", "Ready", "Reason", "Keys", "Age"]))]
#[case("ApiKey", json!(["ak"]), json!(["User", "Secret", "Prefix", "Ready", "Reason", "Expires", "Age"]))]
#[case("OllamaModel", json!(["om"]), json!(["Model", "Ready", "Reason", "Progress", "Size", "Backends", "Age"]))]
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
    fn walk(path: &str, schema: &Value, undocumented: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property["description"].as_str().is_none_or(str::is_empty) {
                undocumented.push(path.clone());
            }
            walk(&path, property, undocumented);
            walk(&path, &property["items"], undocumented);
        }
    }
    let mut undocumented = Vec::new();
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties";
    for part in ["spec", "status"] {
        walk(part, &at(kind, &format!("{schema}/{part}")), &mut undocumented);
    }
    assert_eq!(undocumented, Vec::<String>::new());
}

/// The first YAML block of the README equals the files in `examples/quickstart/`, without comments
/// and defaults.
#[test]
fn the_readme_shows_the_quickstart() {
    fn typed(document: Value) -> Value {
        let kind = document["kind"].as_str().expect("a kind").to_owned();
        let typed = match kind.as_str() {
            "ApiUser" => serde_json::from_value::<crds::ApiUser>(document).and_then(serde_json::to_value),
            "ApiKey" => serde_json::from_value::<crds::ApiKey>(document).and_then(serde_json::to_value),
            _ => serde_json::from_value::<crds::OllamaModel>(document).and_then(serde_json::to_value),
        };
        typed.unwrap_or_else(|error| panic!("{kind}: {error}"))
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(repository.join("README.md")).unwrap();
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a YAML block");
    for document in serde_yaml_ng::Deserializer::from_str(block) {
        let shown: Value = serde::Deserialize::deserialize(document).unwrap();
        let file = format!("examples/quickstart/{}.yaml", shown["kind"].as_str().unwrap().to_lowercase());
        let applied = std::fs::read_to_string(repository.join(&file)).unwrap();
        assert_eq!(typed(shown), typed(serde_yaml_ng::from_str(&applied).unwrap()), "{file}");
    }
}

#[test]
fn the_yaml_reads_back() {
    let read: Vec<CustomResourceDefinition> = serde_yaml_ng::Deserializer::from_str(&crds::yaml())
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect();
    assert_eq!(read, crds::definitions());
}
