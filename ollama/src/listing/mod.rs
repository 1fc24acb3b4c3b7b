//! Lists of models, cut down to what a caller may see. Each entry that stays, stays byte for byte.

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

/// What the filter reads of an entry.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "model")]
    id: String,
    #[serde(default)]
    remote_host: String,
}

/// Cuts the answer of `GET /api/tags` down to the models that `allows` accepts. Models that Ollama would run elsewhere, in
/// its cloud or on a remote host, and entries whose name cannot be read, are never among them.
pub fn filter_tags(body: &[u8], allows: impl Fn(&ModelName) -> bool) -> Result<Bytes, serde_json::Error> {
    let list: Tags<'_> = serde_json::from_slice(body)?;
    Ok(rewrite(r#"{"models":["#, list.models.unwrap_or_default(), allows))
}

/// The same for the answer of `GET /v1/models`, which does not say which models are remote: `allows` has to know.
pub fn filter_openai_models(body: &[u8], allows: impl Fn(&ModelName) -> bool) -> Result<Bytes, serde_json::Error> {
    let list: OpenAiModels<'_> = serde_json::from_slice(body)?;
    Ok(rewrite(r#"{"object":"list","data":["#, list.data.unwrap_or_default(), allows))
}

fn rewrite(opening: &str, entries: Vec<&RawValue>, allows: impl Fn(&ModelName) -> bool) -> Bytes {
    let visible = |entry: &&RawValue| {
        serde_json::from_str::<Entry>(entry.get()).is_ok_and(|entry| {
            let name = ModelName::parse(&entry.id);
            entry.remote_host.is_empty() && name.is_ok_and(|name| !name.is_cloud() && allows(&name))
        })
    };
    let kept: Vec<&str> = entries.into_iter().filter(visible).map(RawValue::get).collect();
    format!("{opening}{}]}}", kept.join(",")).into()
}

#[cfg(test)]
mod tests;
