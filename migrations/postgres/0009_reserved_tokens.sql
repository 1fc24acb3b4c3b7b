-- Reservations: what requests in flight will use of the limits of their user and key.

-- The tokens that the request has reserved. A request without limits reserves none.
ALTER TABLE usage_open ADD COLUMN reserved_tokens BIGINT NOT NULL DEFAULT 0;
-- Admission sums the requests in flight of one user.
CREATE INDEX usage_open_by_user ON usage_open (user_id);
