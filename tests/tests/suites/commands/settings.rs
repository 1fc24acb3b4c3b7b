//! A wrong setting or option ends a command with exit code 2 and one line that names it and a right
//! value.

use paddock_tests::story::story;
use rstest::rstest;

use super::{STRONG_SECRET, UNREACHABLE_DATABASE, assert_refused, paddock};

#[rstest]
#[case::another_engine(&["api"], &[("DATABASE_URL", "mysql://app@db/app")], &["DATABASE_URL", "mysql:", "postgres://"])]
#[case::no_engine(&["migrate"], &[("DATABASE_URL", "paddock.db")], &["DATABASE_URL", "sqlite:"])]
#[case::no_file(&["api"], &[("LISTEN_ADDR", "127.0.0.1:0")], &["paddock.db", "paddock migrate"])]
#[case::prod_without_database(&["api"], &[("ENVIRONMENT", "prod")], &["DATABASE_URL", "postgres://"])]
#[case::prod_without_audit_key(
    &["api"],
    &[("ENVIRONMENT", "prod"), ("DATABASE_URL", UNREACHABLE_DATABASE), ("JWT_SECRET", STRONG_SECRET)],
    &["AUDIT_SIGNING_KEY", "openssl rand -hex 32"],
)]
#[case::prod_without_jwt_secret(
    &["run"],
    &[("ENVIRONMENT", "prod"), ("DATABASE_URL", UNREACHABLE_DATABASE), ("AUDIT_SIGNING_KEY", STRONG_SECRET)],
    &["JWT_SECRET", "openssl rand -hex 32"],
)]
#[case::a_short_secret(&["api"], &[("JWT_SECRET", "short"), ("AUDIT_SIGNING_KEY", STRONG_SECRET)], &["JWT_SECRET", "32"])]
#[case::a_known_secret(
    &["api"],
    &[
        ("ENVIRONMENT", "prod"),
        ("DATABASE_URL", UNREACHABLE_DATABASE),
        ("AUDIT_SIGNING_KEY", STRONG_SECRET),
        ("JWT_SECRET", "change-me-change-me-change-me-change-me"),
    ],
    &["JWT_SECRET", "example"],
)]
#[case::another_algorithm(&["run"], &[("JWT_ALG", "none")], &["JWT_ALG", "HS256"])]
#[case::no_url(&["run"], &[("OLLAMA_BASE_URL", "localhost:11434")], &["OLLAMA_BASE_URL", "http"])]
#[case::discovery_of_a_list(
    &["api"],
    &[("OLLAMA_DISCOVERY", "dns"), ("OLLAMA_BASE_URL", "http://a:1,http://b:1")],
    &["OLLAMA_BASE_URL", "2 URLs", "http://ollama.models.svc:11434"],
)]
#[case::discovery_of_an_address(
    &["api"],
    &[("OLLAMA_DISCOVERY", "dns"), ("OLLAMA_BASE_URL", "http://10.0.0.1:11434")],
    &["OLLAMA_BASE_URL", "http://ollama.models.svc:11434"],
)]
#[case::discovery_of_another_kind(&["api"], &[("OLLAMA_DISCOVERY", "srv")], &["OLLAMA_DISCOVERY `srv`", "dns"])]
#[case::a_dns_server_without_discovery(
    &["operator"],
    &[("OLLAMA_DNS_SERVER", "10.0.0.10:53")],
    &["OLLAMA_DNS_SERVER", "OLLAMA_DISCOVERY"],
)]
#[case::no_dns_server(&["api"], &[("OLLAMA_DNS_SERVER", "coredns")], &["OLLAMA_DNS_SERVER `coredns`", "10.96.0.10:53"])]
#[case::a_secret_twice(
    &["run"],
    &[("JWT_SECRET", STRONG_SECRET), ("JWT_SECRET_FILE", "/nowhere/it")],
    &["JWT_SECRET", "JWT_SECRET_FILE"],
)]
#[case::no_port(&["api"], &[("PORT", "http")], &["PORT `http`", "8080"])]
#[case::no_address(&["api"], &[("LISTEN_ADDR", "8080")], &["LISTEN_ADDR `8080`", "127.0.0.1:8080"])]
#[case::no_brackets(&["api"], &[("LISTEN_ADDR", "::1:8080")], &["LISTEN_ADDR `::1:8080`", "[::1]:8080"])]
#[case::a_host_name(&["operator"], &[("METRICS_ADDR", "node.example:9090")], &["METRICS_ADDR `node.example:9090`", "0.0.0.0:9090"])]
#[case::no_duration(&["api"], &[("DRAIN_TIMEOUT", "30")], &["DRAIN_TIMEOUT `30`", "90s"])]
#[case::no_password_length(&["migrate"], &[("PASSWORD_MIN_LENGTH", "7")], &["PASSWORD_MIN_LENGTH `7`", "8 to 128"])]
#[case::no_number(&["migrate"], &[("DB_MAX_CONNECTIONS", "1")], &["DB_MAX_CONNECTIONS `1`", "2 to 1000"])]
#[case::no_environment(&["seed"], &[("ENVIRONMENT", "staging")], &["ENVIRONMENT `staging`", "local", "prod"])]
#[case::neither_yes_nor_no(
    &["seed"],
    &[("ADMIN_BOOTSTRAP_PASSWORD_FORCE", "maybe")],
    &["ADMIN_BOOTSTRAP_PASSWORD_FORCE `maybe`", "yes"],
)]
#[case::no_collector(
    &["api"],
    &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")],
    &["OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"],
)]
#[case::no_proxy(&["api"], &[("TRUSTED_PROXIES", "10.0.0.0/8,nginx")], &["TRUSTED_PROXIES `nginx`", "10.0.0.0/8"])]
#[case::a_proxy_with_a_length(&["api"], &[("TRUSTED_PROXIES", "10.1.2.3/8")], &["TRUSTED_PROXIES `10.1.2.3/8`", "10.0.0.0/8 or 10.1.2.3"])]
#[case::every_address_a_proxy(&["api"], &[("TRUSTED_PROXIES", "::/0")], &["TRUSTED_PROXIES `::/0`", "10.0.0.0/8"])]
#[case::every_origin(&["api"], &[("CORS_ALLOWED_ORIGINS", "*")], &["CORS_ALLOWED_ORIGINS `*`", "https://app.example.com"])]
#[case::no_origin(
    &["api"],
    &[("CORS_ALLOWED_ORIGINS", "https://a.example,https://b.example/ui")],
    &["CORS_ALLOWED_ORIGINS `https://b.example/ui`", "https://app.example.com"],
)]
#[case::no_level(&["api"], &[("LOG_LEVEL", "verbose")], &["LOG_LEVEL `verbose`", "warn, info", "info,sqlx=warn"])]
#[case::nearly_a_level(&["migrate"], &[("LOG_LEVEL", "warning")], &["LOG_LEVEL `warning`", "warn, info"])]
#[case::a_level_and_no_level(&["run"], &[("LOG_LEVEL", "info,noisy")], &["LOG_LEVEL", "`noisy`"])]
#[case::no_filter(&["run"], &[("LOG_LEVEL", "sqlx=loud")], &["LOG_LEVEL `sqlx=loud`", "info,sqlx=warn"])]
#[case::no_token(&["user", "list"], &[], &["PADDOCK_TOKEN", "PADDOCK_TOKEN_FILE"])]
#[case::no_keys(
    &["key", "revoke", "--dry-run"],
    &[],
    &["--user", "--label", "--older-than", "--unused-for"],
)]
#[case::a_slash_in_a_password(
    &["migrate"],
    &[("DATABASE_URL", "postgres://app:12/34@db:5432/app")],
    &["DATABASE_URL", "%2F", "postgres://user:password@host:5432/name"],
)]
#[case::no_secret_name(&["seed", "--secret", "bootstrap"], &[], &["--secret `bootstrap`", "namespace/name"])]
#[case::no_context_to_write_to(&["seed", "--secret", "a/b"], &[], &["--context"])]
#[case::no_folder_to_write_to(&["seed", "--output-file", "/nowhere/it"], &[], &["--output-file", "/nowhere/it"])]
#[case::no_such_secret_file(&["run"], &[("JWT_SECRET_FILE", "/nowhere/it")], &["JWT_SECRET_FILE", "/nowhere/it"])]
#[case::a_public_address_and_the_dev_password(
    &["run", "--env", "dev"],
    &[("LISTEN_ADDR", "0.0.0.0:0")],
    &["LISTEN_ADDR", "ADMIN_BOOTSTRAP_PASSWORD"],
)]
#[case::prod_without_public_url(
    &["run", "--operator", "--context", "none"],
    &[("ENVIRONMENT", "prod"), ("DATABASE_URL", UNREACHABLE_DATABASE), ("JWT_SECRET", STRONG_SECRET), ("AUDIT_SIGNING_KEY", STRONG_SECRET), ("PORT", "0")],
    &["PUBLIC_URL", "http://"],
)]
#[case::no_context(&["run", "--operator"], &[("PORT", "0")], &["--context"])]
#[tokio::test]
async fn a_wrong_setting_is_named_with_a_right_value(
    #[case] arguments: &[&str],
    #[case] variables: &[(&str, &str)],
    #[case] named: &[&str],
) {
    story(async { assert_refused(&paddock(arguments, variables)?, 2, named) }).await;
}
