//! The error responses that handlers name in their OpenAPI declaration.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder},
};

use super::response_headers;

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
        "422": "A parameter or field breaks a rule, or is not known; `errors` names each one.",
        "500": "A defect; the log has the request id.",
        "503": "The database is not available, or there is too much to do at once. `detail` says whether anything can have been changed.",
    }
}

group! {
    /// Errors of an operation that needs a credential.
    CallerErrors {
        "400": "Two different credentials were sent, the body is not valid JSON, or the request does not name one host.",
        "401": "There is no credential, or it is not valid.",
        "403": "The caller's roles, or the key's scopes, do not allow it.",
    }
}

group! {
    /// Errors of an operation with a body.
    BodyErrors {
        "400": "The body is not valid JSON, two different credentials were sent, or the request does not name one host.",
        "408": "The body did not come in time.",
        "413": "The body is too large: more than 1 MiB, or 16 KiB where no credential is needed.",
        "415": "The body is not said to be JSON.",
        "422": "A parameter or field breaks a rule, or is not known; `errors` names each one.",
    }
}

group! {
    /// Errors of an anonymous operation whose body is ignored.
    OptionalBodyErrors {
        "400": "The body broke off, or the request does not name one host.",
        "408": "The body did not come in time.",
        "413": "The body is larger than 16 KiB.",
    }
}

group! {
    /// The resource does not exist.
    NotFoundResponse {
        "404": "There is no such thing.",
    }
}

group! {
    /// The request conflicts with the present state.
    ConflictResponse {
        "409": "It would break a rule over the present state: `type` says which.",
    }
}

group! {
    /// The sign-in was refused.
    WrongPasswordResponse {
        "401": "The user name or the password is wrong, or the user may not sign in.",
    }
}

group! {
    /// The account is locked after failed sign-ins.
    LoginLockedResponse {
        "429": "Too many sign-ins of this account failed from this address: this one was not judged.",
    }
}

group! {
    /// The account or the address is locked after failed sign-ins.
    SignInsLockedResponse {
        "429": "Too many sign-ins of this account, or of all together, failed from this address: this one was not judged.",
    }
}

group! {
    /// The refresh exceeds a limit.
    RefreshLimitedResponse {
        "429": "The user has made more requests than its limit allows; or too many cookies from the address are not valid. The cookie still counts.",
    }
}

group! {
    /// The address has sent too many wrong cookies.
    WrongCookiesResponse {
        "429": "Too many cookies from the address are not valid: this one was not looked at.",
    }
}

/// There is no session to refresh.
pub(crate) struct NoSessionResponse;

impl IntoResponses for NoSessionResponse {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut response = problem("401", "The cookie is missing, was used before, or its session has ended.");
        let cleared = response_headers::text("Takes the cookie `paddock_refresh` away.");
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
        "503": "Not ready; `detail` names what is missing.",
    }
}

/// Documents an error response with this status.
pub(crate) fn problem(status: &str, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response =
        ResponseBuilder::new().description(description).content("application/problem+json", content).build();
    response_headers::describe(status, &mut response);
    response
}
