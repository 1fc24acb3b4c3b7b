//! What a principal may do, and how much of it a key may pass on.

pub(crate) mod delegation;
pub(crate) mod principal;

pub use delegation::{Constraints, DelegationLimits};
pub use principal::{AuthMethod, Permission, Principal};

pub use crate::error::AccessDenied;
