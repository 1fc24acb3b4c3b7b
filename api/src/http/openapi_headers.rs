//! OpenAPI documentation of response headers.

use utoipa::openapi::{Header, Response, Type, header::HeaderBuilder, schema::ObjectBuilder};

/// Adds the headers of an error response with this status, in the management API and in the
/// gateway.
pub(crate) fn describe(status: &str, response: &mut Response) {
    let (name, header) = match status {
        "401" => ("WWW-Authenticate", text("The authentication scheme: `Bearer`.")),
        "429" | "503" => ("Retry-After", number("The time until a retry may succeed, in seconds.")),
        _ => return,
    };
    response.headers.insert(name.to_owned(), header.into());
}

/// Documents a header with text.
pub(crate) fn text(description: &str) -> Header {
    header(Type::String, description)
}

/// Documents a header with a number.
pub(crate) fn number(description: &str) -> Header {
    header(Type::Integer, description)
}

fn header(value: Type, description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(value).build();
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}
