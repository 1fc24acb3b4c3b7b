-- The band of a key in the queue.

-- Requests of the band 'interactive' begin before those of 'batch'.
ALTER TABLE credentials ADD COLUMN priority TEXT NOT NULL DEFAULT 'interactive'
    CHECK (priority IN ('interactive', 'batch'));
