//! The actor and the client of a change: every audit event records them.

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
    /// The operator, for an object.
    Operator {
        /// The field manager that last set the object's spec: who changed it in Git or with kubectl.
        manager: String,
        /// `ApiUser`, `ApiKey` or `OllamaModel`.
        kind: &'static str,
        /// The object's namespace.
        namespace: String,
        /// The object's name.
        name: String,
    },
    /// Paddock itself; the text names its part.
    System(&'static str),
    /// A client that is not signed in.
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
    /// The client's User-Agent, at most 512 bytes of it.
    pub user_agent: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

impl AuditContext {
    /// The context of a change by Paddock itself.
    #[must_use]
    pub fn system(part: &'static str) -> Self {
        Self { actor: Actor::System(part), ip: None, user_agent: None, request_id: None }
    }

    /// The same client, with another actor.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        Self { actor, ..self.clone() }
    }
}

/// The part of an address that a client cannot vary: all of IPv4, the first 64 bits of IPv6.
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
