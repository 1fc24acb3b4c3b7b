//! The error answers of the management operations, in groups that handlers name.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{ContentBuilder, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder},
};

use super::headers;

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
    /// What any operation may answer.
    Problems {
        "422": "A parameter or field breaks a rule, or is not known; `errors` names each one.",
        "500": "A defect; the log has the request id.",
        "503": "The database is not available, or there is too much to do at once. `detail` says whether anything can have been changed.",
    }
}

group! {
    /// What an operation answers whose caller must be known.
    CallerProblems {
        "400": "Two different credentials were sent, the body is not valid JSON, or the request does not name one host.",
        "401": "There is no credential, or it is not valid.",
        "403": "The caller's roles, or the key's scopes, do not allow it.",
    }
}

group! {
    /// What an operation answers that takes a body.
    BodyProblems {
        "400": "The body is not valid JSON, two different credentials were sent, or the request does not name one host.",
        "408": "The body did not come in time.",
        "413": "The body is too large: more than 1 MiB, or 16 KiB where no credential is needed.",
        "415": "The body is not said to be JSON.",
        "422": "A parameter or field breaks a rule, or is not known; `errors` names each one.",
    }
}

group! {
    /// What an operation answers that anybody may send a body to, and that needs none.
    NeedlessBody {
        "400": "The body broke off, or the request does not name one host.",
        "408": "The body did not come in time.",
        "413": "The body is larger than 16 KiB.",
    }
}

group! {
    /// Something is named that is not there.
    Missing {
        "404": "There is no such thing.",
    }
}

group! {
    /// The present state stands against it.
    Conflict {
        "409": "It would break a rule over the present state: `type` says which.",
    }
}

group! {
    /// The sign-in was refused.
    WrongPassword {
        "401": "The user name or the password is wrong, or the user may not sign in.",
    }
}

group! {
    /// The sign-in was not judged.
    LoginLocked {
        "429": "Too many sign-ins of this account failed from this address: this one was not judged.",
    }
}

group! {
    /// The sign-in was not judged, for what was before at its account or its address.
    SignInsLocked {
        "429": "Too many sign-ins of this account, or of all together, failed from this address: this one was not judged.",
    }
}

group! {
    /// The session does not go on now.
    RefreshLimited {
        "429": "The user has made more requests than its limit allows; or too many cookies from the address are not valid. The cookie still counts.",
    }
}

group! {
    /// The cookie was not looked at.
    WrongCookies {
        "429": "Too many cookies from the address are not valid: this one was not looked at.",
    }
}

/// There is no session to go on with.
pub(crate) struct NoRefresh;

impl IntoResponses for NoRefresh {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut response = problem("401", "The cookie is missing, was used before, or its session has ended.");
        let takes_away = headers::text("Takes the cookie `paddock_refresh` away.");
        response.headers.insert("Set-Cookie".to_owned(), takes_away.into());
        [("401".to_owned(), response.into())].into()
    }
}

group! {
    /// Another page would use the cookie.
    ForeignOrigin {
        "403": "The cookie was sent by a page of another origin.",
    }
}

group! {
    /// The process is not ready.
    NotReady {
        "503": "Not ready; `detail` names what is missing.",
    }
}

/// What becomes of a request that is not meant for this server, whatever it asks for.
const MISDIRECTED: [(&str, &str); 2] = [
    ("400", "The request does not name one host."),
    (
        "403",
        "The request names another host than this machine, while the first admin's password is one that everybody knows.",
    ),
];

/// Adds to every operation of the management API what any request may be answered.
pub(super) fn describe(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let PathItem { get, put, post, delete, patch, .. } = item;
        for operation in [get, put, post, delete, patch].into_iter().flatten() {
            for (status, description) in MISDIRECTED {
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| problem(status, description).into());
            }
        }
    }
}

pub(super) fn problem(status: &str, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response =
        ResponseBuilder::new().description(description).content("application/problem+json", content).build();
    headers::describe(status, &mut response);
    response
}
