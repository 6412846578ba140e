-- KPIs by day. Everything here follows from entries; replaced change by change, see kpi.rs.

-- Names of metrics: the model's KPIs, what stands beside them, and clauses.
CREATE TABLE metrics (
    metric INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- What figures can be asked by. Group 0, which has no row here, is everything together.
CREATE TABLE kpi_groups (
    grp INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,               -- the three as a JSON list, because NULL is not equal to itself
    owner TEXT,
    environment TEXT,
    class TEXT
);

-- The samples of a change in one value: they are only ever replaced together.
CREATE TABLE samples (
    first_index INTEGER PRIMARY KEY,        -- the change, as in changes
    grp INTEGER NOT NULL,
    body BLOB NOT NULL
);

-- Their sums by day, per group and for group 0.
CREATE TABLE kpi_sums (
    grp INTEGER NOT NULL,
    day INTEGER NOT NULL,                   -- days since 1970-01-01, UTC
    metric INTEGER NOT NULL,
    num INTEGER NOT NULL,
    den INTEGER NOT NULL,
    sum_us INTEGER NOT NULL,
    PRIMARY KEY (grp, day, metric)
) WITHOUT ROWID;

-- Durations of a day, one by one (projector::kpi::values), for exact percentiles.
CREATE TABLE kpi_values (
    metric INTEGER NOT NULL,
    grp INTEGER NOT NULL,
    day INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (metric, grp, day)
) WITHOUT ROWID;

-- What each change adds to the figures that people ask the changes behind of: see projector::kpi::metric::names_changes.
CREATE TABLE kpi_change_rows (
    metric INTEGER NOT NULL,
    day INTEGER NOT NULL,
    first_index INTEGER NOT NULL,
    num INTEGER NOT NULL,
    den INTEGER NOT NULL,
    sum_us INTEGER NOT NULL,
    against INTEGER NOT NULL,               -- not all of it was reached, or it is a failure
    PRIMARY KEY (metric, day, first_index)
) WITHOUT ROWID;
CREATE INDEX kpi_changes_against ON kpi_change_rows (metric, day, first_index) WHERE against;

-- The first plan of each input. In buckets of 2^20 entries (see change_ids): inputs look random, and a key that grows with the log keeps
-- inserts on few pages.
CREATE TABLE plan_inputs (
    bucket INTEGER NOT NULL,
    inputs BLOB NOT NULL,
    entry INTEGER NOT NULL,
    plan BLOB NOT NULL,
    PRIMARY KEY (bucket, inputs)
) WITHOUT ROWID;

-- Entries that break or restore, of changes that failed.
CREATE TABLE troubles (
    first_index INTEGER PRIMARY KEY,
    change TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL
);

-- Entries by which one change restores service for another.
CREATE TABLE mends (
    fixed TEXT NOT NULL,                    -- the change that is mended
    entry INTEGER NOT NULL,
    fixer INTEGER NOT NULL,                 -- first_index of the change that mends
    at INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    PRIMARY KEY (fixed, entry)
) WITHOUT ROWID;
CREATE INDEX mends_by_fixer ON mends (fixer);

-- Every resource that a change named, numbered in the order in which the log met them, as of the last entry about it. Keys of resources look random,
-- and of ten million events they may be millions: what is found by them is kept narrow, and all else stands by number, so that a chunk of entries
-- writes few pages.
CREATE TABLE resource_states (
    number INTEGER PRIMARY KEY,
    managed INTEGER NOT NULL,
    watched INTEGER NOT NULL,
    checked INTEGER,                        -- the day it was last compared
    grp INTEGER NOT NULL,
    entry INTEGER NOT NULL                  -- the last entry about it
);

CREATE TABLE resource_numbers (
    resource BLOB PRIMARY KEY,              -- first 16 bytes of the SHA-256 of identity
    number INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE resource_identities (
    number INTEGER PRIMARY KEY,
    identity TEXT NOT NULL                  -- RFC 8785 of cloud, cluster_endpoint_id, name, resource_group or namespace, type
);

-- Those that may be asked for: neither watched, nor compared lately.
CREATE INDEX unwatched_resources ON resource_states (ifnull(checked, -1), number) WHERE managed AND NOT watched;

-- What spans changes and lies past the last chunk, because a change is read whole: it waits here until its entry is in its turn.
CREATE TABLE kpi_ahead (
    entry INTEGER NOT NULL,
    place INTEGER NOT NULL,                 -- within the entry
    first_index INTEGER NOT NULL,
    body TEXT NOT NULL,                     -- a plan to compare, or a turn of a resource
    PRIMARY KEY (entry, place)
) WITHOUT ROWID;

-- How many at the end of each day on which something happened to one (projector::kpi::drift).
CREATE TABLE kpi_stock (
    grp INTEGER NOT NULL,
    day INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (grp, day)
) WITHOUT ROWID;
