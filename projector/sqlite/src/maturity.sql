-- Maturity. Everything here follows from entries, see maturity.rs.

-- Attestations, change by change.
CREATE TABLE attestation_rows (
    entry INTEGER PRIMARY KEY,
    first_index INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX attestations_by_change ON attestation_rows (first_index);

-- Whose attestations count, by the tenant's newest facts.
CREATE TABLE maturity_assessors (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL
) WITHOUT ROWID;

-- The levels of each day since the log's first; stale while an entry has come since that moves them, empty until they are made.
CREATE TABLE maturity_days (
    day INTEGER PRIMARY KEY,                -- days since 1970-01-01, UTC
    stale INTEGER NOT NULL,
    level INTEGER,
    level_with_attestations INTEGER,
    cap TEXT,
    phases TEXT,                            -- a digit for each of the five
    phases_with_attestations TEXT
);
CREATE INDEX stale_maturity_days ON maturity_days (day) WHERE stale;
