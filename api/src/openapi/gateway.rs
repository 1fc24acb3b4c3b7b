//! The gateway's operations, from Ollama's route table. Ollama and OpenAI define their bodies; the
//! document describes their routes and errors.

use paddock_ollama::{Access, Dialect, ENDPOINTS, Endpoint, Operation};
use utoipa::openapi::{
    Content, ContentBuilder, HeaderBuilder, HttpMethod, OpenApi, Ref, Required, ResponseBuilder, Type,
    path::{Operation as ApiOperation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
    request_body::RequestBodyBuilder,
    schema::{Object, ObjectBuilder},
    security::SecurityRequirement,
};

use super::limits;
use crate::http::openapi_headers;

const OLLAMA_ERROR: &str = "OllamaError";
const OPENAI_ERROR: &str = "OpenAiError";
const ANTHROPIC_ERROR: &str = "AnthropicError";

/// Adds the operations to the document.
pub(super) fn describe(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    components.schemas.insert(OLLAMA_ERROR.to_owned(), ollama_error().into());
    components.schemas.insert(OPENAI_ERROR.to_owned(), openai_error().into());
    components.schemas.insert(ANTHROPIC_ERROR.to_owned(), anthropic_error().into());
    for endpoint in ENDPOINTS {
        let method = match endpoint.method {
            http::Method::GET => HttpMethod::Get,
            http::Method::DELETE => HttpMethod::Delete,
            _ => HttpMethod::Post,
        };
        document.paths.add_path_operation(endpoint.path, vec![method], operation(endpoint));
    }
}

fn operation(endpoint: &Endpoint) -> ApiOperation {
    let (summary, media_types) = summary(endpoint);
    let answer =
        media_types.iter().fold(ResponseBuilder::new().description("The answer of Ollama."), |answer, media_type| {
            answer.content(*media_type, anything(media_type))
        });
    let mut operation = OperationBuilder::new()
        .operation_id(Some(operation_id(endpoint)))
        .tag("gateway")
        .summary(Some(summary))
        .response("200", answer.build());
    if endpoint.known_fields.is_some() {
        let body = RequestBodyBuilder::new()
            .description(Some("A request of Ollama's API. `model` names the model."))
            .content("application/json", for_model())
            .required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let description = match endpoint.access {
        Access::Scope(scope) => Some(format!("A key needs the scope `{scope}`.")),
        Access::AdminScope(scope) => Some(format!("For admins. A key needs the scope `{scope}`.")),
        Access::Public | Access::Authenticated => None,
    };
    operation = operation.description(description);
    if endpoint.path.ends_with("{model}") {
        operation = operation.parameter(model_parameter());
    }
    if endpoint.access != Access::Public {
        operation = operation
            .security(SecurityRequirement::new::<_, [&str; 0], &str>("bearer", []))
            .security(SecurityRequirement::new::<_, [&str; 0], &str>("api_key", []));
    }
    let schema = match endpoint.dialect {
        Dialect::Ollama => OLLAMA_ERROR,
        Dialect::OpenAi => OPENAI_ERROR,
        Dialect::Anthropic => ANTHROPIC_ERROR,
    };
    if endpoint.operation == Operation::Root {
        let location = HeaderBuilder::new().description(Some("`/ui/`")).build();
        let redirect =
            ResponseBuilder::new().description("A browser is sent to the web UI.").header("Location", location);
        operation = operation.response("303", redirect.build());
    }
    for (status, description) in failures(endpoint) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        let response = ResponseBuilder::new().description(description).content("application/json", content);
        let mut response = response.build();
        openapi_headers::describe(status, &mut response);
        operation = operation.response(status, response);
    }
    operation.build()
}

/// Returns the summary of an endpoint and the media types of its response.
fn summary(endpoint: &Endpoint) -> (String, &'static [&'static str]) {
    const JSON: &[&str] = &["application/json"];
    let (what, is_streamed) = match endpoint.operation {
        Operation::Root => return ("Reports that Ollama runs".to_owned(), &["text/plain"]),
        Operation::Version => ("Returns the version of Ollama", false),
        Operation::ListModels => ("Lists the models that the caller may use", false),
        Operation::ListLoaded => ("Lists the models in memory that the caller may use", false),
        Operation::RetrieveModel | Operation::ShowModel => ("Describes a model", false),
        Operation::Chat => ("Answers a conversation", true),
        Operation::Generate => ("Completes a prompt", true),
        Operation::Embed => ("Embeds texts", false),
        Operation::Compact => ("Shortens the history of a conversation", false),
        Operation::CountTokens => ("Counts the tokens of a conversation, where Ollama can", false),
        Operation::Pull => ("Pulls a model", true),
        Operation::Delete => return ("Deletes a model".to_owned(), &[]),
    };
    let (format, stream): (&str, &[&str]) = match endpoint.dialect {
        Dialect::Ollama => ("", &["application/x-ndjson", "application/json"]),
        Dialect::OpenAi => (", in OpenAI's format", &["text/event-stream", "application/json"]),
        Dialect::Anthropic => (", in Anthropic's format", &["text/event-stream", "application/json"]),
    };
    (format!("{what}{format}"), if is_streamed { stream } else { JSON })
}

/// Documents the name of a model in a path.
fn model_parameter() -> Parameter {
    ParameterBuilder::new()
        .name("model")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The model's name. Its slashes need no encoding."))
        .schema(Some(Object::with_type(Type::String)))
        .build()
}

/// `post_api_chat`.
fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint.path.split(['/', '{', '}']).filter(|word| !word.is_empty());
    let words = std::iter::once(endpoint.method.as_str()).chain(words).collect::<Vec<_>>();
    let id = words.join("_").to_ascii_lowercase();
    if endpoint.operation == Operation::Root { format!("{id}_root") } else { id }
}

fn failures(endpoint: &Endpoint) -> Vec<(&'static str, &'static str)> {
    let mut failures = vec![
        ("400", "The request has no valid `Host`."),
        ("403", "The request names another host than this machine, while only that is served."),
        ("500", "The gateway has a defect, or Ollama answered with an error."),
        ("502", "Ollama failed before it answered."),
        ("503", "Ollama or the database is unavailable."),
        ("504", "Ollama did not answer in time."),
    ];
    if endpoint.access != Access::Public {
        failures.extend([
            ("400", "The request is malformed, has two different credentials, or no valid `Host`."),
            ("401", "The credential is missing or not valid."),
            ("429", limits::EXCEEDED),
        ]);
    }
    if matches!(endpoint.access, Access::Scope(_) | Access::AdminScope(_)) {
        failures
            .push(("403", "The roles of the user, or the scopes of the key, do not allow the request; or the model runs on a remote host; or the request only loads or unloads a model, or searches the internet."));
    }
    if endpoint.operation == Operation::RetrieveModel {
        failures.push(("404", "The model does not exist, or the caller may not use it."));
    }
    if endpoint.operation == Operation::Delete {
        failures.push(("409", "A Kubernetes object owns the model."));
    }
    if endpoint.known_fields.is_some() {
        failures.extend([
            ("404", "The model does not exist, or the caller may not use it."),
            ("408", "The body did not arrive in time."),
            ("413", "The body is too large."),
            ("415", "The body has a `Content-Encoding`."),
        ]);
    }
    failures
}

/// Documents a response body. The document has no schema for events.
fn anything(media_type: &str) -> Content {
    let kind = match media_type {
        "text/event-stream" => return ContentBuilder::new().build(),
        "application/json" => Type::Object,
        _ => Type::String,
    };
    ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(kind).build())).build()
}

/// Documents a request body of Ollama, of which the gateway reads the model.
fn for_model() -> Content {
    let model =
        ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).description(Some("The model's name."));
    let body = ObjectBuilder::new().property("model", model).required("model").build();
    ContentBuilder::new().schema(Some(body)).build()
}

fn text(description: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).build()
}

fn ollama_error() -> Object {
    ObjectBuilder::new()
        .description(Some("An error in Ollama's format."))
        .property("error", text("The cause, as text."))
        .required("error")
        .build()
}

fn openai_error() -> Object {
    let error = ObjectBuilder::new()
        .property("message", text("The cause, as text."))
        .required("message")
        .property("type", text("The type of the error."))
        .required("type")
        .build();
    ObjectBuilder::new()
        .description(Some("An error in OpenAI's format."))
        .property("error", error)
        .required("error")
        .build()
}

fn anthropic_error() -> Object {
    let error = ObjectBuilder::new()
        .property("type", text("The type of the error."))
        .required("type")
        .property("message", text("The cause, as text."))
        .required("message")
        .build();
    ObjectBuilder::new()
        .description(Some("An error in Anthropic's format."))
        .property("type", text("Always `error`."))
        .required("type")
        .property("error", error)
        .required("error")
        .build()
}
