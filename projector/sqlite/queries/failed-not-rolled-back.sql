-- Attempts that failed and were neither rolled back nor, in a later attempt, done again and verified.
-- :days = 90, only changes first recorded in the last so many days
SELECT
    c.change, c.state, t.reached, t.attempt, c.class, c.environment, c.owner, c.initiator, c.last_utc,
    (SELECT r.result FROM rollbacks r WHERE r.first_entry = t.first_entry AND r.attempt = t.attempt ORDER BY r.entry DESC LIMIT 1) AS rollback,
    c.last_entry
FROM attempts t JOIN changes c ON c.first_entry = t.first_entry
WHERE t.reached IN ('failed', 'verify_failed', 'rollback_failed') AND NOT c.probe AND c.first_at >= :now - :days * 86400000
    AND NOT EXISTS (
        SELECT 1 FROM attempts s WHERE s.first_entry = t.first_entry AND s.attempt > t.attempt AND s.reached = 'verified'
            AND NOT EXISTS (
                SELECT 1 FROM anomalies n WHERE n.first_entry = s.first_entry AND n.attempt = s.attempt AND n.code = 'executed_after_verification'))
ORDER BY c.last_entry DESC, t.attempt
