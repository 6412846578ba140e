-- Resources that changes made or altered, that are not deleted, and that nothing watches: no monitor and no comparison with a baseline.
-- :days = 90, only resources named by changes first recorded in the last so many days
WITH named AS (
    SELECT
        r.cloud, r.endpoint, r.kind, r.name, r.scope, r.action, r.entry, c.change,
        EXISTS (SELECT 1 FROM drift d WHERE d.first_entry = r.first_entry AND (d.monitored OR d.differences IS NOT NULL)) AS watched
    FROM changes c JOIN resources r USING (first_entry)
    WHERE c.first_at >= :now - :days * 86400000 AND coalesce(r.action, '') <> 'read'
)
SELECT cloud, endpoint, kind, name, scope, count(DISTINCT change) AS changes, change AS last_change, action AS last_action, max(entry) AS last_entry
FROM named
GROUP BY cloud, endpoint, kind, name, scope
HAVING sum(watched) = 0 AND coalesce(action, '') <> 'delete'
ORDER BY last_entry DESC
