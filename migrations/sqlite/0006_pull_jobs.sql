-- Pulls of models that the API starts.

-- The conventions are those of 0001_initial.
CREATE TABLE pull_jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Canonical: host/namespace/model:tag.
    model TEXT NOT NULL,
    -- The same name in the case of the request: paths of a registry may be case-sensitive.
    written TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    -- Why the pull failed.
    reason TEXT,
    -- The caller that requested the pull; credential_id is NULL for a session.
    user_id INTEGER NOT NULL,
    credential_id INTEGER,
    -- The claim of the process that runs the pull. It ends at leased_until unless the process renews
    -- it; then another process continues the pull.
    claim_id BLOB,
    leased_until INTEGER,
    percent INTEGER NOT NULL DEFAULT 0,
    completed_bytes INTEGER NOT NULL DEFAULT 0,
    total_bytes INTEGER NOT NULL DEFAULT 0,
    -- NULL unless data arrives.
    bytes_per_second INTEGER,
    -- JSON: the latest line of each step, as Ollama reports it.
    steps TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    updated_at INTEGER NOT NULL
) STRICT;
-- At most one unfinished pull of a model.
CREATE UNIQUE INDEX pull_jobs_unfinished ON pull_jobs (model) WHERE state IN ('queued', 'running');
CREATE INDEX pull_jobs_finished ON pull_jobs (finished_at) WHERE finished_at IS NOT NULL;
