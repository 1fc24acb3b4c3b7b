//! Whether the gateway accepts a delivered key. Pure.

use paddock_accounts::{
    credentials::Credential,
    types::{Limits, ModelPatterns, Scope, Scopes},
    users::User,
};
use paddock_ollama::overlap;

use crate::status::conditions::{Blocked, Reason};

/// Returns why the gateway refuses every request with the key; `None` if it accepts the key.
pub(crate) fn refusal(user: &User, credential: &Credential) -> Option<Blocked> {
    if !user.is_active {
        return Some(Blocked::new(
            Reason::UserInactive,
            "the user of the key is disabled, so the gateway refuses the key; the conditions of the ApiUser say why",
        ));
    }
    let usable: Scopes =
        credential.scopes.iter().filter(|scope| user.roles.iter().any(|role| role.grants(*scope))).collect();
    if usable.is_empty() {
        return Some(Blocked::new(
            Reason::UserWithoutRole,
            "the roles of the user allow none of the key's scopes, so the gateway refuses every request; give the ApiUser a role",
        ));
    }
    if let Some(whose) = zero_limit(&user.limits, &credential.limits) {
        return Some(Blocked::new(
            Reason::LimitIsZero,
            format!(
                "limits.requestsPerMinute of the {whose} is 0, so the gateway refuses every request; raise or remove it"
            ),
        ));
    }
    let runs_models = [Scope::Chat, Scope::Generate, Scope::Embed].into_iter().any(|scope| usable.has(scope));
    (runs_models && !allows_models(user.models.as_ref(), credential.models.as_ref())).then(|| {
        Blocked::new(
            Reason::NoModelAllowed,
            "the models of the key and of its user have no model in common, so the gateway refuses every model; add one to spec.models",
        )
    })
}

/// Returns whose limit allows no request.
fn zero_limit(user: &Limits, key: &Limits) -> Option<&'static str> {
    match (user.requests_per_minute, key.requests_per_minute) {
        (_, Some(0)) => Some("key"),
        (Some(0), _) => Some("user"),
        _ => None,
    }
}

/// Whether the two lists may allow a model together. `None` allows every model.
fn allows_models(user: Option<&ModelPatterns>, key: Option<&ModelPatterns>) -> bool {
    overlap(&patterns_of(user), &patterns_of(key))
}

fn patterns_of(list: Option<&ModelPatterns>) -> Vec<&str> {
    list.map_or_else(|| vec!["*"], |list| list.iter().collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn patterns(texts: &[&str]) -> ModelPatterns {
        texts.iter().map(|text| paddock_ollama::ModelPattern::parse(text).unwrap().to_string()).collect()
    }

    #[rstest]
    #[case::no_list(None, None, true)]
    #[case::an_empty_list(Some(&[][..]), None, false)]
    #[case::an_empty_list_of_the_key(None, Some(&[][..]), false)]
    #[case::the_same_model(Some(&["a", "b"][..]), Some(&["b"][..]), true)]
    #[case::other_models(Some(&["a"][..]), Some(&["b"][..]), false)]
    #[case::a_wildcard(Some(&["llama*"][..]), Some(&["llama3:8b"][..]), true)]
    fn two_lists_allow_a_model(#[case] user: Option<&[&str]>, #[case] key: Option<&[&str]>, #[case] expected: bool) {
        assert_eq!(allows_models(user.map(patterns).as_ref(), key.map(patterns).as_ref()), expected);
    }

    #[test]
    fn a_limit_of_zero_is_found() {
        let of = |limit| Limits { requests_per_minute: limit, ..Limits::default() };
        assert_eq!(zero_limit(&of(Some(0)), &of(None)), Some("user"));
        assert_eq!(zero_limit(&of(Some(1)), &of(Some(0))), Some("key"));
        assert_eq!(zero_limit(&of(None), &of(Some(1))), None);
    }
}
