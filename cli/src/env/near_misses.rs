//! Finds variables whose name is close to that of a setting, such as `RATE_LIMIT` for
//! `RATE_LIMIT_PER_MINUTE`. Paddock ignores such a variable, so it warns the admin of the mistake.

/// The part of every setting's name that people add.
const OWN_PREFIX: &str = "PADDOCK_";
/// Variables with these prefixes belong to other programs, or have a standard meaning.
const FOREIGN_PREFIXES: [&str; 2] = ["KUBERNETES_", "OTEL_"];
/// Shorter names are too common to tell anything.
const MIN_LENGTH: usize = 6;

/// The setting that a variable probably means. `None` for a setting, and for any other name.
pub(super) fn meant_setting<'a>(name: &str, settings: &[&'a str]) -> Option<&'a str> {
    if name.len() < MIN_LENGTH
        || settings.contains(&name)
        || FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    {
        return None;
    }
    if let Some(rest) = name.strip_prefix(OWN_PREFIX) {
        return settings.iter().copied().find(|setting| *setting == rest);
    }
    let close = settings.iter().copied().filter(|setting| is_close(name, setting));
    close.min_by_key(|setting| (distance(name, setting), *setting))
}

fn is_close(name: &str, setting: &str) -> bool {
    let shorter = name.len().min(setting.len());
    distance(name, setting) <= (shorter / 4).min(3)
        || has_words_of(name, setting)
        || is_longer_or_shorter(name, setting)
}

/// Whether the name is a part of the setting's words in the same order: `OLLAMA_URL` for
/// `OLLAMA_BASE_URL`.
fn has_words_of(name: &str, setting: &str) -> bool {
    let mut words = setting.split('_');
    name.contains('_') && name.split('_').all(|word| words.any(|other| other == word))
}

/// Whether one of the names begins with the other: `DB_USERNAME` for `DB_USER`.
fn is_longer_or_shorter(name: &str, setting: &str) -> bool {
    let (short, long) = if name.len() < setting.len() { (name, setting) } else { (setting, name) };
    short.len() >= MIN_LENGTH && short.contains('_') && long.starts_with(short)
}

/// The number of characters to insert, remove or replace.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SETTINGS: [&str; 16] = [
        "RATE_LIMIT_PER_MINUTE",
        "TRUSTED_PROXIES",
        "LISTEN_ADDR",
        "OLLAMA_BASE_URL",
        "DATABASE_URL",
        "DB_USER",
        "DB_HOST",
        "DB_PORT",
        "DB_PASSWORD",
        "PORT",
        "JWT_SECRET",
        "JWT_ALG",
        "ENVIRONMENT",
        "CORS_ALLOWED_ORIGINS",
        "ADMIN_BOOTSTRAP_PASSWORD",
        "PADDOCK_TOKEN",
    ];

    #[rstest]
    #[case("RATE_LIMIT", "RATE_LIMIT_PER_MINUTE")]
    #[case("RATE_LIMITS_PER_MINUTE", "RATE_LIMIT_PER_MINUTE")]
    #[case("TRUSTED_PROXY", "TRUSTED_PROXIES")]
    #[case("LISTEN_ADDRESS", "LISTEN_ADDR")]
    #[case("OLLAMA_URL", "OLLAMA_BASE_URL")]
    #[case("DATABASE_URI", "DATABASE_URL")]
    #[case("DB_USERNAME", "DB_USER")]
    #[case("DB_USER_FILE", "DB_USER")]
    #[case("DB_PASS", "DB_PASSWORD")]
    #[case("JWT_SECRET_KEY", "JWT_SECRET")]
    #[case("JWT_ALGORITHM", "JWT_ALG")]
    #[case("ENVIROMENT", "ENVIRONMENT")]
    #[case("CORS_ORIGINS", "CORS_ALLOWED_ORIGINS")]
    #[case("ADMIN_PASSWORD", "ADMIN_BOOTSTRAP_PASSWORD")]
    #[case("PADDOCK_JWT_SECRET", "JWT_SECRET")]
    fn a_close_name_is_found(#[case] name: &str, #[case] setting: &str) {
        assert_eq!(meant_setting(name, &SETTINGS), Some(setting));
    }

    #[rstest]
    #[case("RATE_LIMIT_PER_MINUTE")]
    #[case("PORT")]
    #[case("PATH")]
    #[case("HOSTNAME")]
    #[case("OLLAMA_HOST")]
    #[case("PGPORT")]
    #[case("LANG")]
    #[case("REDIS_HOST")]
    #[case("PADDOCK_BIN")]
    #[case("OTEL_EXPORTER_OTLP_HEADERS")]
    #[case("GITHUB_TOKEN")]
    #[case("XDG_CONFIG_HOME")]
    fn another_name_is_not(#[case] name: &str) {
        assert_eq!(meant_setting(name, &SETTINGS), None);
    }
}
