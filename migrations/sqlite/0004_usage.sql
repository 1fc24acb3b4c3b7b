-- Totals of usage by UTC day, and requests that are under way.

-- What GET /usage adds up. Kept by triggers in the transaction of the rows themselves, so that it is right whichever release
-- writes them; a row that is already there fires none. Rows of usage may be deleted when they are old: totals stay.
CREATE TABLE usage_days (
    -- Days since 1970-01-01 UTC.
    day INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    -- 0: with a session.
    credential_id INTEGER NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    -- Those that did not come to their end, or to an error.
    failed INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    -- Requests whose tokens were counted from frames.
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

-- A request that was settled as unknown, and whose end was found after all: only its outcome and its tokens change.
CREATE TRIGGER usage_settled AFTER UPDATE ON usage BEGIN
    UPDATE usage_days SET
        failed = failed + (new.status <> 'ok' OR new.http_status >= 400) - (old.status <> 'ok' OR old.http_status >= 400),
        prompt_tokens = prompt_tokens + coalesce(new.prompt_tokens, 0) - coalesce(old.prompt_tokens, 0),
        completion_tokens = completion_tokens + coalesce(new.completion_tokens, 0) - coalesce(old.completion_tokens, 0),
        estimated = estimated + new.tokens_estimated - old.tokens_estimated
    WHERE day = new.started_at / 86400000000 AND user_id = new.user_id
      AND credential_id = coalesce(new.credential_id, 0) AND model = new.model;
END;

-- Processes that serve, and when each was last heard of.
CREATE TABLE usage_processes (
    process_id BLOB PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT;

-- Requests under way for longer than a moment. One whose process is gone is settled as usage with the status unknown.
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
