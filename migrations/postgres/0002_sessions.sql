-- Refresh tokens, and sign-ins that have not succeeded.

-- The tokens that a session has gone on with. A consumed one is kept for as long as its session, so that its second use
-- is noticed.
CREATE TABLE refresh_tokens (
    -- SHA-256 of the token, in hexadecimal.
    hash TEXT PRIMARY KEY,
    session_id UUID NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    consumed_at TIMESTAMPTZ
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

-- One row for an account and a client's address, as long as no sign-in has succeeded. Grants nothing.
CREATE TABLE login_attempts (
    -- The canonical e-mail address, whether it is anybody's or not; '' for whatever is none.
    account TEXT NOT NULL,
    -- The client's address; of IPv6 the /64; '' where there is none.
    address TEXT NOT NULL,
    failures BIGINT NOT NULL,
    -- Until then nothing is judged.
    locked_until TIMESTAMPTZ NOT NULL,
    -- The lock that audit has heard of.
    told_until TIMESTAMPTZ,
    seen_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account, address)
);

-- What the sweeper looks for.
CREATE INDEX login_attempts_by_age ON login_attempts (seen_at);
CREATE INDEX sessions_by_age ON sessions (created_at);
