-- The identity of this database, and the last use of each secret of a key.

-- A random id of the database, in one row. A dropped and migrated database has another one, so the
-- operator notices that its keys are gone.
CREATE TABLE database_identity (id TEXT NOT NULL);
INSERT INTO database_identity (id) VALUES (gen_random_uuid()::text);

-- When the secret was last used, accurate to about a minute. It tells whether clients still use a
-- replaced secret.
ALTER TABLE credential_secrets ADD COLUMN last_used_at TIMESTAMPTZ;
