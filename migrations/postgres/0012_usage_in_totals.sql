-- Totals of usage by the process that writes it, on SQLite only. Here the triggers of 0004 run once per
-- statement, and add up all of its rows.
SELECT 1;
