//! nginx as a proxy that checks one bearer token, which the benchmarks compare Paddock with.

use std::{fs, process::Command, time::Duration};

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    process::{Process, Signal, free_port, run},
    reaper,
    testbed::Part,
};

/// A running nginx with one worker.
pub struct Nginx {
    url: String,
    _server: Process,
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx in front of `upstream` (`host:port`). It accepts `token` only. `prefix` is a
    /// command such as `taskset -c 1`.
    pub async fn start(upstream: &str, token: &str, prefix: &[String]) -> Result<Self> {
        let nginx = Part::Nginx.locate()?;
        let folder = reaper::scratch_dir("nginx")?;
        let port = free_port()?;
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, configure(upstream, token, port, &folder.path().display().to_string()))?;
        let mut words = prefix.iter().map(String::as_str).chain([nginx.to_str().unwrap_or("nginx")]);
        let mut command = Command::new(words.next().unwrap_or("nginx"));
        command.args(words).arg("-c").arg(&configuration).arg("-p").arg(folder.path()).args(["-e", "stderr"]);
        let server = Process::start("nginx", command, Signal::Quit)?;
        let url = format!("http://127.0.0.1:{port}");
        server
            .wait_until_ready(Duration::from_secs(10), async || {
                reqwest::Client::new()
                    .get(format!("{url}/api/version"))
                    .bearer_auth(token)
                    .send()
                    .await?
                    .error_for_status()?;
                Ok(())
            })
            .await?;
        Ok(Self { url, _server: server, _folder: folder })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its version, such as `nginx/1.22.1`.
    pub fn version() -> Result<String> {
        // nginx prints it on standard error.
        let nginx = Part::Nginx.locate()?;
        let text = run(Command::new("sh").args(["-c", "\"$0\" -v 2>&1"]).arg(nginx))?;
        Ok(text.trim().trim_start_matches("nginx version: ").to_owned())
    }
}

fn configure(upstream: &str, token: &str, port: u16, folder: &str) -> String {
    format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 32m;
    keepalive_requests 1000000000;
    map_hash_bucket_size 256;
    map $http_authorization $known {{
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
