-- What `figures.ts` measures: 100 users with 10,000 keys, a usage row of each key within the last
-- five days, and 10,000 audit events. The events have chain version 0, outside of any chain.
BEGIN;

WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100)
INSERT INTO users (email, display_name, roles, created_at, updated_at)
SELECT 'user-' || n || '@example.com', 'User Number ' || n, 'user', unixepoch() * 1000000, unixepoch() * 1000000
FROM s;

WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 10000)
INSERT INTO credentials (user_id, label, scopes, last_used_at, created_at, updated_at)
SELECT 1 + n % 100, 'job ' || n, 'chat embed generate models:read', iif(n % 3, unixepoch() * 1000000, NULL),
       (unixepoch() - n) * 1000000, (unixepoch() - n) * 1000000
FROM s;

INSERT INTO credential_secrets (credential_id, key_id, hash, state, issued_at)
SELECT id, printf('figures%09d', id), '', 'active', created_at FROM credentials;

INSERT INTO usage (usage_id, request_id, user_id, credential_id, model, endpoint, prompt_tokens, completion_tokens,
                   tokens_estimated, started_at, duration_us, status, http_status)
SELECT randomblob(16), hex(randomblob(16)), user_id, id, 'smollm2:' || (id % 7) || 'b', '/api/chat', 7 + id * 31 % 997,
       11 + id * 17 % 4001, 0, (unixepoch() - id * 43) * 1000000, 900000, 'ok', 200
FROM credentials;

INSERT INTO audit_logs (id, event_id, chain_version, event_type, occurred_at, user_id, credential_id, actor, target, ip,
                        user_agent, request_id, change, prev_hash, hash)
SELECT position + id, randomblob(16), 0, 'api_key_created', created_at, user_id, id, 'user:' || user_id, label,
       '10.0.0.1', 'curl/8.5.0', hex(randomblob(16)), '{"after":{"label":"' || label || '"},"before":{}}',
       hex(randomblob(32)), hex(randomblob(32))
FROM credentials, audit_head;
UPDATE audit_head SET position = position + 10000;

COMMIT;
ANALYZE;
