-- Users, credentials, sessions, models, usage and the audit chain.
--
-- Conventions, the same in migrations/sqlite:
--   * sets (roles, scopes, model patterns) are TEXT, sorted and separated by one space; NULL means "not narrowed", '' means "none";
--   * every limit is a nullable BIGINT: NULL means "no limit but the default", 0 means "none allowed";
--   * managed_* names the Kubernetes object that owns a row: cluster (the UID of kube-system), namespace, name, and the
--     object's own uid as a fence; all four are NULL for what the API owns;
--   * no foreign key leaves audit_logs or usage, so that history outlives what it speaks of.

CREATE TABLE users (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- NULL only in a tombstone, so that the address may be used again.
    email TEXT UNIQUE,
    display_name TEXT,
    external_id TEXT UNIQUE,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    roles TEXT NOT NULL DEFAULT '',
    models TEXT,
    requests_per_minute BIGINT,
    tokens_per_minute BIGINT,
    tokens_per_day BIGINT,
    tokens_per_month BIGINT,
    max_concurrent BIGINT,
    -- Raised whenever every session of the user must end at once.
    token_version BIGINT NOT NULL DEFAULT 0,
    managed_cluster TEXT,
    managed_namespace TEXT,
    managed_name TEXT,
    managed_uid TEXT,
    -- When an admin disabled what Kubernetes owns; reconciliation leaves is_active alone until it is cleared.
    overridden_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    deleted_at TIMESTAMPTZ,
    CHECK (email IS NOT NULL OR deleted_at IS NOT NULL),
    CHECK ((managed_cluster IS NULL) = (managed_uid IS NULL)
       AND (managed_cluster IS NULL) = (managed_namespace IS NULL)
       AND (managed_cluster IS NULL) = (managed_name IS NULL))
);
CREATE UNIQUE INDEX users_managed ON users (managed_cluster, managed_namespace, managed_name);

CREATE TABLE passwords (
    user_id BIGINT PRIMARY KEY REFERENCES users (id),
    hash TEXT NOT NULL,
    set_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE credentials (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    models TEXT,
    requests_per_minute BIGINT,
    tokens_per_minute BIGINT,
    tokens_per_day BIGINT,
    tokens_per_month BIGINT,
    max_concurrent BIGINT,
    expires_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,
    managed_cluster TEXT,
    managed_namespace TEXT,
    managed_name TEXT,
    managed_uid TEXT,
    -- When an admin revoked what Kubernetes owns; reconciliation issues nothing until it is cleared.
    overridden_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CHECK ((managed_cluster IS NULL) = (managed_uid IS NULL)
       AND (managed_cluster IS NULL) = (managed_namespace IS NULL)
       AND (managed_cluster IS NULL) = (managed_name IS NULL))
);
CREATE INDEX credentials_by_user ON credentials (user_id);
CREATE UNIQUE INDEX credentials_managed ON credentials (managed_cluster, managed_namespace, managed_name);

-- The secrets that have lived under a credential. Rotation adds one here and keeps the credential.
CREATE TABLE credential_secrets (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    credential_id BIGINT NOT NULL REFERENCES credentials (id),
    -- The public part of the key, found in the token itself; what a request is looked up by.
    key_id TEXT NOT NULL UNIQUE,
    hash TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('staged', 'active', 'retiring', 'revoked')),
    issued_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    retire_at TIMESTAMPTZ
);
CREATE UNIQUE INDEX credential_secrets_one_active ON credential_secrets (credential_id) WHERE state = 'active';
CREATE INDEX credential_secrets_by_credential ON credential_secrets (credential_id);

CREATE TABLE sessions (
    id UUID PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    -- The user's token_version when the session began; a raised one ends it.
    token_version BIGINT NOT NULL,
    ip TEXT,
    user_agent TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ
);
CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE models (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Canonical: host/namespace/model:tag.
    model TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('pulled', 'adopted', 'built')),
    digest TEXT,
    size_bytes BIGINT,
    managed_cluster TEXT,
    managed_namespace TEXT,
    managed_name TEXT,
    managed_uid TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CHECK ((managed_cluster IS NULL) = (managed_uid IS NULL)
       AND (managed_cluster IS NULL) = (managed_namespace IS NULL)
       AND (managed_cluster IS NULL) = (managed_name IS NULL))
);
CREATE INDEX models_by_model ON models (model);
CREATE UNIQUE INDEX models_managed ON models (managed_cluster, managed_namespace, managed_name);

CREATE TABLE usage (
    -- UUIDv7 made at admission, never the client's request id.
    usage_id UUID PRIMARY KEY,
    request_id TEXT NOT NULL,
    user_id BIGINT NOT NULL,
    -- NULL when the request came with a session.
    credential_id BIGINT,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    -- TRUE when the tokens were counted from frames because the answer was cut before its totals.
    tokens_estimated BOOLEAN NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    -- Microseconds from admission to the first byte of the answer and to its end.
    first_byte_us BIGINT,
    duration_us BIGINT NOT NULL,
    status TEXT NOT NULL,
    http_status BIGINT NOT NULL
);
CREATE INDEX usage_by_user ON usage (user_id, started_at);
CREATE INDEX usage_by_credential ON usage (credential_id, started_at);

-- Append-only. id is the place in the chain: gapless, in commit order.
CREATE TABLE audit_logs (
    id BIGINT PRIMARY KEY CHECK (id > 0),
    event_id UUID NOT NULL UNIQUE,
    chain_version BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    -- Whom and what the event is about, not who acted.
    user_id BIGINT,
    credential_id BIGINT,
    -- user:<id>, key:<credential id>, operator:<field manager>:<kind>/<namespace>/<name>, or system:<part>.
    actor TEXT NOT NULL,
    target TEXT,
    ip TEXT,
    user_agent TEXT,
    request_id TEXT,
    detail TEXT,
    -- Canonical JSON {"before": .., "after": ..}, without secrets. TEXT, because its bytes are hashed.
    change TEXT,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX audit_logs_by_user ON audit_logs (user_id, id);
CREATE INDEX audit_logs_by_type ON audit_logs (event_type, id);

-- One row: the end of the chain. Its lock puts audited transactions in order.
CREATE TABLE audit_head (
    singleton BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (singleton),
    position BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (position, hash) VALUES (0, '');
