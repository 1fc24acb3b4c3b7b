//! Paddock's tables of Ollama's API, for `make drift`, which compares them with a release of Ollama.

use paddock_ollama::{
    ENDPOINTS, Endpoint, FORBIDDEN_PATHS, KnownFields, METERED_FIELDS, UNMETERED_FIELDS, UNSERVED_PATHS,
};
use serde_json::{Map, Value, json};

/// Returns the tables, in the form that `tests/drift/tables.go` reads.
#[must_use]
pub fn tables() -> Value {
    let endpoints: Vec<Value> = ENDPOINTS.iter().map(endpoint_row).collect();
    json!({
        "endpoints": endpoints,
        "forbidden": FORBIDDEN_PATHS,
        "unserved": UNSERVED_PATHS,
        "metered": METERED_FIELDS,
        "unmetered": UNMETERED_FIELDS,
    })
}

fn endpoint_row(endpoint: &Endpoint) -> Value {
    json!({
        "method": endpoint.method.as_str(),
        "path": endpoint.path,
        "fields": endpoint.known_fields.map(fields_of),
    })
}

fn fields_of(known: &KnownFields) -> Value {
    let nested: Map<String, Value> = known.nested.iter().map(|(key, fields)| ((*key).into(), json!(fields))).collect();
    json!({ "top_level": known.top_level, "nested": nested })
}
