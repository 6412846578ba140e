-- Changes that were executed outside the window of their plan, by the log's time; a window that is no time of RFC 3339 is named too.
-- :days = 90, only changes first recorded in the last so many days
WITH executed AS (
    SELECT c.first_entry, c.change, c.class, c.environment, c.owner, c.state, e.attempt, e.entry, e.at / 1000 AS at
    FROM changes c JOIN events e USING (first_entry)
    WHERE c.first_at >= :now - :days * 86400000 AND e.has LIKE '%execution%' AND NOT e.probe
),
planned AS (
    SELECT x.*, p.window_from, p.window_to, unixepoch(p.window_from) AS opens, unixepoch(p.window_to) AS closes
    FROM executed x JOIN plans p ON p.first_entry = x.first_entry AND p.entry = (
        SELECT max(q.entry) FROM plans q WHERE q.first_entry = x.first_entry AND q.attempt = x.attempt AND q.entry <= x.entry)
    WHERE p.window_from IS NOT NULL OR p.window_to IS NOT NULL
)
SELECT
    change, attempt,
    CASE WHEN at < opens THEN 'too early' WHEN at > closes THEN 'too late' ELSE 'window unreadable' END AS what,
    strftime('%Y-%m-%dT%H:%M:%SZ', at, 'unixepoch') AS executed_utc,
    window_from, window_to, class, environment, owner, state, entry AS executed_entry
FROM planned
WHERE at < opens OR at > closes OR (window_from IS NOT NULL AND opens IS NULL) OR (window_to IS NOT NULL AND closes IS NULL)
ORDER BY entry DESC
