//! The metrics of gateway requests by their labels. They are kept, because looking one up by its labels
//! costs more than counting in it.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use metrics::{Counter, Histogram, counter, histogram};
use paddock_ollama::Usage;
use parking_lot::RwLock;

/// The metrics of requests with the same labels.
pub(super) struct GatewayMetrics {
    labels: Labels,
    requests: Counter,
    duration: Histogram,
    /// Exists after the first request with a first byte.
    first_byte: OnceLock<Histogram>,
}

/// The labels other than the route. Each is of a closed set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) method: &'static str,
    pub(super) status: u16,
    pub(super) outcome: &'static str,
}

/// The metrics of each route, which are few.
static BY_ROUTE: LazyLock<RwLock<HashMap<String, Vec<Arc<GatewayMetrics>>>>> = LazyLock::new(RwLock::default);

/// The counters of tokens: of prompts, the cached part of them, and of completions.
static TOKENS: LazyLock<[Counter; 3]> = LazyLock::new(|| {
    ["prompt", "cached_prompt", "completion"].map(|kind| counter!("paddock_gateway_tokens_total", "kind" => kind))
});

impl GatewayMetrics {
    /// Returns the metrics of these labels.
    pub(super) fn of(route: &str, labels: Labels) -> Arc<Self> {
        let find = |all: &HashMap<String, Vec<Arc<Self>>>| {
            all.get(route)?.iter().find(|metrics| metrics.labels == labels).cloned()
        };
        if let Some(found) = find(&BY_ROUTE.read()) {
            return found;
        }
        let mut all = BY_ROUTE.write();
        if let Some(found) = find(&all) {
            return found;
        }
        let Labels { method, status, outcome } = labels;
        let metrics = Arc::new(Self {
            labels,
            requests: counter!(
                "paddock_gateway_requests_total",
                "method" => method, "route" => route.to_owned(), "status" => status.to_string(), "outcome" => outcome
            ),
            duration: histogram!(
                "paddock_gateway_request_duration_seconds", "method" => method, "route" => route.to_owned()
            ),
            first_byte: OnceLock::new(),
        });
        all.entry(route.to_owned()).or_default().push(Arc::clone(&metrics));
        metrics
    }

    /// Counts a request that has ended.
    pub(super) fn record(&self, route: &str, duration: Duration, first_byte: Option<Duration>, usage: Option<&Usage>) {
        self.requests.increment(1);
        self.duration.record(duration.as_secs_f64());
        if let Some(first_byte) = first_byte {
            let method = self.labels.method;
            let histogram = self.first_byte.get_or_init(
                || histogram!("paddock_gateway_first_byte_seconds", "method" => method, "route" => route.to_owned()),
            );
            histogram.record(first_byte.as_secs_f64());
        }
        if let Some(usage) = usage {
            let [prompt, cached_prompt, completion] = &*TOKENS;
            prompt.increment(usage.prompt_tokens);
            cached_prompt.increment(usage.cached_prompt_tokens.unwrap_or(0));
            completion.increment(usage.completion_tokens);
        }
    }
}
