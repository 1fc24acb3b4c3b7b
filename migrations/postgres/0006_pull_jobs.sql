-- Pulls of models that the API starts.

-- The conventions are those of 0001_initial.
CREATE TABLE pull_jobs (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Canonical: host/namespace/model:tag.
    model TEXT NOT NULL,
    -- The same name in the case of the request: paths of a registry may be case-sensitive.
    written TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    -- Why the pull failed.
    reason TEXT,
    -- The caller that requested the pull; credential_id is NULL for a session.
    user_id BIGINT NOT NULL,
    credential_id BIGINT,
    -- The claim of the process that runs the pull. It ends at leased_until unless the process renews
    -- it; then another process continues the pull.
    claim_id UUID,
    leased_until TIMESTAMPTZ,
    percent BIGINT NOT NULL DEFAULT 0,
    completed_bytes BIGINT NOT NULL DEFAULT 0,
    total_bytes BIGINT NOT NULL DEFAULT 0,
    -- NULL unless data arrives.
    bytes_per_second BIGINT,
    -- JSON: the latest line of each step, as Ollama reports it.
    steps TEXT NOT NULL DEFAULT '[]',
    created_at TIMESTAMPTZ NOT NULL,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL
);
-- At most one unfinished pull of a model.
CREATE UNIQUE INDEX pull_jobs_unfinished ON pull_jobs (model) WHERE state IN ('queued', 'running');
CREATE INDEX pull_jobs_finished ON pull_jobs (finished_at) WHERE finished_at IS NOT NULL;
