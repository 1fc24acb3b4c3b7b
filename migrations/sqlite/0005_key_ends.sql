-- When the end of a key was told, and what makes long lists of users and keys fast.

-- NULL until the end of its time has been recorded; NULL again when it is given more.
ALTER TABLE credentials ADD COLUMN expired_at INTEGER;

-- What the sweeper looks for: few rows at any time.
CREATE INDEX credentials_ending ON credentials (expires_at) WHERE revoked_at IS NULL AND expired_at IS NULL;
CREATE INDEX credential_secrets_retiring ON credential_secrets (retire_at) WHERE state = 'retiring';
CREATE INDEX credential_secrets_staged ON credential_secrets (id) WHERE state = 'staged';

-- Pages and counts pass over tombstones.
CREATE INDEX users_live ON users (id) WHERE deleted_at IS NULL;
