-- Changes that were approved by whoever asked for them or executed them.
-- :days = 90, only changes first recorded in the last so many days
SELECT c.change, n.attempt, n.code, n.text, c.class, c.environment, c.owner, c.initiator, c.state, n.entry AS approval_entry
FROM anomalies n JOIN changes c USING (first_entry)
WHERE n.code IN ('approver_is_initiator', 'approver_is_executor') AND c.first_at >= :now - :days * 86400000
ORDER BY n.entry DESC, n.code
