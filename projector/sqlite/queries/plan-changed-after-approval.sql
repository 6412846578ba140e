-- Changes whose plan is another than the one that was approved, and that nobody approved again.
-- :days = 90, only changes first recorded in the last so many days
WITH approved AS (
    SELECT a.first_entry, a.attempt, a.approver, a.entry, coalesce(a.plan_digest, (
        SELECT p.digest FROM plans p
        WHERE p.first_entry = a.first_entry AND p.attempt = a.attempt AND p.entry <= a.entry ORDER BY p.entry DESC LIMIT 1)) AS digest
    FROM approvals a
    WHERE a.decision = 'approved'
),
latest AS (
    SELECT first_entry, attempt, max(entry) AS entry FROM plans GROUP BY first_entry, attempt
)
SELECT
    c.change, l.attempt, c.state, c.class, c.environment, c.owner, c.initiator,
    max(a.entry) AS approved_entry, a.approver, a.digest AS approved_digest,
    l.entry AS plan_entry, p.digest AS plan_digest
FROM latest l
JOIN changes c USING (first_entry)
JOIN plans p ON p.first_entry = l.first_entry AND p.entry = l.entry
JOIN approved a ON a.first_entry = l.first_entry AND a.attempt = l.attempt
WHERE c.first_at >= :now - :days * 86400000
GROUP BY l.first_entry, l.attempt
HAVING sum(a.digest IS p.digest) = 0
ORDER BY l.entry DESC
