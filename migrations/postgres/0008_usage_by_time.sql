-- The index for totals by hour, and for periods that begin or end within a day, of all users.
CREATE INDEX usage_by_time ON usage (started_at);
