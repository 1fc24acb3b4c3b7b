-- Where the audit log begins: the last row that retention removed, sealed under the signing key. Nothing removed: (0, '', '').
CREATE TABLE audit_anchor (
    singleton BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (singleton),
    position BIGINT NOT NULL,
    hash TEXT NOT NULL,
    seal TEXT NOT NULL
);
INSERT INTO audit_anchor (position, hash, seal) VALUES (0, '', '');

-- What lists and exports narrow by, beside user and type.
CREATE INDEX audit_logs_by_credential ON audit_logs (credential_id, id) WHERE credential_id IS NOT NULL;
CREATE INDEX audit_logs_by_actor ON audit_logs (actor, id);
CREATE INDEX audit_logs_by_time ON audit_logs (occurred_at, id);
