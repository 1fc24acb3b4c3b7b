//! The closed list of error kinds: status, problem type and title, and the text of its page.

use http::StatusCode;

macro_rules! kinds {
    (
        problems {
            $(
                #[doc = $meaning:literal]
                $name:ident = $status:ident, $slug:literal, $title:literal, $remedy:literal;
            )+
        }
    ) => {
        /// The kind of an error. In the management API, `type` is `/problems/<slug>`, the path of a
        /// page that explains it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $(#[doc = $meaning] $name,)+
        }

        impl Kind {
            /// The kinds that the management API answers with. Each has a page.
            pub(crate) const PROBLEMS: &'static [Self] = &[$(Self::$name),+];

            const fn parts(self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$name => (StatusCode::$status, $slug, $title),)+
                }
            }

            /// The meaning, in one sentence.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What the client can do about it.
            pub(crate) const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

kinds! {
    problems {
        /// The request is not well-formed.
        Malformed = BAD_REQUEST, "malformed", "Malformed request",
            "Correct the part of the request that `detail` names. Most often the body is not valid JSON.";
        /// The request has two different credentials.
        ConflictingCredentials = BAD_REQUEST, "conflicting-credentials", "Conflicting credentials",
            "Send one credential.";
        /// The request has no credential, or its credential is not valid.
        Unauthenticated = UNAUTHORIZED, "unauthenticated", "Authentication required",
            "Send a valid credential, or sign in again.";
        /// The sign-in was refused.
        WrongPassword = UNAUTHORIZED, "wrong-password", "Wrong user name or password",
            "Check name and password. A user that is unknown, disabled or without a password gets the same answer.";
        /// A page over plain HTTP signs in, and its browser could not keep the session.
        InsecurePage = FORBIDDEN, "insecure-page", "Page is not encrypted",
            "Open Paddock over HTTPS, or at the address that `detail` names. An admin may set `PUBLIC_URL` to an address with `http:`.";
        /// The credential is valid, but does not allow the operation.
        Forbidden = FORBIDDEN, "forbidden", "Not allowed",
            "Ask an admin for the role or scope that `detail` names. The denial is in the audit log.";
        /// The path or the resource does not exist.
        NotFound = NOT_FOUND, "not-found", "Not found",
            "Check the path and the id.";
        /// The path does not support the method.
        MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed",
            "Use a method from the header `Allow`.";
        /// The body did not arrive in time.
        BodyTimeout = REQUEST_TIMEOUT, "body-timeout", "The body took too long",
            "Send the body without pauses of more than 10 seconds.";
        /// Another user has the address or the external id.
        UserExists = CONFLICT, "user-exists", "User exists",
            "Use another address, or the `external_id` of the user with this address.";
        /// The user is disabled and cannot get a key.
        UserDisabled = CONFLICT, "user-disabled", "User disabled",
            "Enable the user first.";
        /// After the change no admin could act.
        LastAdmin = CONFLICT, "last-admin", "Last admin",
            "Make another user an admin first.";
        /// A Kubernetes object owns the resource.
        Managed = CONFLICT, "managed", "Managed by Kubernetes",
            "Change the Kubernetes object that `detail` names.";
        /// The key is revoked.
        Revoked = CONFLICT, "revoked", "Credential revoked",
            "Issue a new key.";
        /// The key has expired.
        Expired = CONFLICT, "expired", "Credential expired",
            "Issue a new key.";
        /// The body is larger than the limit.
        TooLarge = PAYLOAD_TOO_LARGE, "too-large", "Body too large",
            "Send at most 1 MiB, or 16 KiB to an operation that needs no credential.";
        /// The body is not declared as JSON.
        UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type",
            "Send `Content-Type: application/json`.";
        /// A field or parameter breaks a rule.
        Invalid = UNPROCESSABLE_ENTITY, "invalid", "Invalid value",
            "Correct the values in `errors`.";
        /// Too many sign-ins failed.
        LoginLocked = TOO_MANY_REQUESTS, "login-locked", "Too many failed sign-ins",
            "Try again after `Retry-After` seconds. Sign-ins from other addresses are not delayed.";
        /// The user, the key or the address exceeds a limit.
        RateLimited = TOO_MANY_REQUESTS, "rate-limited", "Too many requests",
            "Try again after `Retry-After` seconds. `X-RateLimit-Remaining` is the number of requests left.";
        /// The server has a defect.
        Internal = INTERNAL_SERVER_ERROR, "internal", "Internal error",
            "Report the `request_id`. The server's log has a line with the same id.";
        /// The database, or another required part, is unavailable.
        Unavailable = SERVICE_UNAVAILABLE, "unavailable", "Not available",
            "Try again after `Retry-After` seconds. `detail` says whether the change may have been made.";
        /// Too many passwords are being verified at once.
        Busy = SERVICE_UNAVAILABLE, "busy", "Busy",
            "Try again after `Retry-After` seconds.";
        /// The process is not ready for requests.
        NotReady = SERVICE_UNAVAILABLE, "not-ready", "Not ready",
            "Restore the parts that `detail` names.";
        /// Ollama failed before it answered.
        UpstreamFailed = BAD_GATEWAY, "upstream-failed", "Ollama failed",
            "Try again. The log of Ollama has the cause.";
        /// Ollama did not answer in time.
        UpstreamTimeout = GATEWAY_TIMEOUT, "upstream-timeout", "Ollama did not answer in time",
            "Try again with a shorter prompt, or ask an admin to raise the timeout that `detail` names.";
    }
}

impl Kind {
    pub(crate) const fn status(self) -> StatusCode {
        self.parts().0
    }

    pub(crate) const fn title(self) -> &'static str {
        self.parts().2
    }

    /// The last segment of `type`.
    pub(crate) const fn slug(self) -> &'static str {
        self.parts().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_its_own_slug() {
        let mut slugs: Vec<_> = Kind::PROBLEMS.iter().map(|kind| kind.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), Kind::PROBLEMS.len());
    }
}
