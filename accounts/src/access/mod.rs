//! Principals, their permissions, and the rights that a key may pass on.

pub(crate) mod delegation;
mod permission;
pub(crate) mod principal;

pub use delegation::{Constraints, CoversModels, DelegationLimits};
pub use permission::Permission;
pub use principal::{AuthMethod, Principal};

pub use crate::error::AccessDenied;
