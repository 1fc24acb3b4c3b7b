-- Users, credentials, sessions, models, usage and the audit chain.
--
-- Times are microseconds since 1970 UTC. Conventions, the same in migrations/postgres:
--   * sets (roles, scopes, model patterns) are TEXT, sorted and separated by one space; NULL means "not narrowed", '' means "none";
--   * every limit is a nullable INTEGER: NULL means "no limit but the default", 0 means "none allowed";
--   * managed_* names the Kubernetes object that owns a row: cluster (the UID of kube-system), namespace, name, and the
--     object's own uid as a fence; all four are NULL for what the API owns;
--   * no foreign key leaves audit_logs or usage, so that history outlives what it speaks of.

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- NULL only in a tombstone, so that the address may be used again.
    email TEXT UNIQUE,
    display_name TEXT,
    external_id TEXT UNIQUE,
    is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    roles TEXT NOT NULL DEFAULT '',
    models TEXT,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    tokens_per_day INTEGER,
    tokens_per_month INTEGER,
    max_concurrent INTEGER,
    -- Raised whenever every session of the user must end at once.
    token_version INTEGER NOT NULL DEFAULT 0,
    managed_cluster TEXT,
    managed_namespace TEXT,
    managed_name TEXT,
    managed_uid TEXT,
    -- When an admin disabled what Kubernetes owns; reconciliation leaves is_active alone until it is cleared.
    overridden_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    CHECK (email IS NOT NULL OR deleted_at IS NOT NULL),
    CHECK ((managed_cluster IS NULL) = (managed_uid IS NULL)
       AND (managed_cluster IS NULL) = (managed_namespace IS NULL)
       AND (managed_cluster IS NULL) = (managed_name IS NULL))
) STRICT;
CREATE UNIQUE INDEX users_managed ON users (managed_cluster, managed_namespace, managed_name);

CREATE TABLE passwords (
    user_id INTEGER PRIMARY KEY REFERENCES users (id),
    hash TEXT NOT NULL,
    set_at INTEGER NOT NULL
) STRICT;

CREATE TABLE credentials (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users (id),
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    models TEXT,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    tokens_per_day INTEGER,
    tokens_per_month INTEGER,
    max_concurrent INTEGER,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER,
    managed_cluster TEXT,
    managed_namespace TEXT,
    managed_name TEXT,
    managed_uid TEXT,
    -- When an admin revoked what Kubernetes owns; reconciliation issues nothing until it is cleared.
    overridden_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((managed_cluster IS NULL) = (managed_uid IS NULL)
       AND (managed_cluster IS NULL) = (managed_namespace IS NULL)
       AND (managed_cluster IS NULL) = (managed_name IS NULL))
) STRICT;
CREATE INDEX credentials_by_user ON credentials (user_id);
CREATE UNIQUE INDEX credentials_managed ON credentials (managed_cluster, managed_namespace, managed_name);

-- The secrets that have lived under a credential. Rotation adds one here and keeps the credential.
CREATE TABLE credential_secrets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    credential_id INTEGER NOT NULL REFERENCES credentials (id),
    -- The public part of the key, found in the token itself; what a request is looked up by.
    key_id TEXT NOT NULL UNIQUE,
    hash TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('staged', 'active', 'retiring', 'revoked')),
    issued_at INTEGER NOT NULL,
    expires_at INTEGER,
    retire_at INTEGER
) STRICT;
CREATE UNIQUE INDEX credential_secrets_one_active ON credential_secrets (credential_id) WHERE state = 'active';
CREATE INDEX credential_secrets_by_credential ON credential_secrets (credential_id);

CREATE TABLE sessions (
    id BLOB PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    -- The user's token_version when the session began; a raised one ends it.
    token_version INTEGER NOT NULL,
    ip TEXT,
    user_agent TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE models (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Canonical: host/namespace/model:tag.
    model TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('pulled', 'adopted', 'built')),
    digest TEXT,
    size_bytes INTEGER,
    managed_cluster TEXT,
    managed_namespace TEXT,
    managed_name TEXT,
    managed_uid TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((managed_cluster IS NULL) = (managed_uid IS NULL)
       AND (managed_cluster IS NULL) = (managed_namespace IS NULL)
       AND (managed_cluster IS NULL) = (managed_name IS NULL))
) STRICT;
CREATE INDEX models_by_model ON models (model);
CREATE UNIQUE INDEX models_managed ON models (managed_cluster, managed_namespace, managed_name);

CREATE TABLE usage (
    -- UUIDv7 made at admission, never the client's request id.
    usage_id BLOB PRIMARY KEY,
    request_id TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    -- NULL when the request came with a session.
    credential_id INTEGER,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    -- 1 when the tokens were counted from frames because the answer was cut before its totals.
    tokens_estimated INTEGER NOT NULL CHECK (tokens_estimated IN (0, 1)),
    started_at INTEGER NOT NULL,
    -- Microseconds from admission to the first byte of the answer and to its end.
    first_byte_us INTEGER,
    duration_us INTEGER NOT NULL,
    status TEXT NOT NULL,
    http_status INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_by_user ON usage (user_id, started_at);
CREATE INDEX usage_by_credential ON usage (credential_id, started_at);

-- Append-only. id is the place in the chain: gapless, in commit order.
CREATE TABLE audit_logs (
    id INTEGER PRIMARY KEY CHECK (id > 0),
    event_id BLOB NOT NULL UNIQUE,
    chain_version INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    -- Whom and what the event is about, not who acted.
    user_id INTEGER,
    credential_id INTEGER,
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
) STRICT;
CREATE INDEX audit_logs_by_user ON audit_logs (user_id, id);
CREATE INDEX audit_logs_by_type ON audit_logs (event_type, id);

-- One row: the end of the chain. Its lock puts audited transactions in order.
CREATE TABLE audit_head (
    singleton INTEGER PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    position INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT;
INSERT INTO audit_head (position, hash) VALUES (0, '');
