//! Service links: the variables that Kubernetes and Docker set for every Service beside a pod, such
//! as `DB_PORT=tcp://10.96.0.12:5432` for a Service named `db`. They are not settings.

use std::ffi::OsStr;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether a variable is a service link.
pub(super) fn is_service_link(name: &str, value: &OsStr) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_protocol = |word: &str| PROTOCOLS.iter().any(|protocol| protocol.eq_ignore_ascii_case(word));
    let is_number = |word: &str| word.parse::<u16>().is_ok();
    match words.as_slice() {
        // DB_PORT_5432_TCP
        [_, .., "PORT", number, protocol] if is_number(number) && is_protocol(protocol) => true,
        // DB_PORT_5432_TCP_ADDR
        [_, .., "PORT", number, protocol, "PROTO" | "PORT" | "ADDR"] if is_number(number) && is_protocol(protocol) => {
            true
        }
        // DB_PORT=tcp://10.96.0.12:5432
        [_, .., "PORT"]
            if value
                .to_str()
                .and_then(|value| value.split_once("://"))
                .is_some_and(|(scheme, _)| is_protocol(scheme)) =>
        {
            true
        }
        _ => is_service(&words),
    }
}

/// Whether the words are those of `DB_SERVICE_HOST`, `DB_SERVICE_PORT` or `DB_SERVICE_PORT_HTTP`.
fn is_service(words: &[&str]) -> bool {
    let named = words.iter().skip(1).zip(words.iter().skip(2));
    named.into_iter().any(|(word, next)| *word == "SERVICE" && matches!(*next, "HOST" | "PORT"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("DB_PORT", "tcp://10.96.0.12:5432", true)]
    #[case("DB_PORT", "udp://10.96.0.12:5432", true)]
    #[case("DB_PORT", "tcp://[fd00::1]:5432", true)]
    #[case("DB_PORT_5432_TCP", "tcp://10.96.0.12:5432", true)]
    #[case("DB_PORT_5432_TCP_ADDR", "10.96.0.12", true)]
    #[case("DB_PORT_5432_TCP_PORT", "5432", true)]
    #[case("DB_SERVICE_HOST", "10.96.0.12", true)]
    #[case("DB_SERVICE_PORT", "5432", true)]
    #[case("DB_SERVICE_PORT_POSTGRES", "5432", true)]
    #[case("DB_PORT", "5432", false)]
    #[case("DB_PORT", "http://db", false)]
    #[case("PORT", "tcp://10.96.0.12:80", false)]
    #[case("DB_HOST", "10.96.0.12", false)]
    #[case("RATE_LIMIT", "60", false)]
    fn only_links_of_services_are_known(#[case] name: &str, #[case] value: &str, #[case] expected: bool) {
        assert_eq!(is_service_link(name, OsStr::new(value)), expected);
    }
}
