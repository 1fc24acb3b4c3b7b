//! The query parameters of a PostgreSQL URL. Hosting providers write URLs for libpq, which knows
//! more parameters than the client library of Paddock.

/// The query parameters that the client library understands.
pub(super) const UNDERSTOOD: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Other spellings that the client library accepts, and a parameter of the library itself.
const SPELLINGS: [&str; 6] = ["ssl-mode", "ssl-root-cert", "ssl-ca", "ssl-cert", "ssl-key", "statement-cache-capacity"];

/// Parameters of libpq and of poolers that change nothing here and protect nothing.
const WITHOUT_EFFECT: [&str; 21] = [
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "pgbouncer",
    "ssl_max_protocol_version",
    "sslcompression",
    "sslnegotiation",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "uselibpqcompat",
];

/// Parameters of libpq that protect the connection, and the values that demand no protection.
const PROTECTING: [(&str, &[&str]); 8] = [
    ("channel_binding", &["disable", "prefer"]),
    ("gssencmode", &["disable", "prefer"]),
    ("require_auth", &[]),
    ("requirepeer", &[]),
    ("ssl_min_protocol_version", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ("sslcertmode", &["disable", "allow"]),
    ("sslcrl", &[]),
    ("sslcrldir", &[]),
];

/// The parameters of a PostgreSQL URL that Paddock does not apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnappliedParameters {
    /// The names of parameters that change nothing here.
    pub without_effect: Vec<&'static str>,
    /// The names of parameters that ask for protection which Paddock does not have. The connection
    /// is weaker than the URL asks for.
    pub unprotected: Vec<&'static str>,
}

/// A PostgreSQL URL for the client library, without the parameters that the library does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reduced {
    pub(super) url: String,
    pub(super) unapplied: UnappliedParameters,
    /// Whether the URL asks for the public certificate authorities: `sslrootcert=system`.
    pub(super) has_system_roots: bool,
    /// Whether the URL names a file with certificate authorities.
    pub(super) has_root_file: bool,
}

/// Removes the parameters that have no effect. An unknown parameter is an error: its name, or an
/// empty text if the name may contain a part of a password.
///
/// The client library would ignore unknown parameters and log their values. A misspelt `sslmode`
/// would leave the connection unencrypted, and a misspelt `password` would appear in the log.
pub(super) fn reduce(url: &str) -> Result<Reduced, String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut unapplied = UnappliedParameters::default();
    let (mut has_system_roots, mut has_root_file) = (false, false);
    let mut kept = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or(("", ""));
        match name {
            "sslrootcert" if value == "system" => has_system_roots = true,
            _ if is_understood(name) => {
                has_root_file |= matches!(name, "sslrootcert" | "ssl-root-cert" | "ssl-ca");
                kept.push(parameter);
            }
            _ => {
                if let Some(known) = WITHOUT_EFFECT.iter().find(|known| **known == name) {
                    unapplied.without_effect.push(known);
                } else if let Some((known, harmless)) = PROTECTING.iter().find(|(known, _)| *known == name) {
                    let list = if harmless.contains(&value) {
                        &mut unapplied.without_effect
                    } else {
                        &mut unapplied.unprotected
                    };
                    list.push(known);
                } else {
                    return Err(if is_word(name) { name.to_owned() } else { String::new() });
                }
            }
        }
    }
    let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    Ok(Reduced { url, unapplied, has_system_roots, has_root_file })
}

fn is_understood(name: &str) -> bool {
    name.starts_with("options[") || UNDERSTOOD.contains(&name) || SPELLINGS.contains(&name)
}

/// Whether a text looks like a name, so that a message may quote it. Any other text may be part of
/// a password.
pub(super) fn is_word(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_hosted_database_loses_what_has_no_effect() {
        let url = "postgres://u:p@ep-1.example.com/d?sslmode=require&channel_binding=prefer&connect_timeout=10\
                   &target_session_attrs=read-write&gssencmode=disable&keepalives=1&keepalives_idle=30\
                   &sslnegotiation=direct&options=endpoint%3Dep-1";
        let reduced = reduce(url).unwrap();
        assert_eq!(reduced.url, "postgres://u:p@ep-1.example.com/d?sslmode=require&options=endpoint%3Dep-1");
        let names = [
            "channel_binding",
            "connect_timeout",
            "target_session_attrs",
            "gssencmode",
            "keepalives",
            "keepalives_idle",
            "sslnegotiation",
        ];
        assert_eq!(reduced.unapplied.without_effect, names);
        assert!(reduced.unapplied.unprotected.is_empty());
    }

    #[test]
    fn protection_that_is_missing_is_told_apart() {
        for (parameter, name) in [
            ("channel_binding=require", "channel_binding"),
            ("gssencmode=require", "gssencmode"),
            ("require_auth=scram-sha-256", "require_auth"),
            ("ssl_min_protocol_version=TLSv1.3", "ssl_min_protocol_version"),
            ("sslcrl=/etc/crl.pem", "sslcrl"),
        ] {
            let reduced = reduce(&format!("postgres://db/app?{parameter}")).unwrap();
            assert_eq!(reduced.unapplied.unprotected, [name]);
            assert_eq!((reduced.unapplied.without_effect.len(), reduced.url.as_str()), (0, "postgres://db/app"));
        }
    }

    #[test]
    fn certificate_authorities_are_found() {
        let system = reduce("postgres://db/app?sslrootcert=system").unwrap();
        assert!(system.has_system_roots && !system.has_root_file && system.url == "postgres://db/app");
        let file = reduce("postgres://db/app?sslmode=require&sslrootcert=/ca.pem").unwrap();
        assert!(!file.has_system_roots && file.has_root_file && file.url.ends_with("sslrootcert=/ca.pem"));
    }

    #[test]
    fn an_unknown_parameter_is_an_error() {
        for (query, name) in [("ssl=true", "ssl"), ("Pass=x", ""), ("=x", ""), ("flag", "")] {
            assert_eq!(reduce(&format!("postgres://db/app?{query}")).unwrap_err(), name);
        }
    }
}
