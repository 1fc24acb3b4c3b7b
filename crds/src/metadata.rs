//! The rules for names and values of labels and annotations.

/// Names and prefixes of labels and annotations by which GitOps tools and Paddock track objects. A
/// Secret with one of them would be pruned as an object that is not in Git.
pub const RESERVED: [&str; 10] = [
    "paddock.dev/",
    "argocd.argoproj.io/",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "config.k8s.io/",
    "objectset.rio.cattle.io/",
    "kubectl.kubernetes.io/",
];

/// Returns the rule that the name of a label or annotation breaks; `None` if it may be used.
#[must_use]
pub fn name_violation(name: &str) -> Option<&'static str> {
    if RESERVED.iter().any(|reserved| name.starts_with(reserved)) {
        return Some("is reserved: Paddock or a GitOps tool tracks objects by it; remove it");
    }
    let (prefix, part) = name.rsplit_once('/').map_or((None, name), |(prefix, part)| (Some(prefix), part));
    let is_subdomain = |prefix: &str| {
        (1..=253).contains(&prefix.len())
            && prefix.split('.').all(|label| {
                let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
            })
    };
    if !(1..=63).contains(&part.len()) || !is_word(part) || !prefix.is_none_or(is_subdomain) {
        return Some(
            "must be at most 63 letters, digits, '-', '_' and '.', begin and end with a letter or digit, and may have a DNS \
             subdomain and a '/' before it",
        );
    }
    None
}

/// Returns whether the text may be the value of a label.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    value.len() <= 63 && (value.is_empty() || is_word(value))
}

/// Whether the text has only letters, digits, `-`, `_` and `.`, and begins and ends with a letter or
/// digit.
fn is_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.bytes().all(is_inner) && is_outer(text.bytes().next()) && is_outer(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_kubernetes() {
        for name in ["team", "a.b_C-1", "example.com/team", "reloader.stakater.com/match", &"a".repeat(63)] {
            assert_eq!(name_violation(name), None, "{name}");
        }
        for name in ["", "bad key!", "-a", "a-", "/a", "a/", "Upper.com/a", "a/b/c", "a..b/c", &"a".repeat(64)] {
            assert!(name_violation(name).is_some(), "{name}");
        }
    }

    #[test]
    fn tracking_names_are_reserved() {
        for name in ["argocd.argoproj.io/tracking-id", "kustomize.toolkit.fluxcd.io/name", "app.kubernetes.io/instance"]
        {
            assert!(name_violation(name).is_some_and(|rule| rule.contains("GitOps")), "{name}");
        }
        assert_eq!(name_violation("app.kubernetes.io/name"), None);
    }

    #[test]
    fn values_of_labels_follow_the_rules_of_kubernetes() {
        assert!(["", "a", "A.b_c-1"].into_iter().all(is_label_value));
        assert!(![" ", "a b", "-a", "a-", "a/b"].into_iter().any(is_label_value));
        assert!(!is_label_value(&"a".repeat(64)));
    }
}
