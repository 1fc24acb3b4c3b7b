//! Model names: every spelling Ollama takes for one model comes to one canonical form, and only that form is compared.
//!
//! The rules are those of Ollama 0.32 (`types/model/name.go` and `internal/modelref`). Where Ollama versions disagree on
//! what a spelling means, the spelling is refused, so that what was authorised is what runs.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The registry of a name that states none.
pub const DEFAULT_REGISTRY: &str = "registry.ollama.ai";
/// The namespace of a name that states none.
pub const DEFAULT_NAMESPACE: &str = "library";
/// The tag of a name that states none.
pub const DEFAULT_TAG: &str = "latest";

/// Longest registry host, in bytes.
const MAX_REGISTRY: usize = 350;
/// Longest namespace, model or tag, in bytes.
const MAX_PART: usize = 80;

/// A model's name, in canonical form: `registry/namespace/model:tag`, in lower case, with Ollama's defaults filled in.
///
/// Two names are equal when Ollama would run the same model for both. `Display` writes the canonical form.
#[derive(Clone)]
pub struct ModelName {
    canonical: Box<str>,
    ends: Ends,
    /// The same four parts in the case they were written, when that is not the canonical one.
    written: Option<Box<str>>,
}

/// Where in the canonical form each part ends; the tag runs to the end.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    registry: u16,
    namespace: u16,
    model: u16,
}

/// Why a text is not a model name (or not a pattern of model names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing was given.
    #[error("a model name is required")]
    Empty,
    /// A separator promises a part that is not there, as in `library/` or `llama3.2:`.
    #[error("the {0} of the model name is empty")]
    Missing(Part),
    /// A part is longer than Ollama accepts.
    #[error("the {0} of the model name is longer than {max} bytes", max = .0.longest())]
    TooLong(Part),
    /// A part has a character that Ollama does not accept there.
    #[error("the {0} of the model name has a character that is not allowed there")]
    Character(Part),
    /// More than `registry/namespace/model`.
    #[error("a model name has at most three parts: registry/namespace/model:tag")]
    TooManyParts,
    /// A scheme other than `http` or `https`.
    #[error("the scheme of a model name is http or https")]
    Scheme,
    /// `name@sha256:...`: Ollama has no such names.
    #[error("a model is named by its tag, not by a digest")]
    Digest,
    /// `name:local`: newer versions of Ollama drop the suffix, older ones take it for a tag.
    #[error("versions of Ollama disagree on what the suffix :local means; write the name without it")]
    LocalSuffix,
}

/// A part of a model name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The registry's host, with a port if it has one.
    Registry,
    /// The namespace in the registry.
    Namespace,
    /// The model in the namespace.
    Model,
    /// The tag of the model.
    Tag,
}

impl Part {
    const fn longest(self) -> usize {
        match self {
            Self::Registry => MAX_REGISTRY,
            Self::Namespace | Self::Model | Self::Tag => MAX_PART,
        }
    }

    const fn accepts(self, byte: u8) -> bool {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => true,
            b'.' => !matches!(self, Self::Namespace),
            b':' => matches!(self, Self::Registry),
            _ => false,
        }
    }

    /// Checks one part. A pattern may have `*` anywhere; a name begins with a letter, a digit or `_`.
    pub(crate) fn check(self, text: &str, pattern: bool) -> Result<(), NameError> {
        if text.is_empty() {
            return Err(NameError::Missing(self));
        }
        if text.len() > self.longest() {
            return Err(NameError::TooLong(self));
        }
        let opens_badly = |byte| matches!(byte, b'-' | b'.' | b':');
        let allowed = |byte| self.accepts(byte) || (pattern && byte == b'*');
        if opens_badly(text.as_bytes()[0]) || !text.bytes().all(allowed) {
            return Err(NameError::Character(self));
        }
        Ok(())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registry => "registry",
            Self::Namespace => "namespace",
            Self::Model => "model",
            Self::Tag => "tag",
        })
    }
}

/// The parts of a spelling, as written; `None` where the default applies.
pub(crate) struct Parts<'a> {
    pub(crate) registry: Option<&'a str>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) model: &'a str,
    pub(crate) tag: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Splits a spelling as Ollama does, from the right, and checks each part.
    pub(crate) fn split(text: &'a str, pattern: bool) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.contains('@') {
            return Err(NameError::Digest);
        }
        let text = strip_scheme(text)?;
        // A slash cannot stand in a tag, so a colon before the last slash belongs to the registry's port.
        let last = text.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match text[last..].split_once(':') {
            Some((model, tag)) => (&text[..last + model.len()], Some(tag)),
            None => (text, None),
        };
        let mut from_right = path.rsplitn(4, '/');
        let model = from_right.next().unwrap_or_default();
        let namespace = from_right.next();
        let registry = from_right.next();
        if from_right.next().is_some() {
            return Err(NameError::TooManyParts);
        }
        if let Some(registry) = registry {
            Part::Registry.check(registry, pattern)?;
        }
        if let Some(namespace) = namespace {
            Part::Namespace.check(namespace, pattern)?;
        }
        Part::Model.check(model, pattern)?;
        Ok(Self { registry, namespace, model, tag })
    }
}

fn strip_scheme(text: &str) -> Result<&str, NameError> {
    match text.split_once("://") {
        None => Ok(text),
        // Ollama reads a scheme only before a full name; before fewer parts the text is no name.
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") => {
            if rest.matches('/').count() < 2 {
                return Err(NameError::Missing(Part::Registry));
            }
            Ok(rest)
        }
        Some(_) => Err(NameError::Scheme),
    }
}

impl ModelName {
    /// Reads any spelling that Ollama takes: `[scheme://][registry/][namespace/]model[:tag]`.
    ///
    /// A scheme is dropped. The suffixes `:tag:cloud` and `:tag-cloud` are one name, as they are to Ollama.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let parts = Parts::split(text, false)?;
        let tag = match parts.tag {
            None => Cow::Borrowed(DEFAULT_TAG),
            Some(tag) => read_tag(tag)?,
        };
        let namespace = parts.namespace.unwrap_or(DEFAULT_NAMESPACE);
        let registry = parts.registry.unwrap_or(DEFAULT_REGISTRY);
        let (written, ends) = join(registry, namespace, parts.model, &tag);
        let canonical = written.to_ascii_lowercase().into_boxed_str();
        let written = (*canonical != *written).then(|| written.into_boxed_str());
        Ok(Self { canonical, ends, written })
    }

    /// The canonical form, `registry/namespace/model:tag`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// The four parts in the case in which they were written: what to ask a registry for, whose paths may have a case.
    /// Never compare it.
    #[must_use]
    pub fn as_written(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.canonical)
    }

    /// The registry's host and, if it has one, port: `registry.ollama.ai`, `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.ends.registry(&self.canonical)
    }

    /// The namespace in the registry: `library` for Ollama's own models.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.ends.namespace(&self.canonical)
    }

    /// The model without namespace and tag: `smollm2`.
    #[must_use]
    pub fn model(&self) -> &str {
        self.ends.model(&self.canonical)
    }

    /// The tag: `135m`, or `latest` where none was given.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.ends.tag(&self.canonical)
    }

    /// The name as Ollama prints it: `smollm2:135m`, with namespace and registry only where they are not the default.
    #[must_use]
    pub fn short(&self) -> &str {
        let skipped = if self.registry() != DEFAULT_REGISTRY {
            0
        } else if self.namespace() != DEFAULT_NAMESPACE {
            usize::from(self.ends.registry) + 1
        } else {
            usize::from(self.ends.namespace) + 1
        };
        &self.canonical[skipped..]
    }

    /// Whether Ollama would send the request to its cloud: the tag is `cloud` or ends in `-cloud`.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        self.tag() == "cloud" || self.tag().ends_with("-cloud")
    }
}

/// Reads what follows the model's colon. Ollama takes a last `:cloud` or `:local` for a source, not for the tag.
fn read_tag(text: &str) -> Result<Cow<'_, str>, NameError> {
    let (tag, source) = match text.split_once(':') {
        None => (text, None),
        Some((tag, source)) => (tag, Some(source)),
    };
    Part::Tag.check(tag, false)?;
    let local = |text: &str| text.eq_ignore_ascii_case("local");
    match source {
        _ if local(tag) => Err(NameError::LocalSuffix),
        None => Ok(Cow::Borrowed(tag)),
        Some(source) if local(source) => Err(NameError::LocalSuffix),
        Some(source) if source.eq_ignore_ascii_case("cloud") => {
            let tag = format!("{tag}-cloud");
            Part::Tag.check(&tag, false)?;
            Ok(Cow::Owned(tag))
        }
        Some(_) => Err(NameError::Character(Part::Tag)),
    }
}

/// Joins checked parts, whose limits keep every position far below `u16::MAX`.
pub(crate) fn join(registry: &str, namespace: &str, model: &str, tag: &str) -> (String, Ends) {
    let text = format!("{registry}/{namespace}/{model}:{tag}");
    let end = |bytes: usize| u16::try_from(bytes).expect("the parts of a name are bounded");
    let registry = registry.len();
    let namespace = registry + 1 + namespace.len();
    let model = namespace + 1 + model.len();
    (text, Ends { registry: end(registry), namespace: end(namespace), model: end(model) })
}

impl Ends {
    /// Finds the parts in a text of canonical form, `registry/namespace/model:tag`; `None` if it has another form.
    pub(crate) fn find(text: &str) -> Option<Self> {
        let registry = text.find('/')?;
        let namespace = registry + 1 + text[registry + 1..].find('/')?;
        let model = namespace + 1 + text[namespace + 1..].find(':')?;
        let end = |bytes: usize| u16::try_from(bytes).ok();
        Some(Self { registry: end(registry)?, namespace: end(namespace)?, model: end(model)? })
    }

    pub(crate) fn registry(self, text: &str) -> &str {
        &text[..usize::from(self.registry)]
    }

    pub(crate) fn namespace(self, text: &str) -> &str {
        &text[usize::from(self.registry) + 1..usize::from(self.namespace)]
    }

    pub(crate) fn model(self, text: &str) -> &str {
        &text[usize::from(self.namespace) + 1..usize::from(self.model)]
    }

    pub(crate) fn tag(self, text: &str) -> &str {
        &text[usize::from(self.model) + 1..]
    }
}

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.canonical)
    }
}

impl fmt::Debug for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelName({})", self.canonical)
    }
}

impl PartialEq for ModelName {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for ModelName {}

impl Hash for ModelName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

impl PartialOrd for ModelName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ModelName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical.cmp(&other.canonical)
    }
}

#[cfg(test)]
mod tests;
