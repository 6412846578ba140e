-- Emergency changes, a row for each attempt that executed, with who approved them and whether in time: by the tenant's rule so many hours after they were executed (72 unless it says otherwise).
-- :days = 90, only changes first recorded in the last so many days
WITH pending AS (
    SELECT first_entry FROM kpi_changes WHERE kpi = 'approval_coverage.emergency' AND against AND day_number > :now / 86400000
),
emergencies AS (
    SELECT c.*, t.attempt AS executed_attempt, t.executed_entry, t.needs_approval, t.approved, t.approved_entry
    FROM changes c LEFT JOIN attempts t ON t.first_entry = c.first_entry AND t.executed_entry IS NOT NULL
    WHERE c.class = 'emergency' AND NOT c.probe AND c.first_at >= :now - :days * 86400000
)
SELECT
    x.change, x.executed_attempt AS attempt, x.state, x.environment, x.owner, x.initiator, x.request, x.first_utc,
    (SELECT e.utc FROM events e WHERE e.entry = x.executed_entry) AS executed_utc,
    (SELECT e.utc FROM events e WHERE e.entry = x.approved_entry) AS approved_utc,
    (SELECT group_concat(DISTINCT a.approver) FROM approvals a
     WHERE a.first_entry = x.first_entry AND a.attempt = x.executed_attempt AND a.decision = 'approved' AND a.counts) AS approvers,
    CASE
        WHEN x.executed_entry IS NULL THEN 'not executed'
        WHEN NOT x.needs_approval THEN 'not needed'
        WHEN x.approved AND x.approved_entry <= x.executed_entry THEN 'before'
        WHEN x.approved THEN 'in time'
        WHEN x.first_entry IN (SELECT first_entry FROM pending) THEN 'pending'
        WHEN EXISTS (SELECT 1 FROM approvals a WHERE a.first_entry = x.first_entry AND a.attempt = x.executed_attempt
            AND a.decision = 'approved' AND a.counts) THEN 'too late or not enough'
        ELSE 'never'
    END AS approved
FROM emergencies x
ORDER BY x.first_entry DESC, x.executed_attempt
