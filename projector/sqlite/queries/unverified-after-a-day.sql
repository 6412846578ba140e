-- Changes with an attempt that was executed and of which a day later no verification is recorded: the anomaly verification_missing.
-- :days = 90, only changes first recorded in the last so many days
SELECT
    c.change, n.attempt, c.state, c.reached, c.class, c.environment, c.owner, c.initiator,
    strftime('%Y-%m-%dT%H:%M:%SZ', e.at / 1000, 'unixepoch') AS executed_utc,
    (:now - e.at) / 3600000 AS hours_since,
    n.entry AS executed_entry
FROM anomalies n JOIN changes c ON c.first_entry = n.first_entry JOIN events e ON e.entry = n.entry
WHERE n.code = 'verification_missing' AND NOT c.probe AND c.first_at >= :now - :days * 86400000
ORDER BY n.entry DESC
