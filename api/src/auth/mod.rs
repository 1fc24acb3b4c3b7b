//! Authentication: the principal behind a request, the limit on wrong credentials of one address,
//! and the refresh cookie of sessions.

mod authenticator;
mod caller;
mod credential;
mod error;
pub(crate) mod failure_limiter;
pub(crate) mod refresh_cookie;

pub(crate) use authenticator::Authenticator;
pub(crate) use caller::{Anonymous, Caller};
pub(crate) use credential::credential_from_headers;
pub(crate) use error::{AuthError, REFUSED};
