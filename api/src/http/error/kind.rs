//! The closed list of error kinds: status, problem type and title, and the text of its page.

use http::StatusCode;

macro_rules! kinds {
    (
        problems { $(#[doc = $meaning:literal] $name:ident = $status:ident, $slug:literal, $title:literal, $remedy:literal;)+ }
        gateway { $(#[doc = $own_meaning:literal] $own_name:ident = $own_status:ident, $own_slug:literal, $own_title:literal;)+ }
    ) => {
        /// The kind of an error. In the management API, `type` is `/problems/<slug>`, the path of a page that explains it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $(#[doc = $meaning] $name,)+
            $(#[doc = $own_meaning] $own_name,)+
        }

        impl Kind {
            /// The kinds that the management API answers with. Each has a page.
            pub(crate) const PROBLEMS: &'static [Self] = &[$(Self::$name),+];

            const fn parts(self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$name => (StatusCode::$status, $slug, $title),)+
                    $(Self::$own_name => (StatusCode::$own_status, $own_slug, $own_title),)+
                }
            }

            /// The meaning, in one sentence.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ $(Self::$own_name => $own_meaning,)+ }
            }

            /// What the client can do about it.
            pub(crate) const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ $(Self::$own_name => "",)+ }
            }
        }
    };
}

kinds! {
    problems {
        /// The request cannot be read.
        Malformed = BAD_REQUEST, "malformed", "Malformed request",
            "Mend what `detail` names: mostly, send valid JSON.";
        /// Two credentials that are not the same.
        ConflictingCredentials = BAD_REQUEST, "conflicting-credentials", "Conflicting credentials",
            "Send one credential.";
        /// No credential, or one that does not count.
        Unauthenticated = UNAUTHORIZED, "unauthenticated", "Authentication required",
            "Send a valid credential, or sign in again.";
        /// The sign-in was refused.
        WrongPassword = UNAUTHORIZED, "wrong-password", "Wrong user name or password",
            "Try again. The answer is the same for users that are unknown, disabled or without a password.";
        /// Known, and not allowed.
        Forbidden = FORBIDDEN, "forbidden", "Not allowed",
            "Ask for the role or scopes that `detail` names. The refusal is in the audit log.";
        /// There is no such thing.
        NotFound = NOT_FOUND, "not-found", "Not found",
            "Look at the path and the id.";
        /// The path takes other methods.
        MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed",
            "Use a method that the header `Allow` lists.";
        /// The body did not come.
        BodyTimeout = REQUEST_TIMEOUT, "body-timeout", "The body took too long",
            "Send the body faster: a piece every 10 seconds at least.";
        /// The address or external id is another user's.
        UserExists = CONFLICT, "user-exists", "User exists",
            "Use another address, or the `external_id` that belongs to this one.";
        /// The user may not act, so that it can be given no key.
        UserDisabled = CONFLICT, "user-disabled", "User disabled",
            "Enable the user first.";
        /// Nobody could administer any more.
        LastAdmin = CONFLICT, "last-admin", "Last admin",
            "Make another user an admin first.";
        /// A Kubernetes object owns it.
        Managed = CONFLICT, "managed", "Managed by Kubernetes",
            "Change the Kubernetes object that `detail` names.";
        /// The key is revoked.
        Revoked = CONFLICT, "revoked", "Credential revoked",
            "Issue a new key.";
        /// The key has expired.
        Expired = CONFLICT, "expired", "Credential expired",
            "Issue a new key.";
        /// More bytes than are taken.
        TooLarge = PAYLOAD_TOO_LARGE, "too-large", "Body too large",
            "Send less: at most 1 MiB, and 16 KiB where no credential is needed.";
        /// Not JSON by its own word.
        UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type",
            "Say `Content-Type: application/json`.";
        /// Fields or parameters break rules.
        Invalid = UNPROCESSABLE_ENTITY, "invalid", "Invalid value",
            "Mend what `errors` names.";
        /// Too many sign-ins failed before it.
        LoginLocked = TOO_MANY_REQUESTS, "login-locked", "Too many failed sign-ins",
            "Come back after `Retry-After` seconds. Sign-ins from other addresses are not held up.";
        /// More requests than a limit allows.
        RateLimited = TOO_MANY_REQUESTS, "rate-limited", "Too many requests",
            "Come back after `Retry-After` seconds; `X-RateLimit-Remaining` tells how many requests are left.";
        /// A defect.
        Internal = INTERNAL_SERVER_ERROR, "internal", "Internal error",
            "Report it with its `request_id`, which the log of the server has too.";
        /// The database, or something else without which nothing goes, is away.
        Unavailable = SERVICE_UNAVAILABLE, "unavailable", "Not available",
            "Come back after `Retry-After` seconds. `detail` says whether anything can have been changed.";
        /// Too much at once.
        Busy = SERVICE_UNAVAILABLE, "busy", "Busy",
            "Come back after `Retry-After` seconds.";
        /// `/readyz` says no.
        NotReady = SERVICE_UNAVAILABLE, "not-ready", "Not ready",
            "Mend what `detail` names.";
    }
    gateway {
        /// Ollama failed before it answered.
        UpstreamFailed = BAD_GATEWAY, "upstream-failed", "Ollama failed";
        /// Ollama did not answer in time.
        UpstreamTimeout = GATEWAY_TIMEOUT, "upstream-timeout", "Ollama did not answer in time";
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
