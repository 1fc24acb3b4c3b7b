//! The state of a running API, and the parts of it that extractors take.

use std::{ops::Deref, sync::Arc};

use axum::extract::FromRef;
use bytes::Bytes;
use paddock_accounts::Accounts;

use crate::{
    auth::{Authenticator, failure_limiter::AuthFailureLimiter, refresh_cookie::RefreshCookie},
    config::WebUi,
    gateway::Gateway,
    http::{client_ip::TrustedProxies, cors::Origins},
    models::Models,
    rate_limit::RateLimiter,
    readiness::Readiness,
};

/// The state of a running API. Cheap to clone. Handlers take the part that they need, through
/// `FromRef`.
#[derive(Clone)]
pub(crate) struct App {
    state: Arc<AppState>,
}

pub(crate) struct AppState {
    pub(crate) accounts: Accounts,
    pub(crate) authenticator: Authenticator,
    pub(crate) failure_limiter: Arc<AuthFailureLimiter>,
    pub(crate) gateway: Gateway,
    pub(crate) models: Models,
    /// Whether only requests to this machine are served.
    pub(crate) only_local_hosts: bool,
    pub(crate) openapi: OpenApiJson,
    pub(crate) origins: Origins,
    pub(crate) rate_limiter: Arc<RateLimiter>,
    pub(crate) readiness: Readiness,
    pub(crate) refresh_cookie: RefreshCookie,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) web_ui: WebUi,
}

/// The OpenAPI document as JSON.
#[derive(Clone)]
pub(crate) struct OpenApiJson(pub(crate) Bytes);

impl App {
    pub(crate) fn new(state: AppState) -> Self {
        Self { state: Arc::new(state) }
    }
}

impl Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.state
    }
}

impl FromRef<App> for Accounts {
    fn from_ref(app: &App) -> Self {
        app.accounts.clone()
    }
}

impl FromRef<App> for Authenticator {
    fn from_ref(app: &App) -> Self {
        app.authenticator.clone()
    }
}

impl FromRef<App> for Models {
    fn from_ref(app: &App) -> Self {
        app.models.clone()
    }
}

impl FromRef<App> for OpenApiJson {
    fn from_ref(app: &App) -> Self {
        app.openapi.clone()
    }
}

impl FromRef<App> for Readiness {
    fn from_ref(app: &App) -> Self {
        app.readiness.clone()
    }
}

impl FromRef<App> for RefreshCookie {
    fn from_ref(app: &App) -> Self {
        app.refresh_cookie.clone()
    }
}
