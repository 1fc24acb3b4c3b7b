//! The OpenAPI document: the management operations as their handlers declare them, and the
//! gateway's from Ollama's route table.

mod gateway;
mod key_expiry;
mod limits;

use utoipa::{
    PartialSchema,
    openapi::{
        InfoBuilder, License, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem, RefOr, Schema,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::{Tag, TagBuilder},
    },
};

use crate::{
    auth::refresh_cookie,
    http::{
        error::problem::{Body, FieldError},
        openapi_problems::problem,
    },
    routes,
};

/// The errors of a refused `Host` header.
const HOST_ERRORS: [(&str, &str); 2] = [
    ("400", "The request has no valid `Host`."),
    (
        "403",
        "The request names another host than this machine, while the admin has the well-known development password.",
    ),
];

/// Returns the OpenAPI 3.1 document of the management API and the gateway.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, operations) = routes::operations().split_for_parts();
    let info = InfoBuilder::new()
        .title("Paddock")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Governed access to Ollama: users, API keys, audit, and a streaming gateway."))
        .license(Some(license()))
        .build();
    let mut document = OpenApiBuilder::from(operations).info(info).tags(Some(tags())).build();
    let components = document.components.get_or_insert_default();
    let schemas = [
        ("Problem", <Body<'_> as PartialSchema>::schema()),
        ("FieldError", <FieldError<'_> as PartialSchema>::schema()),
    ];
    components.schemas.extend(schemas.map(|(name, schema)| (name.to_owned(), schema)));
    components.add_security_scheme("bearer", bearer());
    let key = ApiKeyValue::with_description("X-API-Key", "An API key.");
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    let cookie = "The refresh cookie of a session, set by `POST /auth/login` and `POST /auth/refresh`. Browsers send it to `/auth` only.";
    let cookie = ApiKeyValue::with_description(refresh_cookie::NAME, cookie);
    components.add_security_scheme("refresh_cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    name_wildcards(&mut document);
    add_host_errors(&mut document);
    gateway::describe(&mut document);
    remove_null_bodies(&mut document);
    remove_event_schemas(&mut document);
    limits::describe(&mut document);
    key_expiry::describe(&mut document);
    document
}

/// Removes the schemas of streams of events: OpenAPI 3.1 cannot describe single events.
fn remove_event_schemas(document: &mut OpenApi) {
    let operations = document.paths.paths.values_mut().filter_map(|item| item.get.as_mut());
    for response in operations.flat_map(|operation| operation.responses.responses.values_mut()) {
        let RefOr::T(response) = response else { continue };
        if let Some(RefOr::T(content)) = response.content.get_mut("text/event-stream") {
            content.schema = None;
        }
    }
}

/// Removes the null alternative of optional bodies: a body may be absent but not null. utoipa
/// documents an `Option` as both.
fn remove_null_bodies(document: &mut OpenApi) {
    for operation in document.paths.paths.values_mut().filter_map(|item| item.post.as_mut()) {
        let Some(RefOr::T(body)) = &mut operation.request_body else { continue };
        for content in body.content.values_mut() {
            let RefOr::T(content) = content else { continue };
            let Some(RefOr::T(Schema::OneOf(either))) = &content.schema else { continue };
            let given = either.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
            if given.is_some() {
                content.schema = given;
            }
        }
    }
}

/// Names path parameters that match several segments like all others: `{name}`, not `{*name}`.
fn name_wildcards(document: &mut OpenApi) {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
}

/// Adds the errors of a refused `Host` header to every operation of the management API.
fn add_host_errors(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let PathItem { get, put, post, delete, patch, .. } = item;
        for operation in [get, put, post, delete, patch].into_iter().flatten() {
            for (status, description) in HOST_ERRORS {
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| problem(status, description).into());
            }
        }
    }
}

fn license() -> License {
    LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()
}

fn bearer() -> SecurityScheme {
    let description = "An API key, or the access token of a session.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
    SecurityScheme::Http(scheme.build())
}

fn tags() -> Vec<Tag> {
    [
        ("auth", "Sign-in, refresh and sign-out."),
        ("me", "The caller's profile and password."),
        ("users", "Users with their roles, models and limits."),
        ("credentials", "API keys."),
        ("audit", "The audit log."),
        ("usage", "Totals of requests and tokens."),
        ("models", "Models with their state on every backend, and their pulls."),
        ("ollama", "A simple way to ask a model, with the errors of this API."),
        ("gateway", "The APIs of Ollama, OpenAI and Anthropic, for the models that the caller may use."),
        ("health", "Probes for load balancers and orchestrators."),
        ("docs", "This document."),
    ]
    .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::to_value(openapi()).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, Value)> {
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
        });
        operations.collect()
    }

    #[test]
    fn every_operation_is_listed_once_with_summary_and_tag() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let operations = operations(&document);
        let ids: BTreeSet<_> = operations.iter().map(|(_, operation)| operation["operationId"].to_string()).collect();
        assert_eq!(ids.len(), operations.len());
        for (name, operation) in &operations {
            assert!(operation["summary"].is_string(), "{name} has no summary");
            assert!(operation["tags"].is_array(), "{name} has no tag");
        }
        let names: Vec<_> = operations.into_iter().map(|(name, _)| name).collect();
        for name in
            ["post /auth/login", "patch /users/{id}", "post /credentials/{id}/rotate", "post /api/chat", "get /"]
        {
            assert!(names.iter().any(|known| known == name), "{name} is missing in {names:?}");
        }
    }

    #[test]
    fn every_reference_resolves() {
        fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => members.iter().for_each(|(key, value)| match value {
                    Value::String(target) if key == "$ref" => found.push(target),
                    other => walk(other, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut references = Vec::new();
        walk(&document, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn operations_with_a_credential_list_its_errors() {
        for (name, operation) in operations(&document()) {
            let ways = operation["security"].as_array().cloned().unwrap_or_default();
            if ways.is_empty() || ways.contains(&serde_json::json!({})) {
                continue;
            }
            assert!(operation["responses"]["401"].is_object(), "{name} does not list 401");
            let limited = &operation["responses"]["429"];
            assert!(limited["headers"]["Retry-After"].is_object(), "{name} does not list 429");
            let is_counted = !name.ends_with(limits::UNCOUNTED);
            let has_limits = limited["headers"]["X-RateLimit-Reset"].is_object();
            assert_eq!(has_limits, is_counted, "{name} lists limits or not");
            if ways.contains(&serde_json::json!({"bearer": []})) {
                // The version needs a credential and no permission.
                let open = name == "get /api/version";
                assert!(open || operation["responses"]["403"].is_object(), "{name} does not list 403");
            }
        }
    }
}
