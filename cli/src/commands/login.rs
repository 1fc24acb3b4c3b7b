//! `paddock login`

use std::time::Duration;

use clap::Args;
use http::StatusCode;
use paddock_store::clock::{Clock as _, SystemClock};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use url::Url;

use super::{hint, logout, print};
use crate::{
    client::{Client, Credential, DEFAULT_SERVER, RequestError, Target, context_server, find, parse_server, text_of},
    contexts::{self, Context, Contexts, ContextsFile},
    error::Error,
    prompt::{self, SignIn},
    signals,
    value_parsers::parse_duration,
};

/// Sign in to a server, and keep a key for it on this machine.
///
/// Asks for e-mail address and password, or reads them from standard input, one line each. Signs
/// in, issues a key, and signs out. The key is kept in a context, which becomes the current one:
/// $XDG_CONFIG_HOME/paddock/config.toml, or ~/.config/paddock/config.toml. If the context has a key
/// that `paddock login` issued earlier, that key is revoked.
///
/// Only admins can issue keys. Other users get a key from an admin, and type `paddock login
/// --with-key`.
#[derive(Args)]
pub(crate) struct Login {
    /// URL of the server [default: the server of the context, else http://127.0.0.1:8080]
    #[arg(long, env = "PADDOCK_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The name of the context [default: the host of --server, else the current context]
    #[arg(long, env = "PADDOCK_CONTEXT", value_name = "NAME", value_parser = contexts::parse_name)]
    context: Option<String>,
    /// Keep the key from standard input, instead of issuing one
    #[arg(long, conflicts_with_all = ["email", "password_stdin", "scope", "expires_in", "label"])]
    with_key: bool,
    /// The e-mail address [default: asked for]
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Read the password from standard input, also at a terminal
    #[arg(long)]
    password_stdin: bool,
    /// A scope of the key, such as chat or users:read; can be repeated [default: every scope that
    /// the user's roles allow]
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// After how long the key expires
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "720h")]
    expires_in: Duration,
    /// The label of the key [default: paddock login on HOSTNAME]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

/// Where to sign in, and the name of its context.
struct Place {
    server: Url,
    context: String,
    /// The user of the context that is replaced without being named.
    replaced_user: Option<String>,
}

impl Place {
    /// Fails if the sign-in of a user would replace the context of another one, and with it revoke
    /// the key of that one, although the context was not named.
    fn check_user(&self, email: &str) -> Result<(), Error> {
        match &self.replaced_user {
            Some(other) if other != email => Err(Error::config(format!(
                "the context {name} is that of {other}: add `--context NAME` to keep both, or `--context {name}` to replace it",
                name = self.context
            ))),
            _ => Ok(()),
        }
    }
}

impl Login {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let file = ContextsFile::locate()?;
        let place = self.place(&file.read()?)?;
        hint_if_plaintext(&place.server);
        let stop = signals::shutdown()?;
        let context = tokio::select! {
            context = self.new_context(&place) => context?,
            () = stop.cancelled() => {
                prompt::restore_echo();
                return Err(anyhow::anyhow!("interrupted; nothing is kept").into());
            }
        };
        store(&file, &place, context).await?;
        if std::env::var_os("PADDOCK_TOKEN")
            .or_else(|| std::env::var_os("PADDOCK_TOKEN_FILE"))
            .is_some_and(|value| !value.is_empty())
        {
            hint(
                "PADDOCK_TOKEN is set, and takes precedence over the context; `unset PADDOCK_TOKEN PADDOCK_TOKEN_FILE` lets commands use it",
            );
        }
        Ok(())
    }

    fn place(&self, contexts: &Contexts) -> Result<Place, Error> {
        let server = self.server.as_deref().map(|server| parse_server("PADDOCK_SERVER", server)).transpose()?;
        let known = match (&self.context, &server) {
            (Some(name), None) => Some(find(contexts, name)?),
            (None, None) => contexts.current(),
            (_, Some(_)) => None,
        };
        let server = match (server, known) {
            (Some(server), _) => server,
            (None, Some((name, context))) => context_server(name, context)?,
            (None, None) => parse_server("PADDOCK_SERVER", DEFAULT_SERVER)?,
        };
        let context = self.context.clone().or_else(|| Some(known?.0.to_owned())).unwrap_or_else(|| host(&server));
        let replaced = contexts.contexts.get(&context).filter(|_| self.context.is_none());
        let replaced_user = replaced.map(|replaced| replaced.email.clone());
        Ok(Place { server, context, replaced_user })
    }

    async fn new_context(&self, place: &Place) -> Result<Context, Error> {
        if self.with_key {
            return with_key(place, blocking(prompt::ask_key).await?).await;
        }
        let (email, from_stdin) = (self.email.clone(), self.password_stdin);
        let sign_in = blocking(move || prompt::ask_sign_in(email, from_stdin)).await?;
        let anonymous = Client::anonymous(&place.server)?;
        let session = begin_session(&anonymous, &sign_in).await?;
        let context = self.issue(&session, place).await;
        if let Err(error) = session.post("/auth/logout", None).await {
            hint(&format!("the session could not be ended, and ends by itself in 7 days: {error}"));
        }
        context
    }

    /// Issues a key for the user of this session.
    async fn issue(&self, session: &Client, place: &Place) -> Result<Context, Error> {
        let me = session.get("/me", &[]).await?.body;
        place.check_user(me["email"].as_str().unwrap_or_default())?;
        let expires_at = (SystemClock.now() + self.expires_in).to_string();
        let label = self.label.clone().unwrap_or_else(default_label);
        let scopes = if self.scope.is_empty() { me["scopes"].clone() } else { json!(self.scope) };
        let body = json!({"user_id": me["id"], "label": label, "scopes": scopes, "expires_at": expires_at});
        let server = text_of(&place.server);
        let issued = session.post("/credentials", Some(&body)).await.map_err(|error| match error {
            RequestError::Refused { status: StatusCode::FORBIDDEN, line } => Error::from(anyhow::anyhow!(
                "{} may not issue keys ({line}): ask an admin for a key, then type `paddock login --with-key --server {server}`",
                me["email"].as_str().unwrap_or("the user")
            )),
            error => error.into(),
        })?;
        let (Some(id), Some(key)) = (issued["credential_id"].as_i64(), issued["plaintext"].as_str()) else {
            return Err(RequestError::not_paddock(server, "/credentials", StatusCode::CREATED).into());
        };
        Ok(Context {
            server: server.to_owned(),
            email: me["email"].as_str().unwrap_or_default().to_owned(),
            credential_id: id,
            key: key.into(),
            expires_at: issued["expires_at"].as_str().map(str::to_owned),
            issued_by_login: true,
        })
    }
}

/// Signs in. The client of the session.
async fn begin_session(anonymous: &Client, sign_in: &SignIn) -> Result<Client, Error> {
    let body = json!({"username": sign_in.email, "password": sign_in.password.expose_secret()});
    let answer = anonymous.post("/auth/login", Some(&body)).await.map_err(|error| match error {
        RequestError::Refused { status: StatusCode::TOO_MANY_REQUESTS, line } => {
            Error::from(anyhow::anyhow!("{line}, with `paddock login --server {}`", anonymous.base()))
        }
        error => error.into(),
    })?;
    let token = answer["access_token"].as_str();
    let token = token.ok_or_else(|| RequestError::not_paddock(anonymous.base(), "/auth/login", StatusCode::OK))?;
    Ok(anonymous.with_session(token.into()))
}

/// The context of an existing key, once the server accepts it.
async fn with_key(place: &Place, key: SecretString) -> Result<Context, Error> {
    let target = Target { server: place.server.clone(), token: key.clone(), credential: Credential::Entered };
    let me = Client::of(&target)?.get("/me", &[]).await?.body;
    place.check_user(me["email"].as_str().unwrap_or_default())?;
    let server = text_of(&place.server);
    let Some(id) = me["key"]["credential_id"].as_i64() else {
        return Err(Error::config(format!(
            "{server} accepts the token as that of a session, which ends soon: type `paddock login --server {server}` instead"
        )));
    };
    Ok(Context {
        server: server.to_owned(),
        email: me["email"].as_str().unwrap_or_default().to_owned(),
        credential_id: id,
        key,
        expires_at: None,
        issued_by_login: false,
    })
}

/// Keeps the context, then revokes the key that it replaces.
async fn store(file: &ContextsFile, place: &Place, context: Context) -> Result<(), Error> {
    let stored = file.update(|contexts| {
        contexts.current_context = Some(place.context.clone());
        Ok(contexts.contexts.insert(place.context.clone(), context.clone()))
    });
    let replaced = match stored {
        Ok(replaced) => replaced,
        Err(error) if context.issued_by_login => {
            let revoked = logout::revoke(&place.context, &context).await;
            let state = revoked.map_or_else(
                |error| format!("key {} is still valid: {error}", context.credential_id),
                |_| "the new key is revoked again".to_owned(),
            );
            return Err(anyhow::anyhow!("{error}; {state}").into());
        }
        Err(error) => return Err(error),
    };
    print(&report(place, &context))?;
    match replaced {
        Some(old) if old.server == context.server && old.credential_id == context.credential_id => {}
        Some(old) if old.issued_by_login => {
            if let Err(error) = logout::revoke(&place.context, &old).await {
                hint(&format!("the replaced key {} of {} is still valid: {error}", old.credential_id, old.server));
            }
        }
        Some(old) => hint(&format!(
            "the replaced key {} of {} stays valid, because `paddock login` did not issue it",
            old.credential_id, old.server
        )),
        None => {}
    }
    Ok(())
}

fn report(place: &Place, context: &Context) -> String {
    let Context { server, email, credential_id, .. } = context;
    let expiry = context.expires_at.as_ref().map_or_else(String::new, |time| format!(", expires {time}"));
    format!("signed in to {server} as {email}: context {}, key {credential_id}{expiry}\n", place.context)
}

/// The host of a server, with its port unless that is the default of its scheme.
fn host(server: &Url) -> String {
    let host = server.host_str().unwrap_or_default();
    server.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn default_label() -> String {
    format!("paddock login on {}", rustix::system::uname().nodename().to_string_lossy())
}

/// Warns of a password or key that crosses a network in clear text.
fn hint_if_plaintext(server: &Url) {
    let is_local = server.host_str().is_some_and(paddock_api::is_local);
    if server.scheme() == "http" && !is_local {
        hint(&format!("{} is not encrypted: anyone on the way can read the password and the key", text_of(server)));
    }
}

/// Runs a question without blocking the signals.
async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(ask).await.map_err(anyhow::Error::from)?
}
