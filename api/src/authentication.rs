//! Who is asking: the credential in the headers, and the principal behind it.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::request::Parts,
};
use http::{HeaderMap, HeaderName, header};
use metrics::counter;
use paddock_accounts::{
    AuthFailure, Error, UserId,
    access::{Permission, Principal},
    types::Scope,
};
use paddock_store::context::{Actor, AuditContext};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    app::{App, Unanswered, ask},
    extract::Sender,
    limits::{
        Exceeded,
        guesses::{Sort, Throttled},
    },
    origin::Origin,
    problem::{Kind, Problem},
    trace,
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Why nobody is known behind a request.
#[derive(Debug)]
pub(crate) enum Stranger {
    /// No credential at all, or nothing that could be one: another scheme than Bearer, say.
    Absent,
    /// Two credentials that are not the same.
    Conflicting,
    /// The credential does not count. Why, only log and metrics are told.
    Refused(AuthFailure),
    /// Known, and over a limit.
    Limited(Exceeded),
    /// The address presents one wrong credential after another.
    Throttled(Throttled),
    /// The database could not be asked.
    Unanswered(Unanswered),
}

impl Stranger {
    /// A word for metric labels and log fields.
    pub(crate) const fn text(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Conflicting => "conflicting",
            Self::Refused(why) => why.text(),
            Self::Limited(_) => "limited",
            Self::Throttled(_) => "throttled",
            Self::Unanswered(_) => "unanswered",
        }
    }
}

pub(crate) const ABSENT: &str = "send an API key or a session's access token as `Authorization: Bearer ...`";
pub(crate) const CONFLICTING: &str = "two different credentials were sent: send one";
/// One text for every reason, so that nobody learns which keys exist.
pub(crate) const REFUSED: &str = "the credential is not valid";

/// The credential of a request: a bearer token, or `X-API-Key`. The same one in several places is one.
pub(crate) fn presented(headers: &HeaderMap) -> Result<&str, Stranger> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| value.to_str().map(bearer));
    let keys = headers.get_all(X_API_KEY).iter().map(|value| value.to_str().map(|text| Some(text.trim())));
    let mut found = None;
    for text in bearer.chain(keys) {
        // Bytes that no credential has, or another scheme: beside a credential, it is another one.
        let text = text.ok().flatten().unwrap_or_default();
        match found {
            None => found = Some(text),
            Some(other) if other == text => {}
            Some(_) => return Err(Stranger::Conflicting),
        }
    }
    match found {
        None | Some("") => Err(Stranger::Absent),
        Some(text) => Ok(text),
    }
}

/// The token of an `Authorization` header of the Bearer scheme.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The principal behind a request.
pub(crate) async fn authenticate(app: &App, headers: &HeaderMap, origin: &Origin) -> Result<Arc<Principal>, Stranger> {
    let principal = judge(app, presented(headers), origin).await.inspect_err(count)?;
    trace::known(&principal);
    Ok(principal)
}

/// The principal behind what was presented, as it is now. What was found at a request's head ends with the head: whoever acts
/// later asks again, which costs no query as long as nothing has changed.
pub(crate) async fn again(app: &App, presented: Result<&str, Stranger>) -> Result<Arc<Principal>, Stranger> {
    let judged = match presented {
        Ok(text) => match ask(app.accounts.access().authenticate(text)).await {
            Ok(judged) => judged.map_err(Stranger::Refused),
            Err(unanswered) => Err(Stranger::Unanswered(unanswered)),
        },
        Err(stranger) => Err(stranger),
    };
    judged.inspect_err(count)
}

fn count(stranger: &Stranger) {
    counter!("paddock_authentication_failures_total", "reason" => stranger.text()).increment(1);
}

/// Judges a credential, unless it may be a guess and its address has made too many.
async fn judge(app: &App, presented: Result<&str, Stranger>, origin: &Origin) -> Result<Arc<Principal>, Stranger> {
    let text = presented?;
    let may_be_guess = || app.accounts.access().is_unverified_key(text);
    let attempt = app.guesses.begin(origin.ip, Sort::Credential, may_be_guess).map_err(Stranger::Throttled)?;
    match ask(app.accounts.access().authenticate(text)).await {
        Ok(Ok(principal)) => {
            attempt.spare();
            Ok(principal)
        }
        Ok(Err(why)) => Err(attempt.wrong().map_or_else(Stranger::Throttled, |()| Stranger::Refused(why))),
        Err(unanswered) => {
            attempt.spare();
            Err(Stranger::Unanswered(unanswered))
        }
    }
}

/// The same, if its limits allow the request: the way in to everything that needs a credential.
pub(crate) async fn admit(app: &App, headers: &HeaderMap, origin: &Origin) -> Result<Arc<Principal>, Stranger> {
    let principal = authenticate(app, headers, origin).await?;
    app.limits.admit(&principal, &origin.told).await.map_err(Stranger::Limited)?;
    Ok(principal)
}

impl From<Stranger> for Problem {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Absent => Self::new(Kind::Unauthenticated, ABSENT),
            Stranger::Conflicting => Self::new(Kind::ConflictingCredentials, CONFLICTING),
            Stranger::Refused(_) => Self::new(Kind::Unauthenticated, REFUSED),
            Stranger::Limited(exceeded) => Self::new(Kind::RateLimited, exceeded.message()).retry_after(exceeded.wait),
            Stranger::Throttled(throttled) => throttled.into(),
            Stranger::Unanswered(unanswered) => unanswered.into(),
        }
    }
}

/// Records that a known principal may not do what it asked for. The refusal stands whether or not it can be recorded.
pub(crate) async fn record_denial(app: &App, context: &AuditContext, principal: &Principal, target: &str, why: &str) {
    let recorded = ask(app.accounts.access().record_denial(context, principal, target, why)).await;
    if let Err(error) = recorded {
        tracing::error!(?error, target, "a refusal could not be recorded");
    }
}

/// A management request of someone known.
pub(crate) struct Caller {
    /// As it was when it was judged last.
    pub(crate) principal: Arc<Principal>,
    /// For audit: this principal acts.
    pub(crate) context: AuditContext,
    app: App,
    /// What audit says was refused: `PATCH /users/{id}`.
    route: String,
    /// What was presented, to be judged again.
    credential: SecretString,
    /// What the request has needed so far, to be decided again.
    needs: Vec<Permission>,
}

impl Caller {
    /// Goes on only if the caller may do this.
    pub(crate) async fn must(&mut self, need: Permission) -> Result<(), Problem> {
        self.needs.push(need);
        self.decide(need).await
    }

    /// Whose rows the caller reads: those of the user asked for, if they may; without one everybody's, which is `None`, or
    /// their own if they may see no others.
    pub(crate) async fn whose(&mut self, scope: Scope, asked: Option<UserId>) -> Result<Option<UserId>, Problem> {
        match asked {
            None => Ok(self.principal.may(Permission::Manage(scope)).is_err().then_some(self.principal.user_id)),
            Some(user) => {
                self.must(Permission::See(scope, user)).await?;
                Ok(Some(user))
            }
        }
    }

    async fn decide(&self, need: Permission) -> Result<(), Problem> {
        match self.principal.may(need) {
            Ok(()) => Ok(()),
            Err(denied) => Err(self.refuse(denied.to_string()).await),
        }
    }

    /// The answer to what came to nothing. If that is because the caller may not do it, it is recorded.
    pub(crate) async fn failed(&self, why: Unanswered) -> Problem {
        match why {
            Unanswered::Error(error @ (Error::ExceedsGrant(_) | Error::AccessDenied(_))) => {
                self.refuse(error.to_string()).await
            }
            other => other.into(),
        }
    }

    /// The refusal of what the caller may not do, which is recorded.
    pub(crate) async fn refuse(&self, why: String) -> Problem {
        record_denial(&self.app, &self.context, &self.principal, &self.route, &why).await;
        Problem::new(Kind::Forbidden, why)
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let origin = origin(parts)?;
        let principal = admit(app, &parts.headers, origin).await?;
        let credential = presented(&parts.headers)?.into();
        let context = origin.context(parts.headers.get(header::USER_AGENT), principal.actor());
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let route = format!("{} {path}", parts.method);
        Ok(Self { principal, context, app: app.clone(), route, credential, needs: Vec::new() })
    }
}

impl Sender for Caller {
    const IS_KNOWN: bool = true;

    /// Judges the credential again, and whether it may still do all that it had to be allowed.
    async fn still(&mut self) -> Result<(), Problem> {
        self.principal = again(&self.app, Ok(self.credential.expose_secret())).await?;
        for need in &self.needs {
            self.decide(*need).await?;
        }
        Ok(())
    }
}

/// The circumstances of a request by whoever.
pub(crate) struct Anyone(pub(crate) AuditContext);

impl FromRequestParts<App> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self(origin(parts)?.context(parts.headers.get(header::USER_AGENT), Actor::Anonymous)))
    }
}

impl Sender for Anyone {
    const IS_KNOWN: bool = false;

    /// Nobody has no right that could end.
    async fn still(&mut self) -> Result<(), Problem> {
        Ok(())
    }
}

fn origin(parts: &Parts) -> Result<&Origin, Problem> {
    // Put there for every request before it is routed.
    parts.extensions.get::<Origin>().ok_or_else(Problem::internal)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[rstest]
    #[case::bearer(&[("authorization", "Bearer abc")])]
    #[case::any_case(&[("authorization", "bEARER  abc ")])]
    #[case::key(&[("x-api-key", "abc")])]
    #[case::the_same_twice(&[("authorization", "Bearer abc"), ("x-api-key", "abc")])]
    fn a_credential_is_found(#[case] pairs: &[(&'static str, &'static str)]) {
        assert_eq!(presented(&headers(pairs)).unwrap(), "abc");
    }

    #[rstest]
    #[case::none(&[], "absent")]
    #[case::other_scheme(&[("authorization", "Basic YTpi")], "absent")]
    #[case::nothing_after_the_scheme(&[("authorization", "Bearer ")], "absent")]
    #[case::two(&[("authorization", "Bearer abc"), ("x-api-key", "abd")], "conflicting")]
    #[case::other_scheme_beside_a_key(&[("authorization", "Basic YTpi"), ("x-api-key", "abc")], "conflicting")]
    #[case::two_bearers(&[("authorization", "Bearer abc"), ("authorization", "Bearer abd")], "conflicting")]
    fn anything_else_is_nobody(#[case] pairs: &[(&'static str, &'static str)], #[case] why: &str) {
        assert_eq!(presented(&headers(pairs)).unwrap_err().text(), why);
    }
}
