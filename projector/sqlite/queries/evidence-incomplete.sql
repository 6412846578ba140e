-- Changes that were executed and whose evidence lacks something, with what.
-- :days = 90, only changes first recorded in the last so many days
WITH executed AS (
    SELECT
        c.*,
        NOT EXISTS (SELECT 1 FROM plans p WHERE p.first_entry = c.first_entry) AS no_plan,
        NOT EXISTS (SELECT 1 FROM approvals a WHERE a.first_entry = c.first_entry AND a.decision = 'approved') AS no_approval,
        NOT EXISTS (SELECT 1 FROM steps s WHERE s.first_entry = c.first_entry AND s.kind = 'execute') AS no_steps,
        EXISTS (SELECT 1 FROM steps s WHERE s.first_entry = c.first_entry AND s.kind = 'execute' AND NOT s.logged) AS no_logs,
        NOT EXISTS (SELECT 1 FROM checks k WHERE k.first_entry = c.first_entry AND k.stage <> 'preflight')
            AND NOT EXISTS (SELECT 1 FROM drift d WHERE d.first_entry = c.first_entry) AS no_verification,
        c.reached IN ('failed', 'verify_failed') AND NOT EXISTS (SELECT 1 FROM rollbacks r WHERE r.first_entry = c.first_entry)
            AND NOT EXISTS (SELECT 1 FROM plans p WHERE p.first_entry = c.first_entry AND p.has_rollback) AS no_rollback
    FROM changes c
    WHERE c.first_at >= :now - :days * 86400000
        AND EXISTS (SELECT 1 FROM events e WHERE e.first_entry = c.first_entry AND e.has LIKE '%execution%' AND NOT e.probe)
)
SELECT
    change, state, class, environment, owner, initiator,
    rtrim(
        iif(no_plan, 'plan, ', '') || iif(no_approval, 'approval, ', '') || iif(no_steps, 'steps, ', '') || iif(no_logs, 'logs, ', '')
        || iif(no_verification, 'verification, ', '') || iif(no_rollback, 'rollback, ', ''), ', ') AS lacks,
    last_utc, last_entry
FROM executed
WHERE no_plan OR no_approval OR no_steps OR no_logs OR no_verification OR no_rollback
ORDER BY last_entry DESC
