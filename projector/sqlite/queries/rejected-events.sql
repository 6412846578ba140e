-- Messages that the ledger refused, newest first; their bytes: upm rejected show ENTRY.
-- :days = 90, only those of the last so many days
SELECT entry, utc, reason, path, found, expected, subject, size, masked
FROM rejections
WHERE at >= :now - :days * 86400000
ORDER BY entry DESC
