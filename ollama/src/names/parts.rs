//! Parts of a model name: the split of a spelling, the check of each part, and the offsets of the
//! parts in the canonical form.

use std::fmt;

/// The registry of a name without one.
pub(crate) const DEFAULT_REGISTRY: &str = "registry.ollama.ai";
/// The namespace of a name without one.
pub(crate) const DEFAULT_NAMESPACE: &str = "library";

/// Maximum length of a registry host, in bytes.
const MAX_REGISTRY_BYTES: usize = 350;
/// Maximum length of a namespace, model or tag, in bytes.
const MAX_PART_BYTES: usize = 80;

/// Why a text is not a model name or a pattern of model names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("a model name is required")]
    Empty,
    /// A part beside a separator is empty, as in `library/` or `llama3.2:`.
    #[error("the {0} of the model name is empty")]
    EmptyPart(Part),
    /// A part is longer than Ollama accepts.
    #[error("the {0} of the model name is longer than {max} bytes", max = .0.max_bytes())]
    TooLong(Part),
    /// A part contains a character that Ollama does not accept in it.
    #[error("the {part} of the model name must not {} {character:?}, its character {position}", if *.position == 1 { "begin with" } else { "contain" })]
    InvalidCharacter {
        /// The part.
        part: Part,
        /// The character.
        character: char,
        /// Its place in the part, in characters from 1.
        position: usize,
    },
    /// The text has more parts than `registry/namespace/model`.
    #[error("a model name has at most three parts: registry/namespace/model:tag")]
    TooManyParts,
    /// The scheme is neither `http` nor `https`.
    #[error("the scheme of a model name is http or https")]
    UnsupportedScheme,
    /// The text has the form `name@sha256:...`, which Ollama does not support.
    #[error("a model is named by its tag, not by a digest")]
    UnsupportedDigest,
    /// The text ends in `:local`. Newer versions of Ollama drop this suffix, older ones treat it as
    /// a tag.
    #[error("versions of Ollama disagree on what the suffix :local means; write the name without it")]
    LocalSuffix,
}

/// A part of a model name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The host of the registry, with its port if the name has one.
    Registry,
    /// The namespace in the registry.
    Namespace,
    /// The model in the namespace.
    Model,
    /// The tag of the model.
    Tag,
}

impl Part {
    const fn max_bytes(self) -> usize {
        match self {
            Self::Registry => MAX_REGISTRY_BYTES,
            Self::Namespace | Self::Model | Self::Tag => MAX_PART_BYTES,
        }
    }

    const fn accepts(self, character: char) -> bool {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => true,
            '.' => !matches!(self, Self::Namespace),
            ':' => matches!(self, Self::Registry),
            _ => false,
        }
    }

    /// Checks a part of a name, or of a pattern if `is_pattern`.
    ///
    /// A part begins with a letter, a digit or `_`. In a pattern it may contain `*` anywhere.
    pub(crate) fn check(self, text: &str, is_pattern: bool) -> Result<(), NameError> {
        if text.is_empty() {
            return Err(NameError::EmptyPart(self));
        }
        if text.len() > self.max_bytes() {
            return Err(NameError::TooLong(self));
        }
        let is_allowed = |(at, character): &(usize, char)| {
            let is_forbidden_first = *at == 0 && matches!(character, '-' | '.' | ':');
            !is_forbidden_first && (self.accepts(*character) || (is_pattern && *character == '*'))
        };
        match text.chars().enumerate().find(|character| !is_allowed(character)) {
            None => Ok(()),
            Some((at, character)) => Err(NameError::InvalidCharacter { part: self, character, position: at + 1 }),
        }
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

/// The parts of a spelling, as written. `None` where the default applies.
pub(crate) struct NameParts<'a> {
    pub(crate) registry: Option<&'a str>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) model: &'a str,
    pub(crate) tag: Option<&'a str>,
}

impl<'a> NameParts<'a> {
    /// Splits a spelling from the right, as Ollama does, and checks all parts except the tag.
    pub(crate) fn split(text: &'a str, is_pattern: bool) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.contains('@') {
            return Err(NameError::UnsupportedDigest);
        }
        let text = strip_scheme(text)?;
        // A tag contains no slash, so a colon before the last slash belongs to the registry's port.
        let last_segment = text.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match text[last_segment..].split_once(':') {
            Some((model, tag)) => (&text[..last_segment + model.len()], Some(tag)),
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
            Part::Registry.check(registry, is_pattern)?;
        }
        if let Some(namespace) = namespace {
            Part::Namespace.check(namespace, is_pattern)?;
        }
        Part::Model.check(model, is_pattern)?;
        Ok(Self { registry, namespace, model, tag })
    }
}

/// Removes `http://` or `https://`. Fails on any other scheme.
fn strip_scheme(text: &str) -> Result<&str, NameError> {
    match text.split_once("://") {
        None => Ok(text),
        // Ollama accepts a scheme only before a name with all three parts.
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") => {
            if rest.matches('/').count() < 2 {
                return Err(NameError::EmptyPart(Part::Registry));
            }
            Ok(rest)
        }
        Some(_) => Err(NameError::UnsupportedScheme),
    }
}

/// Joins checked parts into the canonical form. The limits of the parts keep every offset below
/// `u16::MAX`.
pub(crate) fn join(registry: &str, namespace: &str, model: &str, tag: &str) -> (String, PartOffsets) {
    let text = format!("{registry}/{namespace}/{model}:{tag}");
    let end = |bytes: usize| u16::try_from(bytes).expect("the parts of a name are bounded");
    let registry = registry.len();
    let namespace = registry + 1 + namespace.len();
    let model = namespace + 1 + model.len();
    (text, PartOffsets { registry: end(registry), namespace: end(namespace), model: end(model) })
}

/// The offset at which each part of a canonical form ends. The tag extends to the end.
#[derive(Clone, Copy)]
pub(crate) struct PartOffsets {
    pub(super) registry: u16,
    pub(super) namespace: u16,
    model: u16,
}

impl PartOffsets {
    /// Finds the parts in a text of the form `registry/namespace/model:tag`. Returns `None` for any
    /// other form.
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
