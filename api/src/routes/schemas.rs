//! Schemas and helpers that several resources share.

#![expect(clippy::option_option, reason = "absent, null and a value are three things in a merge patch")]

use std::{collections::BTreeSet, str::FromStr};

use axum::Json;
use paddock_accounts::{
    Violation,
    types::{self, Limits, ManagedBy, ModelPatterns, Priority, Role, Scope, TextEnum, UnknownVariant, parse_variant},
};
use paddock_ollama::{ModelPattern, only_denies};
use serde::{Deserialize, Serialize};
use serde_with::rust::double_option;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, ObjectBuilder, RefOr, Schema, Type},
};

use crate::http::{
    error::ApiError,
    extract::{deserialize::whole_number, within},
};

/// The Kubernetes object that owns a resource. Change the object, not the resource.
#[derive(Serialize, ToSchema)]
#[schema(as = Owner)]
pub(crate) struct OwnerView {
    /// The UID of the cluster's `kube-system` namespace.
    cluster: String,
    /// The object's namespace.
    namespace: String,
    /// The object's name.
    name: String,
    /// The object's UID.
    uid: String,
}

impl From<ManagedBy> for OwnerView {
    fn from(owner: ManagedBy) -> Self {
        let ManagedBy { cluster, namespace, name, uid } = owner;
        Self { cluster, namespace, name, uid }
    }
}

/// The limits of a user or a key. Null: the default applies. 0: no requests are allowed.
#[derive(Serialize, ToSchema)]
#[schema(as = Limits)]
pub(crate) struct LimitsView {
    /// Requests per minute.
    #[schema(required, minimum = 0)]
    requests_per_minute: Option<i64>,
    /// Prompt and completion tokens per UTC minute.
    #[schema(required, minimum = 0)]
    tokens_per_minute: Option<i64>,
    /// Prompt and completion tokens per UTC day.
    #[schema(required, minimum = 0)]
    tokens_per_day: Option<i64>,
    /// Prompt and completion tokens per UTC month.
    #[schema(required, minimum = 0)]
    tokens_per_month: Option<i64>,
    /// Concurrent requests.
    #[schema(required, minimum = 0)]
    max_concurrent: Option<i64>,
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        Self {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            tokens_per_day: limits.tokens_per_day,
            tokens_per_month: limits.tokens_per_month,
            max_concurrent: limits.max_concurrent,
        }
    }
}

/// The limits to change. An absent limit stays the same, null removes it, 0 allows no requests. A
/// limit of tokens must not exceed that of a longer window, and beside a 0 no limit of tokens or of
/// concurrent requests may be positive.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsPatch {
    /// Requests per minute.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    requests_per_minute: Option<Option<i64>>,
    /// Prompt and completion tokens per UTC minute.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    tokens_per_minute: Option<Option<i64>>,
    /// Prompt and completion tokens per UTC day.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    tokens_per_day: Option<Option<i64>>,
    /// Prompt and completion tokens per UTC month.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    tokens_per_month: Option<Option<i64>>,
    /// Concurrent requests.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    max_concurrent: Option<Option<i64>>,
}

impl From<LimitsPatch> for types::LimitsPatch {
    fn from(patch: LimitsPatch) -> Self {
        let LimitsPatch { requests_per_minute, tokens_per_minute, tokens_per_day, tokens_per_month, max_concurrent } =
            patch;
        Self { requests_per_minute, tokens_per_minute, tokens_per_day, tokens_per_month, max_concurrent }
    }
}

/// The OpenAPI schema of a role.
pub(crate) struct RoleName;

/// The OpenAPI schema of a scope.
pub(crate) struct ScopeName;

/// Documents a closed set of words.
pub(super) fn words<W: TextEnum>(description: &str) -> RefOr<Schema> {
    let texts = W::ALL.iter().map(|word| word.text());
    let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    schema.enum_values(Some(texts)).into()
}

impl PartialSchema for RoleName {
    fn schema() -> RefOr<Schema> {
        words::<Role>("A role of a user. `admin` includes the rights of `user`.")
    }
}

impl ToSchema for RoleName {
    fn name() -> std::borrow::Cow<'static, str> {
        "Role".into()
    }
}

/// The OpenAPI schema of a priority.
pub(crate) struct PriorityName;

impl PartialSchema for PriorityName {
    fn schema() -> RefOr<Schema> {
        words::<Priority>(
            "The band of a key in the queue in front of a model. Requests of `interactive` begin before those of `batch`.",
        )
    }
}

impl ToSchema for PriorityName {
    fn name() -> std::borrow::Cow<'static, str> {
        "Priority".into()
    }
}

impl PartialSchema for ScopeName {
    fn schema() -> RefOr<Schema> {
        words::<Scope>("A scope of an API key. The roles of its owner must allow it too.")
    }
}

impl ToSchema for ScopeName {
    fn name() -> std::borrow::Cow<'static, str> {
        "Scope".into()
    }
}

/// A text to search for.
pub(crate) struct SearchText(pub(crate) String);

/// The longest search text, in characters.
const MAX_SEARCH_LENGTH: usize = 200;

impl FromStr for SearchText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.chars().count() > MAX_SEARCH_LENGTH {
            return Err("must be at most 200 characters");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Ids separated by commas.
pub(crate) struct Ids(pub(crate) Vec<i64>);

/// The most ids that one request names.
const MAX_IDS: usize = 200;

impl FromStr for Ids {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ids: Option<Vec<i64>> = text.split(',').map(|id| whole_number(id).filter(|id| *id > 0)).collect();
        let ids = ids.ok_or("must be ids separated by commas, as 3,17")?;
        if ids.len() > MAX_IDS {
            return Err("must name at most 200 ids");
        }
        Ok(Self(ids))
    }
}

/// Words of a closed set, separated by commas.
pub(crate) struct Words<W>(pub(crate) Vec<W>);

impl<W: TextEnum> FromStr for Words<W> {
    type Err = UnknownVariant;

    fn from_str(text: &str) -> Result<Self, UnknownVariant> {
        text.split(',').map(parse_variant).collect::<Result<_, _>>().map(Self)
    }
}

/// Selects resources by their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ManagedFilter {
    Api,
    Kubernetes,
}

impl ManagedFilter {
    pub(crate) fn is_managed(self) -> bool {
        self == Self::Kubernetes
    }
}

impl TextEnum for ManagedFilter {
    const ALL: &'static [Self] = &[Self::Api, Self::Kubernetes];

    fn text(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Kubernetes => "kubernetes",
        }
    }
}

impl FromStr for ManagedFilter {
    type Err = UnknownVariant;

    fn from_str(text: &str) -> Result<Self, UnknownVariant> {
        parse_variant(text)
    }
}

/// Documents a parameter with a closed set of words.
pub(super) fn choices<W: TextEnum>() -> Object {
    let texts = W::ALL.iter().map(|word| word.text());
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts)).build()
}

/// Documents the columns by which a list can be sorted.
pub(super) fn columns<C: TextEnum>() -> Object {
    let texts = C::ALL.iter().flat_map(|column| [column.text().to_owned(), format!("-{}", column.text())]);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts)).build()
}

/// The longest list of model patterns, as in the Kubernetes kinds. Each request is matched against
/// the whole list.
pub(crate) const MAX_PATTERNS: usize = 256;

/// Parses model patterns into canonical form. Fails with every pattern that is invalid.
pub(crate) fn patterns(given: &[String]) -> Result<ModelPatterns, ApiError> {
    if given.len() > MAX_PATTERNS {
        let rule = format!("must have at most {MAX_PATTERNS} patterns; `*` stands for many names");
        return Err(ApiError::invalid(vec![Violation::new("/models", rule)]));
    }
    let mut canonical = BTreeSet::new();
    let mut violations = Vec::new();
    for (index, text) in given.iter().enumerate() {
        match ModelPattern::parse(text) {
            Ok(pattern) => {
                canonical.insert(pattern.to_string());
            }
            Err(error) => violations.push(Violation::new(format!("/models/{index}"), error.to_string())),
        }
    }
    if only_denies(canonical.iter().map(String::as_str)) {
        let rule = "has only patterns that deny, so it allows no model; add \"*\" to allow all others";
        violations.push(Violation::new("/models", rule));
    }
    if violations.is_empty() { Ok(canonical.into_iter().collect()) } else { Err(ApiError::invalid(violations)) }
}

/// Returns a list of patterns as texts.
pub(crate) fn texts(patterns: Option<&ModelPatterns>) -> Option<Vec<String>> {
    patterns.map(|patterns| patterns.iter().map(str::to_owned).collect())
}

/// Returns the checked limit and offset of a page.
pub(crate) fn page(limit: Option<i64>, max: u16, default: u16, offset: Option<i64>) -> Result<(u16, u32), ApiError> {
    let limit = within("?limit", limit.unwrap_or(default.into()), 1, max.into())?;
    let offset = within("?offset", offset.unwrap_or(0), 0, u32::MAX.into())?;
    Ok((u16::try_from(limit).unwrap_or(max), u32::try_from(offset).unwrap_or(u32::MAX)))
}

/// The response with one page of a list, and the total number of rows in a header.
pub(crate) type Listed<T> = ([(&'static str, String); 1], Json<Vec<T>>);

/// Builds the response with one page of a list.
pub(crate) fn listed<R, T: From<R>>((rows, total): (Vec<R>, i64)) -> Listed<T> {
    ([("x-total-count", total.to_string())], Json(rows.into_iter().map(T::from).collect()))
}
