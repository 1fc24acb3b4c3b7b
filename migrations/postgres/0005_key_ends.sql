-- The recorded expiry of keys, and indexes for long lists of users and keys.

-- When the expiry was recorded in the audit log. A changed expires_at sets it to NULL again.
ALTER TABLE credentials ADD COLUMN expired_at TIMESTAMPTZ;

-- For the periodic search for expired keys and secrets. These indexes contain few rows.
CREATE INDEX credentials_ending ON credentials (expires_at) WHERE revoked_at IS NULL AND expired_at IS NULL;
CREATE INDEX credential_secrets_retiring ON credential_secrets (retire_at) WHERE state = 'retiring';
CREATE INDEX credential_secrets_staged ON credential_secrets (id) WHERE state = 'staged';

-- For pages and counts, which skip tombstones.
CREATE INDEX users_live ON users (id) WHERE deleted_at IS NULL;
