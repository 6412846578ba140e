-- Changes whose last attempt failed, and that were neither rolled back nor done again with success.
-- :days = 90, only changes first recorded in the last so many days
SELECT
    c.change, c.state, c.reached, c.attempt, c.class, c.environment, c.owner, c.initiator, c.last_utc,
    (SELECT r.result FROM rollbacks r WHERE r.first_entry = c.first_entry AND r.attempt = c.attempt ORDER BY r.entry DESC LIMIT 1) AS rollback,
    c.last_entry
FROM changes c
WHERE c.reached IN ('failed', 'verify_failed', 'rollback_failed') AND c.first_at >= :now - :days * 86400000
ORDER BY c.last_entry DESC
