//! The events of a pull, as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use http::{HeaderName, HeaderValue, header};
use paddock_accounts::{PullJobId, access::Permission, types::Scope};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{pulls::no_pull, view::PullView};
use crate::{
    auth::Caller,
    http::{
        error::ApiError,
        extract::{Id, NoQuery, Revalidate as _},
        openapi_problems::{CallerErrors, CommonErrors, NotFoundResponse},
    },
    models::{Models, PullSnapshot, PullSubscription},
};

/// The time between two checks that the caller may still follow the pull.
const REVALIDATE_INTERVAL: Duration = Duration::from_secs(2);
/// The time without an event after which a comment keeps the connection alive.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Follows a pull.
///
/// The stream begins with the present state and ends after the final one: an event `progress` for
/// each state while the pull is queued or running, then one event `end`. The data of each is a `Pull`.
/// Comments keep the connection alive. A stream without `end` was interrupted, for example by a
/// restart of the server; open another one.
#[utoipa::path(
    get, path = "/models/pull/{id}/events", operation_id = "follow_pull", tag = "models",
    params(("id" = i64, Path, description = "The pull's id.")),
    responses(
        (status = 200, description = "The events.", content((String = "text/event-stream"))),
        CommonErrors, CallerErrors, NotFoundResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn follow(
    State(models): State<Models>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<Response, ApiError> {
    caller.require(Permission::Manage(Scope::ModelsRead)).await?;
    let present = models.find_pull(PullJobId(id)).await?.ok_or_else(|| no_pull(id))?;
    let mut checks = interval(REVALIDATE_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let states =
        States { caller, checks, subscription: models.follow_pull(present), shutdown: models.shutdown().clone() };
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would hold the events back.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let events = Sse::new(states.into_events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL));
    Ok((headers, events).into_response())
}

/// The states of a pull for a caller.
struct States {
    caller: Caller,
    checks: Interval,
    subscription: PullSubscription,
    shutdown: CancellationToken,
}

impl States {
    fn into_events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut states| {
            let state = states.next().await?;
            let name = if state.job.state.is_final() { "end" } else { "progress" };
            // A struct of texts and numbers is always JSON.
            let event = Event::default().event(name).json_data(PullView::from(state)).unwrap_or_default();
            Some((Ok(event), states))
        })
    }

    /// Returns the next state. `None` after the final one, when the caller has lost the right to it,
    /// and when the server shuts down.
    async fn next(&mut self) -> Option<PullSnapshot> {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                _ = self.checks.tick() => self.caller.revalidate().await.ok()?,
                state = self.subscription.next() => return state,
            }
        }
    }
}
