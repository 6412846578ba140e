-- Changes that were executed and not verified within a day after.
-- :days = 90, only changes first recorded in the last so many days
-- :hours = 24, how long a verification may take
SELECT
    c.change, c.state, c.reached, c.attempt, c.class, c.environment, c.owner, c.initiator,
    strftime('%Y-%m-%dT%H:%M:%SZ', max(e.at) / 1000, 'unixepoch') AS executed_utc,
    (:now - max(e.at)) / 3600000 AS hours_since,
    max(e.entry) AS executed_entry
FROM changes c JOIN events e ON e.first_entry = c.first_entry AND e.attempt = c.attempt
WHERE c.reached IN ('executing', 'executed') AND c.first_at >= :now - :days * 86400000 AND e.has LIKE '%execution%' AND NOT e.probe
GROUP BY c.first_entry
HAVING max(e.at) < :now - :hours * 3600000
ORDER BY max(e.entry) DESC
