//! The management API: one file per resource, one function per operation.

pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod cookie;
pub(crate) mod credentials;
pub(crate) mod docs;
pub(crate) mod health;
pub(crate) mod me;
pub(crate) mod passwords;
mod problems;
mod shared;
pub(crate) mod usage;
pub(crate) mod users;

use axum::{Router, middleware};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    problem::{Kind, Problem},
    telemetry::note_route,
};

/// Every operation, with its part of the OpenAPI document.
pub(crate) fn operations() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(me::profile))
        .routes(routes!(passwords::change))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::show, users::change, users::delete))
        .routes(routes!(passwords::set))
        .routes(routes!(credentials::list, credentials::issue::issue))
        .routes(routes!(credentials::rotate::rotate))
        .routes(routes!(credentials::revoke::revoke))
        .routes(routes!(credentials::revoke_many::revoke_many))
        .routes(routes!(credentials::revoke::clear_override))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(usage::totals))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(docs::document))
}

/// The router over them. What it does not know is a problem too.
pub(crate) fn router(app: App) -> Router {
    let (router, _) = operations().split_for_parts();
    router
        .merge(docs::pages())
        .merge(problems::pages())
        .fallback(async || Problem::new(Kind::NotFound, "there is nothing at this path"))
        .layer(middleware::from_fn(note_route))
        .with_state(app)
}
