//! Value types. Each value is validated when it is created.

pub mod display_text;
mod email;
mod limits;
mod managed_by;
mod patterns;
mod priority;
mod roles_and_scopes;
mod token;
mod violation;

pub use email::{Email, EmailError};
pub(crate) use limits::bind_limits;
pub use limits::{Limits, LimitsPatch};
pub use managed_by::ManagedBy;
pub(crate) use managed_by::ManagedColumns;
pub use patterns::ModelPatterns;
pub use priority::Priority;
pub use roles_and_scopes::{EnumSet, Role, Roles, Scope, Scopes, TextEnum, UnknownVariant, parse_variant};
pub use token::{ApiKeyToken, MalformedKey, prefix_of};
pub use violation::Violation;
