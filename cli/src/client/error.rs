//! Why a request of a command failed, in one line that says what to do.

use std::fmt;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use paddock_store::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

use crate::error::Error;

/// Part of the TLS error for a server that answers in plain text.
const PLAINTEXT_TLS_ERROR: &str = "InvalidContentType";
/// Part of the TLS errors about a certificate.
const CERTIFICATE_TLS_ERROR: &str = "certificate";

/// Where the credential of a client comes from, which decides the remedy when it is refused.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// `PADDOCK_TOKEN` or its flag.
    Setting,
    /// A context.
    Context {
        /// The name of the context.
        name: String,
        /// When its key expires, if that is known.
        expires_at: Option<String>,
    },
    /// A key that the user has just entered.
    Entered,
    /// The session of a sign-in, or none yet.
    SignIn,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// The server did not answer.
    Unreachable(String),
    /// The answer does not come from Paddock.
    NotPaddock(String),
    /// Paddock refused the request.
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// What was wrong, and what to do.
        line: String,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreachable(line) | Self::NotPaddock(line) | Self::Refused { line, .. }) = self;
        f.write_str(line)
    }
}

impl std::error::Error for RequestError {}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        Self::Other(error.into())
    }
}

impl RequestError {
    /// The error for a request to this server without a response.
    pub(crate) fn unreachable(base: &str, error: reqwest::Error) -> Self {
        let cause = root_cause(&error.without_url());
        if let Some(rest) = base.strip_prefix("https://") {
            if cause.contains(PLAINTEXT_TLS_ERROR) {
                return Self::Unreachable(format!(
                    "{base} speaks no TLS; try http://{rest} with --server or PADDOCK_SERVER, if the network between is trusted"
                ));
            }
            if cause.contains(CERTIFICATE_TLS_ERROR) {
                return Self::Unreachable(format!(
                    "{base} has a certificate that this machine does not trust ({cause}): type the command again with \
                     SSL_CERT_FILE=ca.pem in front, where ca.pem holds the certificate of its authority"
                ));
            }
        }
        Self::Unreachable(format!(
            "{base} does not answer ({cause}): start the server, or set another URL with --server or PADDOCK_SERVER"
        ))
    }

    /// The error for a response that does not come from Paddock.
    pub(crate) fn not_paddock(base: &str, path: &str, status: StatusCode) -> Self {
        Self::NotPaddock(format!(
            "{base}{path} answered {status}, but not as Paddock does: give Paddock's URL, as in `--server https://paddock.example.com`"
        ))
    }

    /// The error for a problem response.
    pub(crate) fn refused(
        base: &str,
        credential: &Credential,
        status: StatusCode,
        headers: &HeaderMap,
        problem: &Value,
    ) -> Option<Self> {
        let mut line = problem["detail"].as_str()?.to_owned();
        let violations = problem["errors"].as_array().into_iter().flatten().filter_map(|error| {
            let (pointer, detail) = (error["pointer"].as_str()?, error["detail"].as_str()?);
            Some(format!("{pointer} {detail}"))
        });
        let violations: Vec<String> = violations.filter(|violation| !line.contains(violation)).collect();
        if !violations.is_empty() {
            line = format!("{line}: {}", violations.join("; "));
        }
        match status {
            StatusCode::UNAUTHORIZED => line = refused_credential(base, credential, &line),
            StatusCode::FORBIDDEN => line = format!("not allowed: {line}"),
            _ if status.is_server_error() => {
                let id = problem["request_id"].as_str().unwrap_or("unknown");
                line = format!("{line} (request {id})");
            }
            _ => {}
        }
        if let Some(seconds) = retry_after_seconds(headers) {
            line = format!("{line}; try again in {seconds} s");
        }
        Some(Self::Refused { status, line: line.replace(char::is_control, " ") })
    }
}

/// The line for a credential that the server does not accept. The server does not say why.
fn refused_credential(base: &str, credential: &Credential, detail: &str) -> String {
    match credential {
        Credential::Setting => {
            format!("{base} refused PADDOCK_TOKEN: {detail}; set it to a live API key or a fresh access token")
        }
        Credential::Context { name, expires_at: Some(time) } if is_past(time) => {
            format!("the key of context `{name}` expired at {time}: type `paddock login --context {name}`")
        }
        Credential::Context { name, .. } => format!(
            "{base} refused the key of context `{name}`, because it is revoked or has expired, or its user is disabled: \
             type `paddock login --context {name}`"
        ),
        Credential::Entered => format!(
            "{base} refused the key, because it is wrong, revoked or has expired, or its user is disabled: ask an admin \
             for another, then type `paddock login --with-key --server {base}`"
        ),
        Credential::SignIn => format!(
            "{base} refused the sign-in, because the address or the password is wrong, or the account is disabled: \
             type `paddock login --server {base}` to try again, or ask an admin for `paddock user enable` and a new password"
        ),
    }
}

fn is_past(time: &str) -> bool {
    time.parse::<Timestamp>().is_ok_and(|time| time <= SystemClock.now())
}

/// The seconds of the `Retry-After` header.
fn retry_after_seconds(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// The root cause: `Connection refused` instead of "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
