//! The connection slot that a request occupies, and how the request gives it up while it waits.
//!
//! The number of connections is bounded. A request that only waits for its client or for Ollama
//! must not keep other clients out, so its connection may be evicted meanwhile.

use std::sync::Arc;

use http::Extensions;

/// The permit of a connection, which the server limits in number.
pub(crate) trait Slot: Send + Sync {
    /// Allows the eviction of the connection.
    fn release(&self);

    /// Forbids the eviction again. Returns false if the connection was evicted meanwhile.
    fn reclaim(&self) -> bool;
}

/// The slot of the connection that a request came over. The server puts it into the request's
/// extensions.
#[derive(Clone)]
pub(crate) struct ConnectionHandle(pub(crate) Arc<dyn Slot>);

/// Awaits a slow client or upstream before any work has started. Meanwhile the connection may be
/// evicted in favour of a new connection. The future then never completes, and the server drops the
/// connection.
pub(crate) async fn evictable_while<T>(request: &Extensions, waiting: impl Future<Output = T>) -> T {
    let Some(ConnectionHandle(slot)) = request.get() else { return waiting.await };
    slot.release();
    let done = waiting.await;
    if slot.reclaim() { done } else { std::future::pending().await }
}
