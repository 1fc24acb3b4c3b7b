//! The audit context: the actor and the client of a change, which every audit event records.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use crate::ids::{CredentialId, UserId};

/// The actor of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A signed-in user.
    User(UserId),
    /// An API key.
    Key(CredentialId),
    /// The operator, on behalf of a Kubernetes object.
    Operator {
        /// The field manager that last set the object's spec, such as Argo CD or kubectl.
        manager: String,
        /// `ApiUser`, `ApiKey` or `OllamaModel`.
        kind: &'static str,
        /// The object's namespace.
        namespace: String,
        /// The object's name.
        name: String,
    },
    /// Paddock itself. The text names the part, such as `seed`.
    System(&'static str),
    /// A client without a valid credential.
    Anonymous,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Operator { manager, kind, namespace, name } => {
                write!(f, "operator:{manager}:{kind}/{namespace}/{name}")
            }
            Self::System(part) => write!(f, "system:{part}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// The actor and the client of a change.
#[derive(Clone, Debug)]
pub struct AuditContext {
    /// The actor.
    pub actor: Actor,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The client's User-Agent header, truncated to 512 bytes.
    pub user_agent: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
}

impl AuditContext {
    /// The context of a change by Paddock itself.
    #[must_use]
    pub fn system(part: &'static str) -> Self {
        Self { actor: Actor::System(part), ip: None, user_agent: None, request_id: None }
    }

    /// Returns the same context with another actor.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        Self { actor, ..self.clone() }
    }
}

/// Returns the network of a client: the whole IPv4 address, or the /64 prefix of an IPv6 address. A
/// client can usually choose any address within its /64.
#[must_use]
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip @ IpAddr::V4(_) => ip,
    }
}
