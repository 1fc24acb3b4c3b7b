//! An Ollama server: where it is, and how to connect to it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::HeaderValue;
use reqwest::Url;
use rustls::{
    ClientConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use secrecy::{ExposeSecret, SecretString};

/// An Ollama server.
#[derive(Clone)]
pub struct Backend {
    base_url: Url,
    /// The address to connect to, instead of the addresses of the URL's host.
    address: Option<IpAddr>,
    tls: Arc<ClientConfig>,
    authorization: Option<HeaderValue>,
}

/// Why an Ollama server cannot be used. No variant repeats the URL or the credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The URL is not an `http` or `https` URL with a host.
    #[error("the URL of Ollama must be an http or https URL with a host, such as http://localhost:11434")]
    Url,
    /// The URL has a user name or a password.
    #[error("the URL of Ollama must have no user name and no password")]
    UserInfo,
    /// The URL has a query or a fragment.
    #[error("the URL of Ollama must have no query and no fragment")]
    Query,
    /// The host of the URL is an address.
    #[error("the host of the URL must be a name that DNS resolves, such as http://ollama.models.svc:11434")]
    NoName,
    /// The certificates are not in PEM form, or there are none.
    #[error("the file has no certificate in PEM form")]
    Certificates,
    /// The credential cannot stand in a header, or has no scheme.
    #[error("the value must be a scheme and a credential, such as `Bearer <token>`")]
    Authorization,
    /// TLS cannot be set up, for example because the system has no root certificates.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Backend {
    /// Describes the Ollama at a base URL, such as `https://ollama.example/prefix`. Certificates of
    /// the system's roots are trusted.
    pub fn new(base_url: &str) -> Result<Self, BackendError> {
        let base_url = Url::parse(base_url).map_err(|_| BackendError::Url)?;
        if !matches!(base_url.scheme(), "http" | "https") || base_url.host().is_none() {
            return Err(BackendError::Url);
        }
        if !base_url.username().is_empty() || base_url.password().is_some() {
            return Err(BackendError::UserInfo);
        }
        if base_url.query().is_some() || base_url.fragment().is_some() {
            return Err(BackendError::Query);
        }
        Ok(Self { base_url, address: None, tls: tls_config(Vec::new())?, authorization: None })
    }

    /// Trusts the certificates in PEM form too.
    pub fn with_certificates(self, pem: &[u8]) -> Result<Self, BackendError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|_| BackendError::Certificates)?;
        if certificates.is_empty() {
            return Err(BackendError::Certificates);
        }
        Ok(Self { tls: tls_config(certificates)?, ..self })
    }

    /// Sends this value of the `Authorization` header with every request.
    pub fn with_authorization(self, value: &SecretString) -> Result<Self, BackendError> {
        let text = value.expose_secret();
        if !text.trim().contains(' ') {
            return Err(BackendError::Authorization);
        }
        let mut value = HeaderValue::from_str(text.trim()).map_err(|_| BackendError::Authorization)?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// Returns the backend at one address of the URL's host. The host stays the name in the
    /// certificate and in the header `Host`.
    #[must_use]
    pub(crate) fn at(&self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self.clone() }
    }

    /// Returns the address of a backend at one of several addresses of its host.
    #[must_use]
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns the address and port to connect to, if it is not that of the URL's host.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address?, self.base_url.port_or_known_default()?))
    }

    /// Returns the name in status, log and metrics: the base URL without a slash at its end, with
    /// the address of the backend if it is one of several of its host.
    #[must_use]
    pub fn name(&self) -> String {
        let mut url = self.base_url.clone();
        if let Some(address) = self.address {
            // Fails only for a URL without a host.
            let _ = url.set_ip_host(address);
        }
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Returns the base URL.
    #[must_use]
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// Returns the path of the base URL without a slash at its end: the prefix of every request's
    /// path.
    #[must_use]
    pub fn path_prefix(&self) -> &str {
        self.base_url.path().trim_end_matches('/')
    }

    /// Returns the TLS configuration of connections.
    #[must_use]
    pub fn tls(&self) -> &ClientConfig {
        &self.tls
    }

    /// Returns the value of the `Authorization` header. It is marked as sensitive.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("base_url", &self.base_url.as_str()).finish_non_exhaustive()
    }
}

/// Returns a TLS configuration that trusts the system's roots and these certificates.
fn tls_config(certificates: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, BackendError> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(certificates, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://localhost:11434", true)]
    #[case("http://localhost:11434/", true)]
    #[case("http://[::1]:11434", true)]
    #[case("https://ollama.example/prefix/", true)]
    #[case("localhost:11434", false)]
    #[case("ftp://localhost", false)]
    #[case("http://user:secret@localhost", false)]
    #[case("http://localhost?x", false)]
    #[case("http://localhost#x", false)]
    fn base_url_has_a_scheme_a_host_and_a_path(#[case] url: &str, #[case] usable: bool) {
        assert_eq!(Backend::new(url).is_ok(), usable);
    }

    #[rstest]
    #[case("http://localhost:11434/", "")]
    #[case("https://ollama.example/a/b/", "/a/b")]
    fn path_prefix_has_no_slash_at_its_end(#[case] url: &str, #[case] prefix: &str) {
        assert_eq!(Backend::new(url).expect("a backend").path_prefix(), prefix);
    }

    #[test]
    fn authorization_is_a_scheme_and_a_credential() {
        let with = |text: &str| Backend::new("http://localhost").expect("a backend").with_authorization(&text.into());
        assert!(with("Bearer abc").is_ok());
        assert!(matches!(with("abc"), Err(BackendError::Authorization)));
        assert!(matches!(with("Bearer a\nb"), Err(BackendError::Authorization)));
    }

    #[test]
    fn file_without_a_certificate_is_refused() {
        let backend = Backend::new("https://localhost").expect("a backend");
        assert!(matches!(backend.with_certificates(b"text"), Err(BackendError::Certificates)));
    }

    #[test]
    fn debug_output_has_no_credential() {
        let backend = Backend::new("http://localhost").expect("a backend");
        let backend = backend.with_authorization(&"Bearer secret".into()).expect("a backend");
        assert!(!format!("{backend:?}").contains("secret"));
    }
}
