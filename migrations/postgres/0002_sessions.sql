-- Refresh tokens, and failed sign-ins.

-- The refresh tokens of sessions. A consumed token is kept as long as its session, so that its
-- reuse is detected.
CREATE TABLE refresh_tokens (
    -- SHA-256 of the token, in hexadecimal.
    hash TEXT PRIMARY KEY,
    session_id UUID NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    consumed_at TIMESTAMPTZ
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

-- Failed sign-ins since the last success, by account and client address.
CREATE TABLE login_attempts (
    -- The canonical e-mail address. The user need not exist. '' if the text is not a valid address.
    account TEXT NOT NULL,
    -- The client's IPv4 address or IPv6 /64 prefix; '' if unknown.
    address TEXT NOT NULL,
    failures BIGINT NOT NULL,
    -- Until this time, sign-ins are rejected without checking the password.
    locked_until TIMESTAMPTZ NOT NULL,
    -- The value of locked_until that the audit log already contains.
    told_until TIMESTAMPTZ,
    seen_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account, address)
);

-- For the deletion of old rows.
CREATE INDEX login_attempts_by_age ON login_attempts (seen_at);
CREATE INDEX sessions_by_age ON sessions (created_at);
