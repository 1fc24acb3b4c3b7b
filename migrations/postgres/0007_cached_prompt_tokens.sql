-- Prompt tokens that Ollama read from its cache.

-- A part of prompt_tokens. NULL: Ollama did not report it.
ALTER TABLE usage ADD COLUMN cached_prompt_tokens BIGINT;
-- The sum of the reported ones. Earlier usage adds nothing.
ALTER TABLE usage_days ADD COLUMN cached_prompt_tokens BIGINT NOT NULL DEFAULT 0;

-- As in 0004, with the new column.
CREATE OR REPLACE FUNCTION usage_added() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_days AS d (day, user_id, credential_id, model, requests, failed, prompt_tokens,
                                 cached_prompt_tokens, completion_tokens, estimated)
    SELECT usage_day(started_at), user_id, coalesce(credential_id, 0), model, count(*),
           count(*) FILTER (WHERE status <> 'ok' OR http_status >= 400), coalesce(sum(prompt_tokens), 0),
           coalesce(sum(cached_prompt_tokens), 0), coalesce(sum(completion_tokens), 0),
           count(*) FILTER (WHERE tokens_estimated)
    FROM added GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (day, user_id, credential_id, model) DO UPDATE SET
        requests = d.requests + excluded.requests, failed = d.failed + excluded.failed,
        prompt_tokens = d.prompt_tokens + excluded.prompt_tokens,
        cached_prompt_tokens = d.cached_prompt_tokens + excluded.cached_prompt_tokens,
        completion_tokens = d.completion_tokens + excluded.completion_tokens,
        estimated = d.estimated + excluded.estimated;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION usage_settled() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_days AS d (day, user_id, credential_id, model, requests, failed, prompt_tokens,
                                 cached_prompt_tokens, completion_tokens, estimated)
    SELECT usage_day(started_at), user_id, coalesce(credential_id, 0), model, 0,
           sum(sign * (status <> 'ok' OR http_status >= 400)::INT), coalesce(sum(sign * prompt_tokens), 0),
           coalesce(sum(sign * cached_prompt_tokens), 0), coalesce(sum(sign * completion_tokens), 0),
           sum(sign * tokens_estimated::INT)
    FROM (SELECT *, -1 AS sign FROM before UNION ALL SELECT *, 1 AS sign FROM present) AS changed
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (day, user_id, credential_id, model) DO UPDATE SET
        failed = d.failed + excluded.failed, prompt_tokens = d.prompt_tokens + excluded.prompt_tokens,
        cached_prompt_tokens = d.cached_prompt_tokens + excluded.cached_prompt_tokens,
        completion_tokens = d.completion_tokens + excluded.completion_tokens,
        estimated = d.estimated + excluded.estimated;
    RETURN NULL;
END $$;
