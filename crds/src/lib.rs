//! The custom resources of `paddock.dev/v1alpha1` as Rust types, and their definitions as YAML.
//!
//! The API server validates bounds, patterns and CEL rules, which are declared beside their fields.
//! The operator validates again, because an object may be older than a rule.

#![expect(unreachable_pub, reason = "KubeSchema repeats each public struct inside a function")]

mod apikey;
mod apiuser;
mod conditions;
mod definitions;
mod duration;
mod limits;
pub mod metadata;
mod names;
mod ollamamodel;

pub use apikey::{
    ApiKey, ApiKeySpec, ApiKeyStatus, KeyDeletionPolicy, KeyPriority, Rotation, Scope, SecretSpec, SecretTemplate,
    SecretVersion, UserRef, VersionState,
};
pub use apiuser::{
    AdoptionPolicy, AllowKeysFrom, ApiUser, ApiUserSpec, ApiUserStatus, GeneratePassword, PasswordPolicy,
    PasswordSecretRef, Role, UserDeletionPolicy,
};
pub use conditions::HasConditions;
pub use definitions::{definitions, yaml};
pub use duration::{GoDuration, InvalidDuration};
pub use limits::Limits;
pub use names::{CATEGORY, FINALIZER, GROUP, SECRET_TYPE, VERSION, annotation, data, label, password_data};
pub use ollamamodel::{
    BackendState, BackendStatus, ModelDeletionPolicy, ModelOrigin, OllamaModel, OllamaModelSpec, OllamaModelStatus,
    Progress,
};
