-- Approvals by whoever asked for the change or executed it, none of which counts; with what the change had beside them.
-- :days = 90, only changes first recorded in the last so many days
SELECT
    c.change, a.attempt, a.approver, a.role, a.lacks, a.grade, t.approved AS approved_all_the_same, t.missing,
    c.class, c.environment, c.owner, c.initiator, c.state, a.entry AS approval_entry
FROM approvals a
JOIN changes c ON c.first_entry = a.first_entry
JOIN attempts t ON t.first_entry = a.first_entry AND t.attempt = a.attempt
WHERE a.decision = 'approved' AND (a.lacks LIKE '%by_initiator%' OR a.lacks LIKE '%by_executor%') AND NOT c.probe AND c.first_at >= :now - :days * 86400000
ORDER BY a.entry DESC
