//! The headers that answers of a status have.

use utoipa::openapi::{Header, Response, Type, header::HeaderBuilder, schema::ObjectBuilder};

/// Adds those that errors of this status have, the management API's and the gateway's alike.
pub(super) fn describe(status: &str, response: &mut Response) {
    let (name, header) = match status {
        "401" => ("WWW-Authenticate", text("How to authenticate: `Bearer`.")),
        "429" | "503" => ("Retry-After", number("When to come back, in seconds.")),
        _ => return,
    };
    response.headers.insert(name.to_owned(), header.into());
}

pub(super) fn text(description: &str) -> Header {
    header(Type::String, description)
}

pub(super) fn number(description: &str) -> Header {
    header(Type::Integer, description)
}

fn header(value: Type, description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(value).build();
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}
