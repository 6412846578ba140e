-- Changes that have ended and whose pack lacks something, with what, as evidence completeness counts them.
-- :days = 90, only what ended on one of the last so many UTC days, today among them
SELECT
    k.change, c.state, c.class, c.environment, c.owner, c.initiator, k.day AS ended,
    (SELECT group_concat(substr(l.kpi, 23), ', ') FROM kpi_changes l
     WHERE l.kpi IN ('evidence_completeness.plan', 'evidence_completeness.approvals', 'evidence_completeness.logs',
         'evidence_completeness.verification', 'evidence_completeness.rollback')
         AND l.day_number = k.day_number AND l.first_entry = k.first_entry) AS lacks,
    c.last_utc, c.last_entry
FROM kpi_changes k
JOIN changes c ON c.first_entry = k.first_entry
WHERE k.kpi = 'evidence_completeness' AND k.against
    AND k.day_number > :now / 86400000 - :days AND k.day_number <= :now / 86400000
ORDER BY k.day_number DESC, k.first_entry DESC
