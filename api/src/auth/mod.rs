//! Authentication: the principal behind a request, the limit on wrong credentials of one address,
//! and the refresh cookie of sessions.

mod authenticator;
mod caller;
mod credential;
mod error;
pub(crate) mod failure_limiter;
pub(crate) mod refresh_cookie;

pub(crate) use authenticator::{AuthenticatedRequest, Authenticator};
pub(crate) use caller::{Anonymous, Caller};
pub(crate) use error::{AuthError, REFUSED};
