//! Filters that reduce a list of models to the models that a caller may use. The bytes of the
//! remaining entries do not change.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::names::ModelName;

#[derive(Deserialize)]
struct Tags<'a> {
    #[serde(borrow)]
    models: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct OpenAiModels<'a> {
    #[serde(borrow)]
    data: Option<Vec<&'a RawValue>>,
}

/// The fields of an entry that the filter reads.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "model")]
    id: String,
    #[serde(default)]
    remote_host: String,
}

/// Filters the answer of `GET /api/tags` to the models that `allows` accepts. Fails if the answer
/// is not such a list.
///
/// Always removes models that Ollama runs in its cloud or on a remote host, and entries whose name
/// cannot be parsed.
pub fn filter_tags(body: &[u8], allows: impl Fn(&ModelName) -> bool) -> Result<Bytes, serde_json::Error> {
    let list: Tags<'_> = serde_json::from_slice(body)?;
    Ok(filter_entries(r#"{"models":["#, list.models.unwrap_or_default(), allows))
}

/// Filters the answer of `GET /v1/models` in the same way.
///
/// This list does not state the remote host of a model, so `allows` must reject remote models.
pub fn filter_openai_models(body: &[u8], allows: impl Fn(&ModelName) -> bool) -> Result<Bytes, serde_json::Error> {
    let list: OpenAiModels<'_> = serde_json::from_slice(body)?;
    Ok(filter_entries(r#"{"object":"list","data":["#, list.data.unwrap_or_default(), allows))
}

fn filter_entries(prefix: &str, entries: Vec<&RawValue>, allows: impl Fn(&ModelName) -> bool) -> Bytes {
    let is_visible = |entry: &&RawValue| {
        serde_json::from_str::<Entry>(entry.get()).is_ok_and(|entry| {
            let name = ModelName::parse(&entry.id);
            entry.remote_host.is_empty() && name.is_ok_and(|name| !name.is_cloud() && allows(&name))
        })
    };
    let kept: Vec<&str> = entries.into_iter().filter(is_visible).map(RawValue::get).collect();
    format!("{prefix}{}]}}", kept.join(",")).into()
}

#[cfg(test)]
mod tests;
