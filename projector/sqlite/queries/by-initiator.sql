-- Who asks for changes, and what became of them.
-- :days = 90, only changes first recorded in the last so many days
SELECT
    coalesce(c.initiator, '') AS initiator,
    count(*) AS changes,
    sum(c.class IS 'emergency') AS emergencies,
    sum(c.reached = 'verified') AS verified,
    sum(c.reached IN ('failed', 'verify_failed', 'rollback_failed')) AS failed,
    sum(c.reached = 'rolled_back') AS rolled_back,
    sum(EXISTS (SELECT 1 FROM anomalies n WHERE n.first_entry = c.first_entry)) AS with_anomalies,
    max(c.last_utc) AS last_utc
FROM changes c
WHERE c.first_at >= :now - :days * 86400000 AND NOT c.probe
GROUP BY 1
ORDER BY changes DESC, initiator
