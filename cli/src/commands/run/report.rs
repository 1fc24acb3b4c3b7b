//! The table that `paddock run` prints once everything runs.

use std::net::SocketAddr;

use paddock_accounts::{bootstrap::Seeded, passwords::DEV_PASSWORD};
use secrecy::ExposeSecret as _;

use super::check::{ApiCheck, CheckResult, ui_url};
use crate::table::Table;

/// What the table shows.
pub(super) struct Report<'a> {
    pub(super) result: &'a CheckResult,
    pub(super) seeded: &'a Seeded,
    /// Where the database is.
    pub(super) database: String,
    /// The address of the metrics listener; `None` if nothing is served.
    pub(super) metrics: Option<SocketAddr>,
    /// Whether the web UI is switched on.
    pub(super) has_frontend: bool,
    /// The API server of the operator's cluster; `None` without the operator.
    pub(super) cluster: Option<&'a str>,
    /// The URL of Ollama.
    pub(super) ollama: &'a str,
    /// Whether the first admin has the well-known password of `--env dev`.
    pub(super) has_dev_password: bool,
    /// The default of `requests_per_minute` of users; 0 means unlimited.
    pub(super) rate_limit_per_minute: u64,
    /// The model of `--try-model`.
    pub(super) tried_model: Option<&'a str>,
}

impl Report<'_> {
    /// The table of parts, addresses and states. A missing part is shown with the command that adds
    /// it.
    pub(super) fn text(&self) -> String {
        let mut table = Table::new(["part", "where", "state"]);
        table.row(["database", &self.database, "up to date"]);
        if let Some(api) = &self.result.api {
            self.api_rows(&mut table, api);
        } else {
            table.row(["api, gateway", "-", "off; leave out --no-backend to serve them"]);
            table.row(["web ui", "-", "off; the API serves it"]);
        }
        if self.result.api.is_some() {
            let limit = match self.rate_limit_per_minute {
                0 => "none".to_owned(),
                limit => format!("{limit} requests a minute"),
            };
            table.row(["user limit", &limit, "by default; RATE_LIMIT_PER_MINUTE changes it"]);
        }
        if let Some(metrics) = self.metrics {
            table.row(["metrics", &format!("http://{metrics}/metrics"), "ready"]);
        }
        let first_admin = if self.has_dev_password && self.result.can_sign_in {
            format!("{} with the password `{DEV_PASSWORD}`", self.result.first_admin)
        } else {
            self.result.first_admin.clone()
        };
        table.row(["first admin", self.seeded.email.as_str(), &first_admin]);
        let state = match &self.result.models {
            Ok(models) if models.is_empty() => "has no model; `ollama pull smollm2:135m` brings one".to_owned(),
            Ok(models) => format!("has {}", models.join(", ")),
            Err(_) => "does not answer; `ollama serve` starts it, or set OLLAMA_BASE_URL".to_owned(),
        };
        table.row(["ollama", self.ollama, &state]);
        match self.cluster {
            Some(cluster) => table.row(["operator", cluster, "working"]),
            None => table.row(["operator", "-", "off; --operator --context NAME starts it"]),
        }
        if let (Some(model), Some(answer)) = (self.tried_model, &self.result.model_reply) {
            table.row(["chat", model, answer]);
        }
        let example = self.result.api.as_ref().map_or_else(String::new, |api| self.example(api.addr));
        format!("\n{table}{example}")
    }

    fn api_rows(&self, table: &mut Table<3>, api: &ApiCheck) {
        let url = format!("http://{}", api.addr);
        table.row(["api, gateway", &url, "ready"]);
        table.row(["docs", &format!("{url}/docs"), "ready"]);
        let state = if api.has_ui { "ready" } else { "not built; `make ui-build` builds it" };
        if self.has_frontend {
            table.row(["web ui", &ui_url(api.addr), state]);
        } else {
            table.row(["web ui", "-", "off; leave out --no-frontend to serve it"]);
        }
    }

    fn example(&self, addr: SocketAddr) -> String {
        let first = self.result.models.as_ref().ok().and_then(|models| models.iter().find(|model| can_chat(model)));
        let model = self.tried_model.or(first.map(String::as_str)).unwrap_or("MODEL");
        let key = self.seeded.key.as_ref().map_or("$KEY", |key| key.plaintext().expose_secret());
        format!(
            "\nTry it:\n  curl http://{addr}/v1/chat/completions -H \"Authorization: Bearer {key}\" -H 'Content-Type: \
             application/json' -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
        )
    }
}

/// Whether the model answers questions, as far as its name tells. The list of Ollama says of models
/// for embeddings too that they complete texts.
fn can_chat(model: &str) -> bool {
    let model = model.to_lowercase();
    !["embed", "minilm", "bge"].iter().any(|part| model.contains(part))
}
