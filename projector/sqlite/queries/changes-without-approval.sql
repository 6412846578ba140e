-- Changes that were executed without an approval recorded before; an emergency may be approved within 72 hours after.
-- :days = 90, only changes first recorded in the last so many days
WITH executed AS (
    SELECT c.first_entry, c.change, c.class, c.environment, c.owner, c.initiator, c.state, e.attempt, min(e.entry) AS entry, min(e.at) AS at
    FROM changes c JOIN events e USING (first_entry)
    WHERE c.first_at >= :now - :days * 86400000 AND e.has LIKE '%execution%' AND NOT e.probe
    GROUP BY c.first_entry, e.attempt
)
SELECT
    x.change, x.attempt, x.class, x.environment, x.owner, x.initiator, x.state,
    strftime('%Y-%m-%dT%H:%M:%SZ', x.at / 1000, 'unixepoch') AS executed_utc,
    x.entry AS executed_entry,
    (SELECT min(a.entry) FROM approvals a
     WHERE a.first_entry = x.first_entry AND a.attempt = x.attempt AND a.decision = 'approved') AS approved_later_entry
FROM executed x
WHERE NOT EXISTS (
    SELECT 1 FROM approvals a JOIN events e ON e.entry = a.entry
    WHERE a.first_entry = x.first_entry AND a.attempt = x.attempt AND a.decision = 'approved'
        AND (a.entry <= x.entry OR (x.class = 'emergency' AND e.at <= x.at + 72 * 3600000))
)
ORDER BY x.entry DESC
