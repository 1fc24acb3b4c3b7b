//! Names shared by users, other tools and the operator. Changing a value breaks installed clusters.

/// API group of the custom resources.
pub const GROUP: &str = "paddock.dev";
/// The version that is stored and served.
pub const VERSION: &str = "v1alpha1";
/// Category of the custom resources: `kubectl get paddock` lists all their objects.
pub const CATEGORY: &str = "paddock";
/// Finalizer on every object, until the operator has cleaned up after it.
pub const FINALIZER: &str = "paddock.dev/cleanup";
/// `type` of the Secrets that hold issued keys.
pub const SECRET_TYPE: &str = "paddock.dev/api-key";

/// Annotations of the custom resources and of issued Secrets.
pub mod annotation {
    /// On an `ApiKey`: a new value requests a rotation now. The annotation stays on the object;
    /// `status.lastHandledRotateAt` repeats the last handled value.
    pub const ROTATE_REQUESTED_AT: &str = "paddock.dev/rotate-requested-at";
    /// On an `ApiKey`, with [`ROTATE_REQUESTED_AT`]: how long the replaced version stays valid.
    /// `0s` ends it at once.
    pub const ROTATE_GRACE: &str = "paddock.dev/rotate-grace";
    /// On any custom resource: `"true"` pauses its reconciliation, which the condition `Paused`
    /// shows. Deletion is still handled.
    pub const PAUSED: &str = "paddock.dev/paused";
    /// On any custom resource: a new value reconciles the object now. The annotation stays on the
    /// object; `status.lastHandledReconcileAt` repeats the last handled value.
    pub const RECONCILE_REQUESTED_AT: &str = "paddock.dev/reconcile-requested-at";
    /// On an object that is being deleted: `"true"` removes the finalizer without cleaning up.
    /// Keys, users and models of the object then stay.
    pub const SKIP_CLEANUP: &str = "paddock.dev/skip-cleanup";
    /// On an issued Secret: id of the key version that it holds.
    pub const VERSION_ID: &str = "paddock.dev/version-id";
    /// On an issued Secret: the value of [`ROTATE_REQUESTED_AT`] that its version was issued for.
    pub const ROTATE_HANDLED: &str = "paddock.dev/rotate-handled";
}

/// Labels of issued Secrets.
pub mod label {
    /// `"true"` on every Secret that the operator writes. The operator only watches Secrets with
    /// this label.
    pub const MANAGED: &str = "paddock.dev/managed";
    /// `"true"` on a Secret that holds the password of an `ApiUser`: the operator then notices its
    /// changes at once.
    pub const PASSWORD: &str = "paddock.dev/password";
}

/// Keys of the `data` of a Secret with a generated password.
pub mod password_data {
    /// The user's e-mail address.
    pub const USERNAME: &str = "username";
    /// The password.
    pub const PASSWORD: &str = "password";
}

/// Keys of an issued Secret's `data`. With `envFrom` they configure unmodified SDKs.
pub mod data {
    /// The key in plaintext.
    pub const API_KEY: &str = "api-key";
    /// The public prefix of the key, as in `status.prefix` and in the audit log.
    pub const KEY_ID: &str = "key-id";
    /// URL of the gateway, without a trailing slash.
    pub const BASE_URL: &str = "base-url";
    /// When this version expires, in RFC 3339; empty: never.
    pub const EXPIRES_AT: &str = "expires-at";
    /// Read by Ollama's client and SDKs.
    pub const OLLAMA_HOST: &str = "OLLAMA_HOST";
    /// Read by Ollama's SDKs.
    pub const OLLAMA_API_KEY: &str = "OLLAMA_API_KEY";
    /// Read by OpenAI's SDKs; ends in `/v1`.
    pub const OPENAI_BASE_URL: &str = "OPENAI_BASE_URL";
    /// Read by OpenAI's SDKs.
    pub const OPENAI_API_KEY: &str = "OPENAI_API_KEY";
    /// Read by Anthropic's SDKs, which append `/v1` themselves.
    pub const ANTHROPIC_BASE_URL: &str = "ANTHROPIC_BASE_URL";
    /// Read by Anthropic's SDKs.
    pub const ANTHROPIC_API_KEY: &str = "ANTHROPIC_API_KEY";
}
