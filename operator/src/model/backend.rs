//! The Ollama servers, and their calls.

use paddock_ollama::{Client, ClientError, ModelName};

use crate::model::plan::ModelPresence;

/// One Ollama server.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// Its base URL, which is its name in the status.
    pub(crate) name: String,
    pub(crate) client: Client,
}

impl Backend {
    pub(crate) fn new(client: Client) -> Self {
        Self { name: client.name(), client }
    }

    /// Asks the server whether it has the model.
    pub(crate) async fn find_model(&self, model: &ModelName) -> ModelPresence {
        let tags = self.client.tags().await;
        count_call(tags.as_ref().err());
        match tags {
            Ok(tags) => match tags.iter().find(|tag| tag.model_name().is_ok_and(|name| name == *model)) {
                Some(tag) => ModelPresence::Present { digest: format!("sha256:{}", tag.digest), bytes: tag.size },
                None => ModelPresence::Absent,
            },
            Err(error) => ModelPresence::Unreachable(error.to_string()),
        }
    }

    /// Deletes the model from the server.
    pub(crate) async fn delete_model(&self, model: &ModelName) -> Result<(), ClientError> {
        let deleted = self.client.delete(model).await;
        count_call(deleted.as_ref().err());
        deleted.map(|_| ())
    }
}

fn count_call(error: Option<&ClientError>) {
    let result = if error.is_some() { "failed" } else { "ok" };
    metrics::counter!("paddock_external_calls_total", "target" => "ollama", "result" => result).increment(1);
}
