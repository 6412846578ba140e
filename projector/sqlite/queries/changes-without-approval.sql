-- Changes with an attempt that executed without the approvals that it needed, as approval coverage counts them; a claim is none, an emergency has its time after.
-- :days = 90, only what counts on one of the last so many UTC days, today among them
SELECT
    k.change, t.attempt, c.class, c.environment, c.owner, c.initiator, c.state, k.day, t.executed_entry,
    t.missing,
    (SELECT count(*) FROM approvals a WHERE a.first_entry = k.first_entry AND a.attempt = t.attempt AND a.decision = 'approved' AND a.counts)
        AS approvals_that_count,
    (SELECT group_concat(a.approver || ' (' || a.grade || coalesce(', ' || a.lacks, '') || ')', '; ') FROM approvals a
     WHERE a.first_entry = k.first_entry AND a.attempt = t.attempt AND a.decision = 'approved') AS approvals
FROM kpi_changes k
JOIN changes c ON c.first_entry = k.first_entry
LEFT JOIN attempts t ON t.first_entry = k.first_entry AND t.attempt = (
    SELECT e.attempt FROM attempts e WHERE e.first_entry = k.first_entry AND e.executed_entry IS NOT NULL
        AND e.needs_approval AND NOT e.approved ORDER BY e.executed_entry LIMIT 1)
WHERE k.kpi IN ('approval_coverage', 'approval_coverage.emergency') AND k.against
    AND k.day_number > :now / 86400000 - :days AND k.day_number <= :now / 86400000
ORDER BY k.day_number DESC, k.first_entry DESC
