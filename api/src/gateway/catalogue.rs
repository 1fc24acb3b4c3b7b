//! Which models Ollama has, as it was last seen: so that a request for another one never reaches it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use paddock_ollama::{Client, ClientError, ModelName, Timeouts};
use tokio::{sync::Mutex, time::Instant};

/// How often Ollama is looked at.
pub(crate) const EVERY: Duration = Duration::from_secs(2);
/// How long it may take to list its models.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// In this Ollama.
    Here,
    /// On a remote host, through this Ollama.
    Elsewhere,
    /// There is no such model.
    Nowhere,
}

/// The models that were there at some moment.
pub(crate) struct Seen {
    /// When the list was asked for.
    at: Instant,
    /// By canonical name, whether it runs elsewhere.
    models: HashMap<Box<str>, bool>,
}

impl Seen {
    pub(crate) fn find(&self, name: &ModelName) -> Found {
        match self.models.get(name.as_str()) {
            None => Found::Nowhere,
            Some(false) => Found::Here,
            Some(true) => Found::Elsewhere,
        }
    }
}

/// Keeps the list.
pub(crate) struct Catalogue {
    client: Client,
    seen: RwLock<Option<Arc<Seen>>>,
    /// Held by whoever asks Ollama; the others wait and take what it learnt.
    asking: Mutex<()>,
}

impl Catalogue {
    pub(crate) fn new(url: &str) -> Result<Self, ClientError> {
        let timeouts = Timeouts { connect: Duration::from_secs(2), request: PATIENCE, ..Timeouts::default() };
        Ok(Self { client: Client::new(url, timeouts)?, seen: RwLock::default(), asking: Mutex::default() })
    }

    /// Where a model runs. One that is not in the list is looked for anew, because it may just have been pulled; `since` is
    /// when the request came in.
    pub(crate) async fn find(&self, name: &ModelName, since: Instant) -> Result<Found, ClientError> {
        match self.last().map(|seen| seen.find(name)) {
            None | Some(Found::Nowhere) => Ok(self.since(since).await?.find(name)),
            Some(found) => Ok(found),
        }
    }

    /// A list that was asked for no earlier than `since`. Many requests at once make one question.
    pub(crate) async fn since(&self, since: Instant) -> Result<Arc<Seen>, ClientError> {
        let _asking = self.asking.lock().await;
        match self.last() {
            Some(seen) if seen.at >= since => Ok(seen),
            _ => self.ask().await,
        }
    }

    /// Asks now.
    pub(crate) async fn refresh(&self) -> Result<(), ClientError> {
        self.since(Instant::now()).await.map(|_| ())
    }

    async fn ask(&self) -> Result<Arc<Seen>, ClientError> {
        let at = Instant::now();
        let tags = self.client.tags().await?;
        // Names that Ollama would not take itself nobody can ask for.
        let named = tags.iter().filter_map(|tag| Some((Box::from(tag.model().ok()?.as_str()), tag.is_remote())));
        let seen = Arc::new(Seen { at, models: named.collect() });
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&seen));
        Ok(seen)
    }

    fn last(&self) -> Option<Arc<Seen>> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
