//! The check that a sender may still act.

use crate::http::error::ApiError;

/// The sender of a request, whose rights may end while the request is under way.
pub(crate) trait Revalidate {
    /// Whether a credential identifies the sender.
    const IS_AUTHENTICATED: bool;

    /// Re-authenticates the sender and repeats the permission checks that it has passed. Fails if
    /// the sender has since lost one of these rights.
    fn revalidate(&mut self) -> impl Future<Output = Result<(), ApiError>> + Send;
}
