//! The management API: one file per resource, one function per operation.

pub(crate) mod audit;
mod credentials;
mod docs;
mod health;
mod hints;
mod manifests;
mod me;
mod models;
mod ollama;
mod own_usage;
mod passwords;
mod problems;
mod schemas;
mod sessions;
mod time_bound;
mod usage;
mod users;

use axum::{
    Extension, Router,
    extract::{MatchedPath, Request},
    middleware::{self, Next},
    response::Response,
};
use http::Method;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    http::{
        error::{ApiError, Kind},
        request_context::RequestContext,
    },
    ui,
};

/// Returns every operation, with its part of the OpenAPI document.
pub(crate) fn operations() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(sessions::login))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::logout))
        .routes(routes!(me::profile))
        .routes(routes!(own_usage::show))
        .routes(routes!(passwords::change))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::show, users::change, users::delete))
        .routes(routes!(passwords::set))
        .routes(routes!(credentials::list::list, credentials::issue::issue))
        .routes(routes!(credentials::show::show, credentials::change::change))
        .routes(routes!(credentials::rotate::rotate))
        .routes(routes!(credentials::end_grace::end_grace))
        .routes(routes!(credentials::revoke::revoke))
        .routes(routes!(credentials::revoke_many::revoke_many))
        .routes(routes!(credentials::revoke::clear_override))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export::export))
        .routes(routes!(audit::chain::show))
        .routes(routes!(usage::totals))
        .routes(routes!(usage::export::export))
        .routes(routes!(ollama::models))
        .routes(routes!(ollama::chat))
        .routes(routes!(ollama::embeddings))
        .routes(routes!(models::list))
        .routes(routes!(models::pulls::list, models::pulls::start))
        .routes(routes!(models::pulls::show, models::pulls::cancel))
        .routes(routes!(models::events::follow))
        .routes(routes!(models::delete))
        .routes(routes!(manifests::users))
        .routes(routes!(manifests::keys))
        .routes(routes!(manifests::models))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(docs::document))
}

/// Returns the router of the management API. An unknown path gets an error.
pub(crate) fn router(app: App) -> Router {
    let (router, _) = operations().split_for_parts();
    router
        .merge(docs::pages())
        .merge(problems::pages())
        .merge(ui::pages())
        .method_not_allowed_fallback(async |method: Method| {
            ApiError::new(Kind::MethodNotAllowed, format!("this path does not take {method}"))
        })
        .fallback(async || ApiError::new(Kind::NotFound, "there is nothing at this path"))
        .layer(middleware::from_fn(set_route))
        .with_state(app)
}

/// Middleware that sets the route in the request's context.
async fn set_route(
    Extension(context): Extension<RequestContext>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(matched) = matched {
        context.route.set(matched.as_str().to_owned());
    }
    next.run(request).await
}
