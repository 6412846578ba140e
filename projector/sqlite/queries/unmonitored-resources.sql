-- Managed resources that nobody watches and that were not compared with their baseline lately: those that drift coverage does not count.
-- :days = 90, a comparison on one of the last so many UTC days, today among them, is enough
SELECT
    m.cloud, m.endpoint, m.kind, m.name, m.scope, m.owner, m.environment, m.compared AS last_compared, m.change AS last_change,
    m.entry AS last_entry, m.resource
FROM managed_resources m
WHERE NOT m.watched AND coalesce(m.compared_day_number <= :now / 86400000 - :days, 1)
ORDER BY m.entry DESC, m.resource
