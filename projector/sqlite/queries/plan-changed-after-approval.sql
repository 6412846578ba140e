-- Changes whose plan is another than the one that was approved, and that nobody approved again so that it counts.
-- :days = 90, only changes first recorded in the last so many days
SELECT
    c.change, t.attempt, c.state, c.class, c.environment, c.owner, c.initiator,
    max(a.entry) AS approved_entry, a.approver, a.plan_digest AS approved_digest, a.lacks, t.plan_digest
FROM changes c
JOIN attempts t ON t.first_entry = c.first_entry
JOIN approvals a ON a.first_entry = t.first_entry AND a.attempt = t.attempt
WHERE c.first_at >= :now - :days * 86400000 AND NOT c.probe AND a.decision = 'approved'
    AND (',' || a.lacks || ',' LIKE '%,plan_changed,%' OR ',' || a.lacks || ',' LIKE '%,other_plan,%')
    AND NOT EXISTS (
        SELECT 1 FROM approvals b WHERE b.first_entry = t.first_entry AND b.attempt = t.attempt AND b.counts)
GROUP BY t.first_entry, t.attempt
ORDER BY approved_entry DESC
