//! The model name: parses any spelling into the canonical form.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use super::parts::{DEFAULT_NAMESPACE, DEFAULT_REGISTRY, NameError, NameParts, Part, PartOffsets, join};

/// The tag of a name without one.
pub(super) const DEFAULT_TAG: &str = "latest";

/// A model's name. Its canonical form is `registry/namespace/model:tag` in lower case, with
/// Ollama's defaults for absent parts.
///
/// Two names are equal if Ollama runs the same model for both. `Display` writes the canonical form.
#[derive(Clone)]
pub struct ModelName {
    canonical: Box<str>,
    offsets: PartOffsets,
    /// The four parts in the case of the spelling, if it differs from the canonical form.
    written: Option<Box<str>>,
}

impl ModelName {
    /// Parses any spelling that Ollama accepts: `[scheme://][registry/][namespace/]model[:tag]`.
    ///
    /// Drops the scheme. Treats the suffixes `:tag:cloud` and `:tag-cloud` as equal, as Ollama
    /// does.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let parts = NameParts::split(text, false)?;
        let tag = match parts.tag {
            None => Cow::Borrowed(DEFAULT_TAG),
            Some(tag) => parse_tag(tag)?,
        };
        let namespace = parts.namespace.unwrap_or(DEFAULT_NAMESPACE);
        let registry = parts.registry.unwrap_or(DEFAULT_REGISTRY);
        let (written, offsets) = join(registry, namespace, parts.model, &tag);
        let canonical = written.to_ascii_lowercase().into_boxed_str();
        let written = (*canonical != *written).then(|| written.into_boxed_str());
        Ok(Self { canonical, offsets, written })
    }

    /// Returns the canonical form, `registry/namespace/model:tag`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// Returns the four parts in the case of the spelling. Use it to pull from a registry, whose
    /// paths may be case-sensitive. Do not compare it.
    #[must_use]
    pub fn as_written(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.canonical)
    }

    /// Returns the registry's host, with its port if the name has one, such as `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.offsets.registry(&self.canonical)
    }

    /// Returns the namespace, which is `library` for Ollama's own models.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.offsets.namespace(&self.canonical)
    }

    /// Returns the model without namespace and tag, such as `smollm2`.
    #[must_use]
    pub fn model(&self) -> &str {
        self.offsets.model(&self.canonical)
    }

    /// Returns the tag, such as `135m`, or `latest` if the spelling had none.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.offsets.tag(&self.canonical)
    }

    /// Returns the name as Ollama prints it, such as `smollm2:135m`. Namespace and registry are
    /// present only if they are not the default.
    #[must_use]
    pub fn short(&self) -> &str {
        let start = if self.registry() != DEFAULT_REGISTRY {
            0
        } else if self.namespace() != DEFAULT_NAMESPACE {
            usize::from(self.offsets.registry) + 1
        } else {
            usize::from(self.offsets.namespace) + 1
        };
        &self.canonical[start..]
    }

    /// Returns whether Ollama runs the model in its cloud: the tag is `cloud` or ends in `-cloud`.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        self.tag() == "cloud" || self.tag().ends_with("-cloud")
    }
}

/// Parses the text after the model's colon. Ollama reads a final `:cloud` or `:local` as the source
/// of the model and not as part of its tag.
fn parse_tag(text: &str) -> Result<Cow<'_, str>, NameError> {
    let (tag, source) = match text.split_once(':') {
        None => (text, None),
        Some((tag, source)) => (tag, Some(source)),
    };
    Part::Tag.check(tag, false)?;
    let is_local = |text: &str| text.eq_ignore_ascii_case("local");
    match source {
        _ if is_local(tag) => Err(NameError::LocalSuffix),
        None => Ok(Cow::Borrowed(tag)),
        Some(source) if is_local(source) => Err(NameError::LocalSuffix),
        Some(source) if source.eq_ignore_ascii_case("cloud") => {
            let tag = format!("{tag}-cloud");
            Part::Tag.check(&tag, false)?;
            Ok(Cow::Owned(tag))
        }
        Some(_) => {
            Err(NameError::InvalidCharacter { part: Part::Tag, character: ':', position: tag.chars().count() + 1 })
        }
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
