//! The error responses that handlers name in their OpenAPI declaration.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder},
};

use super::openapi_headers;

macro_rules! group {
    ($(#[$doc:meta])* $name:ident { $($status:literal: $description:literal,)+ }) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status, $description)),+]
                    .into_iter()
                    .map(|(status, description)| (status.to_owned(), problem(status, description).into()))
                    .collect()
            }
        }
    };
}

group! {
    /// Errors of any operation.
    CommonErrors {
        "422": "A parameter or field is unknown or breaks a rule. `errors` names each of them.",
        "500": "The server has a defect. Its log has the request id.",
        "503": "The database is unavailable, or the server is busy. `detail` says whether the change may have been made.",
    }
}

group! {
    /// Errors of an operation that needs a credential.
    CallerErrors {
        "400": "The request has two different credentials, a malformed body, or no valid `Host`.",
        "401": "The credential is missing or not valid.",
        "403": "The roles of the user, or the scopes of the key, do not allow the operation.",
    }
}

group! {
    /// Errors of an operation with a body.
    BodyErrors {
        "400": "The request has a malformed body, two different credentials, or no valid `Host`.",
        "408": "The body did not arrive in time.",
        "413": "The body is larger than 1 MiB, or than 16 KiB if the operation needs no credential.",
        "415": "The body is not declared as JSON.",
        "422": "A parameter or field is unknown or breaks a rule. `errors` names each of them.",
    }
}

group! {
    /// Errors of an anonymous operation whose body is ignored.
    OptionalBodyErrors {
        "400": "The body is not complete, or the request has no valid `Host`.",
        "408": "The body did not arrive in time.",
        "413": "The body is larger than 16 KiB.",
    }
}

group! {
    /// Errors of an operation that Ollama answers.
    OllamaErrors {
        "502": "Ollama failed before it answered.",
        "503": "Ollama or the database is unavailable.",
        "504": "Ollama did not answer in time.",
    }
}

group! {
    /// The resource does not exist.
    NotFoundResponse {
        "404": "The resource does not exist.",
    }
}

group! {
    /// The request conflicts with the present state.
    ConflictResponse {
        "409": "The request conflicts with the current state. `type` names the conflict.",
    }
}

group! {
    /// Errors of an operation that changes Ollama.
    UpstreamErrors {
        "502": "Ollama failed. Repeat the request.",
        "503": "The database or Ollama is unavailable. `detail` says whether the change may have been made.",
    }
}

group! {
    /// The sign-in was refused.
    WrongPasswordResponse {
        "401": "The user name or the password is wrong, or the user cannot sign in.",
    }
}

group! {
    /// The account is locked after failed sign-ins.
    LoginLockedResponse {
        "429": "Too many sign-ins to this account failed from this address. The password was not verified.",
    }
}

group! {
    /// The account or the address is locked after failed sign-ins.
    SignInsLockedResponse {
        "429": "Too many sign-ins, to this account or in total, failed from this address. The password was not verified.",
    }
}

group! {
    /// The refresh exceeds a limit.
    RefreshLimitedResponse {
        "429": "The user exceeds its limit, or the address has sent too many wrong cookies. The cookie stays valid.",
    }
}

group! {
    /// The address has sent too many wrong cookies.
    WrongCookiesResponse {
        "429": "The address has sent too many wrong cookies. The cookie was not verified.",
    }
}

/// There is no session to refresh.
pub(crate) struct NoSessionResponse;

impl IntoResponses for NoSessionResponse {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut response = problem("401", "The cookie is missing or was used before, or its session has ended.");
        let cleared = openapi_headers::text("Removes the cookie `paddock_refresh`.");
        response.headers.insert("Set-Cookie".to_owned(), cleared.into());
        [("401".to_owned(), response.into())].into()
    }
}

group! {
    /// A page of another origin sent the cookie.
    ForeignOriginResponse {
        "403": "The cookie was sent by a page of another origin.",
    }
}

group! {
    /// The process is not ready.
    NotReadyResponse {
        "503": "The process is not ready. `detail` names the missing parts.",
    }
}

/// Documents an error response with this status.
pub(crate) fn problem(status: &str, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response =
        ResponseBuilder::new().description(description).content("application/problem+json", content).build();
    openapi_headers::describe(status, &mut response);
    response
}
