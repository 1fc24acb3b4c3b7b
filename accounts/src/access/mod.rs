//! Permissions of principals, and the rights that a key may pass on.

pub(crate) mod delegation;
pub(crate) mod principal;

pub use delegation::{Constraints, CoversModels, DelegationLimits};
pub use principal::{AuthMethod, Permission, Principal};

pub use crate::error::AccessDenied;
