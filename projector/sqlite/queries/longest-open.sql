-- Changes that have not come to an end, the oldest first: neither verified, rolled back, refused nor closed.
-- :top = 50, so many
SELECT
    c.change, c.state, round((:now - c.first_at) / 86400000.0, 1) AS days_open, round((:now - c.last_at) / 86400000.0, 1) AS days_quiet,
    c.class, c.environment, c.owner, c.initiator, c.request, c.first_utc, c.last_entry
FROM changes c
WHERE c.state NOT IN ('closed', 'verified', 'rolled_back', 'refused') AND NOT c.probe
ORDER BY c.first_entry
LIMIT :top
