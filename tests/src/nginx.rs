//! nginx as a proxy that checks one bearer token: the benchmarks compare Paddock with it, and stories
//! put it in front of an Ollama.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    certificates::Certificates,
    process::{Process, Signal, free_port, run},
    reaper,
    testbed::Part,
};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running nginx with one worker.
pub struct Nginx {
    url: String,
    server: Process,
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx in front of `upstream` (`host:port`). It accepts `token` only. `prefix` is a
    /// command such as `taskset -c 1`.
    pub async fn start(upstream: &str, token: &str, prefix: &[String]) -> Result<Self> {
        let folder = reaper::scratch_dir("nginx")?;
        let port = free_port()?;
        let server = launch(&folder, &configure(upstream, token, port, &folder.path().display().to_string()), prefix)?;
        let url = format!("http://127.0.0.1:{port}");
        server
            .wait_until_ready(START_TIMEOUT, async || {
                reqwest::Client::new()
                    .get(format!("{url}/api/version"))
                    .bearer_auth(token)
                    .send()
                    .await?
                    .error_for_status()?;
                Ok(())
            })
            .await?;
        Ok(Self { url, server, _folder: folder })
    }

    /// Starts nginx with TLS in front of `upstream` (`host:port`), with the server's certificate. It
    /// serves the upstream below `/ollama/`, to requests with this `Authorization` only, and passes
    /// that on.
    pub async fn start_tls(upstream: &str, authorization: &str, certificates: &Certificates) -> Result<Self> {
        let folder = reaper::scratch_dir("nginx")?;
        let port = free_port()?;
        let name = folder.path().display().to_string();
        let server = launch(&folder, &configure_tls(upstream, authorization, port, &name, certificates), &[])?;
        server
            .wait_until_ready(START_TIMEOUT, async || {
                TcpStream::connect(("127.0.0.1", port)).await.context("its port")?;
                Ok(())
            })
            .await?;
        Ok(Self { url: format!("https://127.0.0.1:{port}/ollama"), server, _folder: folder })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its main process, whose child is the worker.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.server
    }

    /// Its version, such as `nginx/1.22.1`.
    pub fn version() -> Result<String> {
        // nginx prints it on standard error.
        let nginx = Part::Nginx.locate()?;
        let text = run(Command::new("sh").args(["-c", "\"$0\" -v 2>&1"]).arg(nginx))?;
        Ok(text.trim().trim_start_matches("nginx version: ").to_owned())
    }
}

/// Starts nginx in this folder.
fn launch(folder: &TempDir, configuration: &str, prefix: &[String]) -> Result<Process> {
    let nginx = Part::Nginx.locate()?;
    let file = folder.path().join("nginx.conf");
    fs::write(&file, configuration)?;
    let mut words = prefix.iter().map(String::as_str).chain([nginx.to_str().unwrap_or("nginx")]);
    let mut command = Command::new(words.next().unwrap_or("nginx"));
    command.args(words).arg("-c").arg(&file).arg("-p").arg(folder.path()).args(["-e", "stderr"]);
    Process::start("nginx", command, Signal::Quit)
}

/// The first lines of both configurations, to the beginning of `http`.
fn common(folder: &str) -> String {
    format!(
        r"daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 32m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    map_hash_bucket_size 256;
"
    )
}

fn configure_tls(upstream: &str, authorization: &str, port: u16, folder: &str, certificates: &Certificates) -> String {
    let (certificate, key) = (certificates.server(), certificates.server_key());
    let (common, certificate, key) = (common(folder), certificate.display(), key.display());
    format!(
        r#"{common}    map $http_authorization $known {{
        default 0;
        "{authorization}" 1;
    }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location /ollama/ {{
            if ($known = 0) {{ return 401; }}
            proxy_pass http://{upstream}/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"#
    )
}

fn configure(upstream: &str, token: &str, port: u16, folder: &str) -> String {
    let common = common(folder);
    format!(
        r#"{common}    map $http_authorization $known {{
        default 0;
        "Bearer {token}" 1;
    }}
    upstream ollama {{
        server {upstream};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            if ($known = 0) {{ return 401; }}
            proxy_pass http://ollama;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "";
            proxy_buffering off;
        }}
    }}
}}
"#
    )
}
