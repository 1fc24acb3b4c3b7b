//! Filters that remove the parts of model lists and descriptions that a caller may not see. The
//! bytes of the other parts do not change.

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    names::ModelName,
    request::{KnownFields, ScanError, scan, splice},
};

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

/// Filters the response of `GET /api/tags` or `GET /api/ps` to the models that `allows` accepts.
/// Fails if the response is not a list of models.
///
/// Always removes models that Ollama runs in its cloud or on a remote host, and entries whose name
/// cannot be parsed.
pub fn filter_tags(body: &[u8], allows: impl Fn(&ModelName) -> bool) -> Result<Bytes, serde_json::Error> {
    let list: Tags<'_> = serde_json::from_slice(body)?;
    Ok(filter_entries(r#"{"models":["#, list.models.unwrap_or_default(), end_of(body), allows))
}

/// Filters the response of `GET /v1/models` in the same way.
///
/// This list does not state the remote host of a model, so `allows` must reject remote models.
pub fn filter_openai_models(body: &[u8], allows: impl Fn(&ModelName) -> bool) -> Result<Bytes, serde_json::Error> {
    let list: OpenAiModels<'_> = serde_json::from_slice(body)?;
    Ok(filter_entries(r#"{"object":"list","data":["#, list.data.unwrap_or_default(), end_of(body), allows))
}

/// Merges several responses of `GET /api/tags`, `GET /api/ps` or `GET /v1/models` into one of the
/// same form. Of entries with the same name, the first one stays. Fails if a response is not a list
/// of models.
pub fn merge_lists(bodies: &[Bytes]) -> Result<Bytes, serde_json::Error> {
    let (mut seen, mut entries, mut is_openai) = (HashSet::new(), Vec::new(), false);
    for body in bodies {
        let tags: Tags<'_> = serde_json::from_slice(body)?;
        let models: OpenAiModels<'_> = serde_json::from_slice(body)?;
        is_openai |= models.data.is_some();
        for entry in tags.models.into_iter().chain(models.data).flatten() {
            if seen.insert(serde_json::from_str::<Entry>(entry.get())?.id) {
                entries.push(entry.get());
            }
        }
    }
    let prefix = if is_openai { r#"{"object":"list","data":["# } else { r#"{"models":["# };
    let end = bodies.first().map_or("", |body| end_of(body));
    Ok(format!("{prefix}{}]}}{end}", entries.join(",")).into())
}

/// An entry of OpenAI's list.
#[derive(Deserialize, Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'a str,
    created: i64,
    owned_by: &'a str,
}

/// Finds a model in the response of `GET /v1/models`, and returns it as Ollama answers `GET
/// /v1/models/{model}`: with its name as `written` in the path. `None` if the list lacks it.
pub fn find_openai_model(body: &[u8], name: &ModelName, written: &str) -> Result<Option<Bytes>, serde_json::Error> {
    let list: OpenAiModels<'_> = serde_json::from_slice(body)?;
    for entry in list.data.unwrap_or_default() {
        let model: OpenAiModel<'_> = serde_json::from_str(entry.get())?;
        if ModelName::parse(model.id).is_ok_and(|found| found == *name) {
            let mut found = serde_json::to_vec(&OpenAiModel { id: written, ..model })?;
            found.push(b'\n');
            return Ok(Some(found.into()));
        }
    }
    Ok(None)
}

/// The members of the response of `POST /api/show` that contain prompts of the model's owner.
const PROMPTS: &[&str] = &["modelfile", "template", "system", "messages"];

/// Removes the prompts from the response of `POST /api/show`. Fails if the response is not an
/// object.
pub fn hide_prompts(body: &Bytes) -> Result<Bytes, ScanError> {
    let described = scan(body, &KnownFields { top_level: &[], nested: &[] })?;
    let edits = described.remove_members(|member| PROMPTS.contains(&&*member.key));
    Ok(if edits.is_empty() { body.clone() } else { splice(body, &edits) })
}

/// Returns the white space after a response's object.
fn end_of(body: &[u8]) -> &'static str {
    if body.ends_with(b"\n") { "\n" } else { "" }
}

fn filter_entries(prefix: &str, entries: Vec<&RawValue>, end: &str, allows: impl Fn(&ModelName) -> bool) -> Bytes {
    let is_visible = |entry: &&RawValue| {
        serde_json::from_str::<Entry>(entry.get()).is_ok_and(|entry| {
            let name = ModelName::parse(&entry.id);
            entry.remote_host.is_empty() && name.is_ok_and(|name| !name.is_cloud() && allows(&name))
        })
    };
    let kept: Vec<&str> = entries.into_iter().filter(is_visible).map(RawValue::get).collect();
    format!("{prefix}{}]}}{end}", kept.join(",")).into()
}

#[cfg(test)]
mod tests;
