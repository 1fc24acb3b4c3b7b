//! Names that users, other tools and the operator have to agree on. Changing one breaks installed clusters.

/// API group of every kind here.
pub const GROUP: &str = "paddock.dev";
/// The version that is stored and served.
pub const VERSION: &str = "v1alpha1";
/// `kubectl get paddock` lists the objects of all three kinds.
pub const CATEGORY: &str = "paddock";
/// Held by every object until the operator has cleaned up after it.
pub const FINALIZER: &str = "paddock.dev/cleanup";
/// `type` of the Secrets that hold issued keys.
pub const SECRET_TYPE: &str = "paddock.dev/api-key";

/// Annotations on the kinds and on issued Secrets.
pub mod annotation {
    /// On an `ApiKey`: any value not handled before asks for a new version of the key now. Stays on the object; the
    /// value last handled is echoed in `status.lastHandledRotateAt`.
    pub const ROTATE_REQUESTED_AT: &str = "paddock.dev/rotate-requested-at";
    /// On an `ApiKey`, beside [`ROTATE_REQUESTED_AT`]: how long the replaced version stays valid (`0s`: not at all).
    pub const ROTATE_GRACE: &str = "paddock.dev/rotate-grace";
    /// On any of the three kinds: `"true"` makes the operator leave the object, and what it stands for, as they are.
    /// An object that is deleted goes all the same.
    pub const PAUSED: &str = "paddock.dev/paused";
    /// On an object that is being deleted and is stuck: `"true"` lets it go without the clean-up. What the clean-up
    /// would have revoked or removed then stays.
    pub const SKIP_CLEANUP: &str = "paddock.dev/skip-cleanup";
    /// On an issued Secret: id of the key version whose plaintext it holds.
    pub const VERSION_ID: &str = "paddock.dev/version-id";
    /// On an issued Secret: the value of [`ROTATE_REQUESTED_AT`] that its version has answered.
    pub const ROTATE_HANDLED: &str = "paddock.dev/rotate-handled";
}

/// Labels on issued Secrets.
pub mod label {
    /// `"true"` on every Secret the operator writes. It watches Secrets by this label only.
    pub const MANAGED: &str = "paddock.dev/managed";
}

/// Keys of an issued Secret's `data`, named so that `envFrom` configures unmodified SDKs.
pub mod data {
    /// The key in plaintext.
    pub const API_KEY: &str = "api-key";
    /// The public part of the key, as `status.prefix` and the audit show it.
    pub const KEY_ID: &str = "key-id";
    /// Where the gateway is, without a trailing slash.
    pub const BASE_URL: &str = "base-url";
    /// End of this version, RFC 3339; empty: no end is set.
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
