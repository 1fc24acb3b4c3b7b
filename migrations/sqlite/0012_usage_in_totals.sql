-- Totals of usage by the process that writes it.

-- The trigger of 0004 runs once per row, and each run updates a row of usage_days. A writer that adds
-- its rows to usage_days itself, summed over its transaction, sets in_totals. For rows of other
-- writers, such as an earlier release, the trigger does it.
ALTER TABLE usage ADD COLUMN in_totals INTEGER NOT NULL DEFAULT 0 CHECK (in_totals IN (0, 1));

-- As in 0007, with the condition. SQLite cannot replace a trigger.
DROP TRIGGER usage_added;

CREATE TRIGGER usage_added AFTER INSERT ON usage WHEN new.in_totals = 0 BEGIN
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
