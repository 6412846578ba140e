-- Emergency changes, with who approved them and when: they need it within 72 hours after they were executed.
-- :days = 90, only changes first recorded in the last so many days
WITH emergencies AS (
    SELECT
        c.*,
        (SELECT min(e.at) FROM events e WHERE e.first_entry = c.first_entry AND e.has LIKE '%execution%' AND NOT e.probe) AS executed_at,
        (SELECT min(e.at) FROM approvals a JOIN events e ON e.entry = a.entry
         WHERE a.first_entry = c.first_entry AND a.decision = 'approved') AS approved_at
    FROM changes c
    WHERE c.class = 'emergency' AND c.first_at >= :now - :days * 86400000
)
SELECT
    change, state, environment, owner, initiator, request, first_utc,
    strftime('%Y-%m-%dT%H:%M:%SZ', executed_at / 1000, 'unixepoch') AS executed_utc,
    strftime('%Y-%m-%dT%H:%M:%SZ', approved_at / 1000, 'unixepoch') AS approved_utc,
    (SELECT group_concat(DISTINCT a.approver) FROM approvals a
     WHERE a.first_entry = emergencies.first_entry AND a.decision = 'approved') AS approvers,
    CASE
        WHEN executed_at IS NULL THEN 'not executed'
        WHEN approved_at <= executed_at THEN 'before'
        WHEN approved_at <= executed_at + 72 * 3600000 THEN 'in time'
        WHEN approved_at IS NOT NULL THEN 'too late'
        WHEN :now <= executed_at + 72 * 3600000 THEN 'pending'
        ELSE 'never'
    END AS approved
FROM emergencies
ORDER BY first_entry DESC
