//! The Ollamas behind the gateway, and how long a request to them may take.

use paddock_api::Timeouts;
use paddock_ollama::{Backend, BackendError, BackendSource};

use super::{addresses::parse_base_url, secrets::read_secret};
use crate::{
    error::Error,
    settings::{Discovery, Environment, OllamaSettings, ServeSettings},
};

/// The base URLs of Ollama, at least one.
pub(crate) fn ollama_urls(settings: &OllamaSettings, environment: Environment) -> Result<Vec<url::Url>, Error> {
    let text = settings.ollama_base_url.as_deref().unwrap_or(match environment {
        Environment::Local => "http://localhost:11434",
        Environment::Prod => "http://ollama.default.svc.cluster.local:11434",
    });
    let mut urls = Vec::new();
    for text in text.split(',') {
        let url = parse_ollama_url(text.trim())?;
        if urls.contains(&url) {
            return Err(Error::config(format!("OLLAMA_BASE_URL names {url} twice; name each server once")));
        }
        urls.push(url);
    }
    Ok(urls)
}

fn parse_ollama_url(text: &str) -> Result<url::Url, Error> {
    const NAME: &str = "OLLAMA_BASE_URL";
    if url::Url::parse(text).is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
        return Err(Error::config(format!(
            "{NAME} contains a user name or password; set OLLAMA_AUTHORIZATION to `Basic <base64 of user:password>` instead"
        )));
    }
    parse_base_url(NAME, text, "http://ollama.default.svc:11434")
}

/// Where the Ollamas behind the gateway are. Resolves no name.
pub(crate) fn ollama_source(settings: &OllamaSettings, environment: Environment) -> Result<BackendSource, Error> {
    let urls = ollama_urls(settings, environment)?;
    let backends = urls.iter().map(|url| ollama_backend(settings, url)).collect::<Result<Vec<_>, _>>()?;
    match (settings.ollama_discovery, &*backends) {
        (Discovery::List, _) if settings.ollama_dns_server.is_some() => Err(Error::config(
            "OLLAMA_DNS_SERVER is set, and OLLAMA_DISCOVERY is `list`; set OLLAMA_DISCOVERY to `dns`, or unset OLLAMA_DNS_SERVER",
        )),
        (Discovery::List, _) => Ok(BackendSource::list(backends)),
        (Discovery::Dns, [service]) => BackendSource::dns(service.clone(), settings.ollama_dns_server)
            .map_err(|error| Error::config(format!("OLLAMA_BASE_URL with OLLAMA_DISCOVERY=dns: {error}"))),
        (Discovery::Dns, several) => Err(Error::config(format!(
            "OLLAMA_BASE_URL has {} URLs; with OLLAMA_DISCOVERY=dns it has one, whose host has an address for each \
             Ollama, such as http://ollama.models.svc:11434",
            several.len()
        ))),
    }
}

fn ollama_backend(settings: &OllamaSettings, url: &url::Url) -> Result<Backend, Error> {
    let invalid = |name: &str, error: &BackendError| Error::config(format!("{name}: {error}"));
    let mut backend = Backend::new(url.as_str()).map_err(|error| invalid("OLLAMA_BASE_URL", &error))?;
    if let Some(file) = &settings.ollama_ca_file {
        let name = format!("OLLAMA_CA_FILE {}", file.display());
        let pem = std::fs::read(file).map_err(|error| {
            Error::config(format!("{name}: {error}; name a file with certificates in PEM form, or unset it"))
        })?;
        backend = backend.with_certificates(&pem).map_err(|error| invalid(&name, &error))?;
    }
    let name = "OLLAMA_AUTHORIZATION";
    let value =
        read_secret(name, settings.ollama_authorization.as_ref(), settings.ollama_authorization_file.as_deref())?;
    match value {
        Some(value) => backend.with_authorization(&value).map_err(|error| invalid(name, &error)),
        None => Ok(backend),
    }
}

/// The timeouts of a request through the gateway. A timeout that is not set never exceeds one that
/// is.
pub(crate) fn timeouts(settings: &ServeSettings) -> Result<Timeouts, Error> {
    let defaults = Timeouts::default();
    let (total, lifetime) = (settings.upstream_total_timeout, settings.upstream_lifetime_timeout);
    let total_or_default = total.unwrap_or_else(|| defaults.total.min(lifetime.unwrap_or(defaults.total)));
    let timeouts = Timeouts {
        headers: settings.upstream_headers_timeout.unwrap_or(defaults.headers.min(total_or_default)),
        idle: settings.upstream_idle_timeout.unwrap_or(defaults.idle.min(total_or_default)),
        total: total_or_default,
        lifetime: lifetime.unwrap_or(defaults.lifetime.max(total_or_default)),
    };
    let rules = [
        ("UPSTREAM_HEADERS_TIMEOUT", timeouts.headers, "UPSTREAM_TOTAL_TIMEOUT", timeouts.total),
        ("UPSTREAM_IDLE_TIMEOUT", timeouts.idle, "UPSTREAM_TOTAL_TIMEOUT", timeouts.total),
        ("UPSTREAM_TOTAL_TIMEOUT", timeouts.total, "UPSTREAM_LIFETIME_TIMEOUT", timeouts.lifetime),
    ];
    match rules.into_iter().find(|(_, shorter, _, longer)| shorter > longer) {
        None => Ok(timeouts),
        Some((name, shorter, other, longer)) => Err(Error::config(format!(
            "{name} is {shorter:?}, which {other} ({longer:?}) ends before; set it to {longer:?} or less, or raise {other}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{Args, FromArgMatches};
    use rstest::rstest;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn serve(arguments: &[&str]) -> ServeSettings {
        let command = ServeSettings::augment_args(clap::Command::new("x"));
        let matches = command.get_matches_from([&["x"], arguments].concat());
        ServeSettings::from_arg_matches(&matches).unwrap()
    }

    #[rstest]
    #[case::defaults(&[], (10, 5, 60, 120))]
    #[case::short_total(&["--upstream-total-timeout", "2m"], (2, 2, 2, 120))]
    #[case::long_total(&["--upstream-total-timeout", "5h"], (10, 5, 300, 300))]
    #[case::short_lifetime(&["--upstream-lifetime-timeout", "3m"], (3, 3, 3, 3))]
    fn timeouts_that_are_not_set_follow_those_that_are(
        #[case] arguments: &[&str],
        #[case] minutes: (u32, u32, u32, u32),
    ) {
        let Timeouts { headers, idle, total, lifetime } = timeouts(&serve(arguments)).unwrap();
        let expected = (minutes.0 * MINUTE, minutes.1 * MINUTE, minutes.2 * MINUTE, minutes.3 * MINUTE);
        assert_eq!((headers, idle, total, lifetime), expected);
    }

    #[rstest]
    #[case(&["--upstream-headers-timeout", "2h"])]
    #[case(&["--upstream-idle-timeout", "2m", "--upstream-total-timeout", "1m"])]
    #[case(&["--upstream-total-timeout", "3h", "--upstream-lifetime-timeout", "2h"])]
    fn a_timeout_that_never_ends_anything_is_refused(#[case] arguments: &[&str]) {
        assert!(timeouts(&serve(arguments)).unwrap_err().to_string().contains("UPSTREAM_"));
    }
}
