-- Totals of usage by UTC day, and requests in flight.

-- The daily totals that GET /usage sums. Triggers update them in the transaction that writes usage,
-- so they are correct for every release that writes it. An INSERT that conflicts with an existing
-- row adds nothing. Old rows of usage may be deleted; their totals remain.
CREATE TABLE usage_days (
    -- Days since 1970-01-01 UTC.
    day BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    -- 0 for sessions.
    credential_id BIGINT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    -- Requests that were interrupted or ended with an error.
    failed BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    -- Requests whose tokens were estimated from frames.
    estimated BIGINT NOT NULL,
    PRIMARY KEY (day, user_id, credential_id, model)
);
CREATE INDEX usage_days_by_user ON usage_days (user_id, day);

CREATE FUNCTION usage_day(at TIMESTAMPTZ) RETURNS BIGINT LANGUAGE SQL IMMUTABLE
AS $$ SELECT floor(extract(epoch FROM at) / 86400)::BIGINT $$;

-- Writes in key order, so that two concurrent writers cannot deadlock.
CREATE FUNCTION usage_added() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_days AS d
    SELECT usage_day(started_at), user_id, coalesce(credential_id, 0), model, count(*),
           count(*) FILTER (WHERE status <> 'ok' OR http_status >= 400), coalesce(sum(prompt_tokens), 0),
           coalesce(sum(completion_tokens), 0), count(*) FILTER (WHERE tokens_estimated)
    FROM added GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (day, user_id, credential_id, model) DO UPDATE SET
        requests = d.requests + excluded.requests, failed = d.failed + excluded.failed,
        prompt_tokens = d.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = d.completion_tokens + excluded.completion_tokens,
        estimated = d.estimated + excluded.estimated;
    RETURN NULL;
END $$;

-- Corrects the totals when the outcome of a request that was settled as unknown becomes known. Only
-- the outcome and the tokens change.
CREATE FUNCTION usage_settled() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_days AS d
    SELECT usage_day(started_at), user_id, coalesce(credential_id, 0), model, 0,
           sum(sign * (status <> 'ok' OR http_status >= 400)::INT), coalesce(sum(sign * prompt_tokens), 0),
           coalesce(sum(sign * completion_tokens), 0), sum(sign * tokens_estimated::INT)
    FROM (SELECT *, -1 AS sign FROM before UNION ALL SELECT *, 1 AS sign FROM present) AS changed
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (day, user_id, credential_id, model) DO UPDATE SET
        failed = d.failed + excluded.failed, prompt_tokens = d.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = d.completion_tokens + excluded.completion_tokens,
        estimated = d.estimated + excluded.estimated;
    RETURN NULL;
END $$;

-- Creating a trigger locks the table, so no row is written before the existing rows are counted
-- below.
CREATE TRIGGER usage_added AFTER INSERT ON usage REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION usage_added();
CREATE TRIGGER usage_settled AFTER UPDATE ON usage REFERENCING OLD TABLE AS before NEW TABLE AS present
    FOR EACH STATEMENT EXECUTE FUNCTION usage_settled();

INSERT INTO usage_days
SELECT usage_day(started_at), user_id, coalesce(credential_id, 0), model, count(*),
       count(*) FILTER (WHERE status <> 'ok' OR http_status >= 400), coalesce(sum(prompt_tokens), 0),
       coalesce(sum(completion_tokens), 0), count(*) FILTER (WHERE tokens_estimated)
FROM usage GROUP BY 1, 2, 3, 4;

-- Serving processes, with the time of their last heartbeat.
CREATE TABLE usage_processes (
    process_id UUID PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL
);

-- Requests in flight, except short ones. If their process ends, another process settles them as
-- usage with the status unknown.
CREATE TABLE usage_open (
    usage_id UUID PRIMARY KEY,
    process_id UUID NOT NULL,
    request_id TEXT NOT NULL,
    user_id BIGINT NOT NULL,
    credential_id BIGINT,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX usage_open_by_process ON usage_open (process_id);
