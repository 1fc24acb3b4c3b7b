-- Totals of usage by UTC day, and requests in flight.

-- The daily totals that GET /usage sums. Triggers update them in the transaction that writes usage,
-- so they are correct for every release that writes it. An INSERT that conflicts with an existing
-- row adds nothing. Old rows of usage may be deleted; their totals remain.
CREATE TABLE usage_days (
    -- Days since 1970-01-01 UTC.
    day INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    -- 0 for sessions.
    credential_id INTEGER NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    -- Requests that were interrupted or ended with an error.
    failed INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    -- Requests whose tokens were estimated from frames.
    estimated INTEGER NOT NULL,
    PRIMARY KEY (day, user_id, credential_id, model)
) STRICT;
CREATE INDEX usage_days_by_user ON usage_days (user_id, day);

INSERT INTO usage_days
SELECT started_at / 86400000000, user_id, coalesce(credential_id, 0), model, count(*),
       sum(status <> 'ok' OR http_status >= 400), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0),
       sum(tokens_estimated)
FROM usage GROUP BY 1, 2, 3, 4;

CREATE TRIGGER usage_added AFTER INSERT ON usage BEGIN
    INSERT INTO usage_days
    VALUES (new.started_at / 86400000000, new.user_id, coalesce(new.credential_id, 0), new.model, 1,
            (new.status <> 'ok' OR new.http_status >= 400), coalesce(new.prompt_tokens, 0),
            coalesce(new.completion_tokens, 0), new.tokens_estimated)
    ON CONFLICT (day, user_id, credential_id, model) DO UPDATE SET
        requests = requests + excluded.requests, failed = failed + excluded.failed,
        prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens, estimated = estimated + excluded.estimated;
END;

-- Corrects the totals when the outcome of a request that was settled as unknown becomes known. Only
-- the outcome and the tokens change.
CREATE TRIGGER usage_settled AFTER UPDATE ON usage BEGIN
    UPDATE usage_days SET
        failed = failed + (new.status <> 'ok' OR new.http_status >= 400) - (old.status <> 'ok' OR old.http_status >= 400),
        prompt_tokens = prompt_tokens + coalesce(new.prompt_tokens, 0) - coalesce(old.prompt_tokens, 0),
        completion_tokens = completion_tokens + coalesce(new.completion_tokens, 0) - coalesce(old.completion_tokens, 0),
        estimated = estimated + new.tokens_estimated - old.tokens_estimated
    WHERE day = new.started_at / 86400000000 AND user_id = new.user_id
      AND credential_id = coalesce(new.credential_id, 0) AND model = new.model;
END;

-- Serving processes, with the time of their last heartbeat.
CREATE TABLE usage_processes (
    process_id BLOB PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT;

-- Requests in flight, except short ones. If their process ends, another process settles them as
-- usage with the status unknown.
CREATE TABLE usage_open (
    usage_id BLOB PRIMARY KEY,
    process_id BLOB NOT NULL,
    request_id TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    credential_id INTEGER,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    started_at INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_open_by_process ON usage_open (process_id);
