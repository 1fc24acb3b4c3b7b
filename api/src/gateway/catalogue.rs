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
    /// Held by whoever asks Ollama; the others wait and take what it learnt. When the last question that failed was asked,
    /// and why it failed.
    asking: Mutex<Option<(Instant, Arc<ClientError>)>>,
}

impl Catalogue {
    pub(crate) fn new(url: &str) -> Result<Self, ClientError> {
        let timeouts = Timeouts { connect: Duration::from_secs(2), request: PATIENCE, ..Timeouts::default() };
        Ok(Self { client: Client::new(url, timeouts)?, seen: RwLock::default(), asking: Mutex::default() })
    }

    /// Where a model runs. One that is not in the list is looked for anew, because it may just have been pulled; `since` is
    /// when the request came in.
    pub(crate) async fn find(&self, name: &ModelName, since: Instant) -> Result<Found, Arc<ClientError>> {
        match self.last().map(|seen| seen.find(name)) {
            None | Some(Found::Nowhere) => Ok(self.since(since).await?.find(name)),
            Some(found) => Ok(found),
        }
    }

    /// A list that was asked for no earlier than `since`. Many requests at once make one question, and if it fails share the
    /// failure: else each would wait its turn for an Ollama that hangs.
    pub(crate) async fn since(&self, since: Instant) -> Result<Arc<Seen>, Arc<ClientError>> {
        let mut failed = self.asking.lock().await;
        match (self.last(), &*failed) {
            (Some(seen), _) if seen.at >= since => return Ok(seen),
            (_, Some((at, error))) if *at >= since => return Err(Arc::clone(error)),
            _ => {}
        }
        let at = Instant::now();
        self.ask(at).await.map_err(|error| {
            let error = Arc::new(error);
            *failed = Some((at, Arc::clone(&error)));
            error
        })
    }

    /// Asks now.
    pub(crate) async fn refresh(&self) -> Result<(), Arc<ClientError>> {
        self.since(Instant::now()).await.map(|_| ())
    }

    async fn ask(&self, at: Instant) -> Result<Arc<Seen>, ClientError> {
        let tags = self.client.tags().await?;
        // Names that Ollama would not take itself nobody can ask for.
        let named = tags.iter().filter_map(|tag| Some((Box::from(tag.model_name().ok()?.as_str()), tag.is_remote())));
        let seen = Arc::new(Seen { at, models: named.collect() });
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&seen));
        Ok(seen)
    }

    fn last(&self) -> Option<Arc<Seen>> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
