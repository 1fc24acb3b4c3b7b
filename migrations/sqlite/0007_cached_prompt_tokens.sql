-- Prompt tokens that Ollama read from its cache.

-- A part of prompt_tokens. NULL: Ollama did not report it.
ALTER TABLE usage ADD COLUMN cached_prompt_tokens INTEGER;
-- The sum of the reported ones. Earlier usage adds nothing.
ALTER TABLE usage_days ADD COLUMN cached_prompt_tokens INTEGER NOT NULL DEFAULT 0;

-- The triggers of 0004, with the new column. SQLite cannot replace a trigger.
DROP TRIGGER usage_added;
DROP TRIGGER usage_settled;

CREATE TRIGGER usage_added AFTER INSERT ON usage BEGIN
    INSERT INTO usage_days (day, user_id, credential_id, model, requests, failed, prompt_tokens, cached_prompt_tokens,
                            completion_tokens, estimated)
    VALUES (new.started_at / 86400000000, new.user_id, coalesce(new.credential_id, 0), new.model, 1,
            (new.status <> 'ok' OR new.http_status >= 400), coalesce(new.prompt_tokens, 0),
            coalesce(new.cached_prompt_tokens, 0), coalesce(new.completion_tokens, 0), new.tokens_estimated)
    ON CONFLICT (day, user_id, credential_id, model) DO UPDATE SET
        requests = requests + excluded.requests, failed = failed + excluded.failed,
        prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        cached_prompt_tokens = cached_prompt_tokens + excluded.cached_prompt_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens, estimated = estimated + excluded.estimated;
END;

CREATE TRIGGER usage_settled AFTER UPDATE ON usage BEGIN
    UPDATE usage_days SET
        failed = failed + (new.status <> 'ok' OR new.http_status >= 400) - (old.status <> 'ok' OR old.http_status >= 400),
        prompt_tokens = prompt_tokens + coalesce(new.prompt_tokens, 0) - coalesce(old.prompt_tokens, 0),
        cached_prompt_tokens = cached_prompt_tokens + coalesce(new.cached_prompt_tokens, 0) - coalesce(old.cached_prompt_tokens, 0),
        completion_tokens = completion_tokens + coalesce(new.completion_tokens, 0) - coalesce(old.completion_tokens, 0),
        estimated = estimated + new.tokens_estimated - old.tokens_estimated
    WHERE day = new.started_at / 86400000000 AND user_id = new.user_id
      AND credential_id = coalesce(new.credential_id, 0) AND model = new.model;
END;
