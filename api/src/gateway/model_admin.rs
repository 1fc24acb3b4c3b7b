//! Pulls and deletions in Ollama's dialect. They use the jobs of the management API, so a pull
//! continues without its caller, and joins an unfinished pull of the same model.

use std::{convert::Infallible, sync::Arc};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use paddock_accounts::{
    access::{Permission, Principal},
    pulls::PullState,
};
use paddock_ollama::{Dialect, Endpoint, ModelName, PullStep, PullSteps, Scanned, scan};
use paddock_store::context::AuditContext;

use super::{
    error::{self, gateway_error},
    model_access::{NamedModel, written_name},
    plan::unreadable,
    revocation::{RevocationGuard, RevocationWatcher},
};
use crate::{
    http::error::{ApiError, Kind},
    models::{DeletionError, Models, PullSnapshot, PullSubscription},
};

/// A request of an admin that changes the models of Ollama.
pub(super) struct AdminRequest<'a> {
    pub(super) endpoint: &'static Endpoint,
    pub(super) models: &'a Models,
    pub(super) audit_context: AuditContext,
    pub(super) principal: &'a Arc<Principal>,
    pub(super) body: Bytes,
}

impl AdminRequest<'_> {
    /// Starts or joins a pull. Returns the progress as a stream, or one response after the pull.
    pub(super) async fn pull(
        self,
        revocations: &RevocationWatcher,
        permission: Permission,
    ) -> Result<Response, ApiError> {
        let scanned = self.scan()?;
        let source = self
            .models
            .check_pull(written_name(&scanned)?)
            .map_err(|error| gateway_error(Kind::Malformed, "model_not_pullable", format!("the model {error}")))?;
        if scanned.insecure() == Some(true) && !source.is_insecure {
            let registry = source.model.registry();
            let reason = format!("insecure: MODEL_REGISTRIES does not list {registry} as http://{registry}");
            return Err(gateway_error(Kind::Malformed, "insecure_not_allowed", reason));
        }
        let (present, _) = self.models.start_pull(&self.audit_context, self.principal, &source).await?;
        let pull = FollowedPull {
            subscription: self.models.follow_pull(present),
            revocation: revocations.register(self.principal, permission, &source.model),
            seen: PullSteps::default(),
        };
        if self.endpoint.is_streaming(scanned.stream()) {
            return Ok(pull.stream());
        }
        pull.wait().await?;
        let line = serde_json::to_vec(&PullStep::success()).map_err(|_| ApiError::internal())?;
        Ok(with_type("application/json; charset=utf-8", Body::from(line)))
    }

    /// Deletes a model. Returns a response without a body, as Ollama does.
    pub(super) async fn delete(self) -> Result<Response, ApiError> {
        let written = written_name(&self.scan()?)?.to_owned();
        let name = ModelName::parse(&written)
            .map_err(|error| gateway_error(Kind::Malformed, "invalid_model_name", error.to_string()))?;
        match self.models.delete(&self.audit_context, name.clone()).await {
            Ok(()) => Ok(Response::new(Body::empty())),
            Err(DeletionError::NotFound) => Err(NamedModel { name, written }.not_found()),
            Err(DeletionError::Unavailable) => Err(error::upstream_unavailable()),
            Err(failed @ DeletionError::Failed(_)) => {
                Err(gateway_error(Kind::UpstreamFailed, "upstream_failed", failed.to_string()))
            }
            Err(DeletionError::Database(error)) => Err(error.into()),
        }
    }

    fn scan(&self) -> Result<Scanned<'_>, ApiError> {
        let known_fields = self.endpoint.known_fields.ok_or_else(|| ApiError::internal().with_code("no_keys"))?;
        scan(&self.body, known_fields).map_err(|error| unreadable(&error))
    }
}

/// A pull whose caller waits for it.
struct FollowedPull {
    subscription: PullSubscription,
    revocation: RevocationGuard,
    /// The steps that the client has seen.
    seen: PullSteps,
}

impl FollowedPull {
    /// Returns the next state; `None` after the final state. Fails if the caller has lost the
    /// permission, or if the server shuts down.
    async fn next(&mut self) -> Result<Option<PullSnapshot>, ApiError> {
        tokio::select! {
            biased;
            () = self.revocation.token().cancelled() => {
                Err(if self.revocation.is_revoked() { error::revoked() } else { error::shutdown() })
            }
            state = self.subscription.next() => Ok(state),
        }
    }

    /// Waits for the end of the pull. Fails unless it succeeded.
    async fn wait(mut self) -> Result<(), ApiError> {
        while let Some(state) = self.next().await? {
            if let Some(error) = failure(&state) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns the progress as Ollama's lines. The last line is `success` or an error.
    fn stream(self) -> Response {
        let lines = stream::unfold(Some(self), async |pull| {
            let mut pull = pull?;
            let (lines, continues) = match pull.next().await {
                Ok(Some(state)) => (pull.lines(&state), !state.job.state.is_final()),
                Ok(None) => return None,
                Err(error) => (error_line(&error), false),
            };
            Some((Ok::<_, Infallible>(Bytes::from(lines)), continues.then_some(pull)))
        });
        with_type("application/x-ndjson", Body::from_stream(lines))
    }

    /// Returns a line for each step that is new or has changed, and for the error of a failed pull.
    fn lines(&mut self, state: &PullSnapshot) -> Vec<u8> {
        let mut lines = Vec::new();
        for step in state.steps.changed_since(&self.seen) {
            // Writing JSON of texts and numbers to memory cannot fail.
            let _ = serde_json::to_writer(&mut lines, step);
            lines.push(b'\n');
        }
        lines.extend(failure(state).as_ref().map(error_line).unwrap_or_default());
        self.seen = state.steps.clone();
        lines
    }
}

/// Returns the error of a pull that ended without success.
fn failure(state: &PullSnapshot) -> Option<ApiError> {
    let detail = match state.job.state {
        PullState::Queued | PullState::Running | PullState::Succeeded => return None,
        PullState::Failed => state.job.reason.clone().unwrap_or_default(),
        PullState::Cancelled => "the pull was cancelled".to_owned(),
    };
    Some(gateway_error(Kind::UpstreamFailed, "pull_failed", detail))
}

/// Returns an error as a line of the stream.
fn error_line(error: &ApiError) -> Vec<u8> {
    let body = Dialect::Ollama.error_body(error.status(), error.gateway_detail(), Some(error.code()));
    [&body[..], b"\n"].concat()
}

fn with_type(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
