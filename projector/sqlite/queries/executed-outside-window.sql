-- Changes that were executed outside the window of their plan, by the producer's time: the anomaly executed_outside_window.
-- :days = 90, only changes first recorded in the last so many days
SELECT
    c.change, n.attempt, n.text AS what, strftime('%Y-%m-%dT%H:%M:%SZ', e.ts, 'unixepoch') AS executed_utc,
    c.class, c.environment, c.owner, c.state, n.entry AS executed_entry
FROM anomalies n JOIN changes c ON c.first_entry = n.first_entry JOIN events e ON e.entry = n.entry
WHERE n.code = 'executed_outside_window' AND NOT c.probe AND c.first_at >= :now - :days * 86400000
ORDER BY n.entry DESC
