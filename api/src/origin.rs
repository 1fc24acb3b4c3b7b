//! Where a request comes from, and the id it is known by.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use paddock_accounts::Accounts;
use paddock_store::context::{Actor, AuditContext};

use crate::limits::Told;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The longest id that is taken over from a client.
const MAX_ID: usize = 128;
/// The most of a User-Agent that is kept, in characters.
const MAX_USER_AGENT: usize = 512;

/// The circumstances of one request.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The client's address.
    pub(crate) ip: IpAddr,
    id: HeaderValue,
    /// How the limits of whoever asks stand.
    pub(crate) told: Told,
}

impl Origin {
    /// Takes the client's id for the request if it is well formed, and makes one otherwise.
    pub(crate) fn of(headers: &HeaderMap, ip: IpAddr, accounts: &Accounts) -> Self {
        let given = [X_REQUEST_ID, X_TRACE_ID].iter().filter_map(|name| headers.get(name)).find(|id| well_formed(id));
        let id = given.cloned().unwrap_or_else(|| {
            let mut buffer = uuid::Uuid::encode_buffer();
            let text = accounts.usage().new_id().hyphenated().encode_lower(&mut buffer);
            HeaderValue::from_str(text).expect("a UUID is ASCII")
        });
        Self { ip, id, told: Told::default() }
    }

    /// The id, to be sent.
    pub(crate) fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// The id, to be written down.
    pub(crate) fn id_text(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// What audit is told of a request by `actor`.
    pub(crate) fn context(&self, user_agent: Option<&HeaderValue>, actor: Actor) -> AuditContext {
        let user_agent =
            user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).chars().take(MAX_USER_AGENT).collect());
        AuditContext { actor, ip: Some(self.ip), user_agent, request_id: Some(self.id_text().to_owned()) }
    }
}

/// Whether an id may stand in logs and headers as it is: 1 to 128 of the characters that UUIDs, ULIDs, trace ids and the
/// ids of common proxies are made of.
fn well_formed(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=MAX_ID).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0195b3a2-7c1e-7d3a-9f60-3b0d9e1f2a44", true)]
    #[case("Root=1-67891233-abcdef012345678912345678", true)]
    #[case("", false)]
    #[case("two words", false)]
    #[case("quote\"", false)]
    #[case("<script>", false)]
    fn only_harmless_ids_are_taken_over(#[case] id: &str, #[case] taken: bool) {
        assert_eq!(well_formed(&HeaderValue::from_str(id).unwrap()), taken);
    }

    #[test]
    fn an_id_has_a_longest_length() {
        assert!(well_formed(&HeaderValue::from_str(&"a".repeat(MAX_ID)).unwrap()));
        assert!(!well_formed(&HeaderValue::from_str(&"a".repeat(MAX_ID + 1)).unwrap()));
    }
}
