-- The checkpoint of the audit log: the last row that retention removed, sealed with the signing
-- key. If retention removed nothing: (0, '', '').
CREATE TABLE audit_anchor (
    singleton BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (singleton),
    position BIGINT NOT NULL,
    hash TEXT NOT NULL,
    seal TEXT NOT NULL
);
INSERT INTO audit_anchor (position, hash, seal) VALUES (0, '', '');

-- The filters of lists and exports, besides user and type.
CREATE INDEX audit_logs_by_credential ON audit_logs (credential_id, id) WHERE credential_id IS NOT NULL;
CREATE INDEX audit_logs_by_actor ON audit_logs (actor, id);
CREATE INDEX audit_logs_by_time ON audit_logs (occurred_at, id);
