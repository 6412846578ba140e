-- The tables as they are stored. Everything here can be rebuilt from the log's entries. Questions are asked of the views in tables.sql, which
-- are documented and stay as they are; these are laid out for writing fast and may change.
-- A change of these tables, or of the folds they hold, is a new SCHEMA_VERSION.

-- Core: written first, and current.

CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    next_index INTEGER NOT NULL,            -- the first entry that is not in the views yet
    at INTEGER NOT NULL                     -- of detail: the log's time of the entry before that, milliseconds
) WITHOUT ROWID;

-- A change under the index of its first entry: append-only as a key, never reused, and the order that pages follow.
CREATE TABLE change_rows (
    first_index INTEGER PRIMARY KEY,
    change TEXT NOT NULL,                   -- once: see change_ids
    state TEXT NOT NULL,
    reached TEXT NOT NULL,                  -- the state, looking through a closing
    attempt INTEGER NOT NULL,               -- the highest; the state is its
    marks INTEGER NOT NULL,                 -- what the fold knows of that attempt, as a set of bits
    events INTEGER NOT NULL,
    first_at INTEGER NOT NULL,              -- milliseconds, the log's time
    last_index INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    initiator TEXT,
    request TEXT,
    owner TEXT,
    environment TEXT,
    class TEXT,
    asked_visibility TEXT,
    visibility TEXT GENERATED ALWAYS AS (coalesce(asked_visibility, 'private')) VIRTUAL
);
CREATE INDEX changes_by_state ON change_rows (state);
CREATE INDEX changes_by_owner ON change_rows (owner) WHERE owner IS NOT NULL;
CREATE INDEX changes_by_initiator ON change_rows (initiator) WHERE initiator IS NOT NULL;
CREATE INDEX changes_by_environment ON change_rows (environment) WHERE environment IS NOT NULL;

CREATE TABLE event_rows (
    entry INTEGER PRIMARY KEY,              -- index in the log
    first_index INTEGER NOT NULL,           -- the change, as in change_rows
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    phase TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,                    -- milliseconds, the log's time
    ts INTEGER NOT NULL,                    -- seconds, the producer's time
    has TEXT NOT NULL,                      -- sorted names, separated by commas
    outcome TEXT NOT NULL,
    environment TEXT,
    class TEXT,
    probe INTEGER NOT NULL,
    producer TEXT,
    size INTEGER NOT NULL,                  -- bytes of the payload as stored
    masked INTEGER NOT NULL                 -- masked places in it
);
CREATE INDEX events_by_change ON event_rows (first_index);

-- Where ids stand. They look random, and an index of their text cost more than all other rows together (measured: it
-- grows beyond the page cache, and each insert dirties a page of its own). So they stand under the first eight bytes of their
-- SHA-256, as a signed number; whoever looks up compares the id itself. And they stand in buckets of 65,536 entries (bucket =
-- entry >> 16): in one tree of them all, every insert would dirty another page, and a batch would cost the more the more there
-- are. So inserts stay in the newest bucket, and a look-up asks each bucket: some 150 in ten million entries, a microsecond each.
CREATE TABLE change_ids (
    bucket INTEGER NOT NULL,                -- of first_index
    id_key INTEGER NOT NULL,
    first_index INTEGER NOT NULL,
    PRIMARY KEY (bucket, id_key, first_index)
) WITHOUT ROWID;

-- Events whose id is their change's id are left out: they are found through their change.
CREATE TABLE event_ids (
    bucket INTEGER NOT NULL,                -- of entry
    id_key INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (bucket, id_key, entry)
) WITHOUT ROWID;

INSERT INTO cursors VALUES ('core', 0, 0);

-- Detail: follows core with a cursor of its own. Rows of a change stand together under its first_index, numbered in the order of the log;
-- a change that is touched again gets all its rows anew.
INSERT INTO cursors VALUES ('detail', 0, 0);

-- Changes whose rows cover entries beyond the cursor, because they were made when core was further: up to which entry.
CREATE TABLE ahead (
    first_index INTEGER PRIMARY KEY,
    upto INTEGER NOT NULL                   -- exclusive
);

-- Changes of which not everything is in the rows: lists too long, or payloads too many.
CREATE TABLE cut_changes (
    first_index INTEGER PRIMARY KEY
);

CREATE TABLE attempt_rows (
    first_index INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL,
    reached TEXT NOT NULL,
    executed INTEGER,
    plan_digest TEXT,
    needs_approval INTEGER NOT NULL,
    emergency INTEGER NOT NULL,
    approved INTEGER,
    approved_by INTEGER,
    approval_grade TEXT,
    refused_by INTEGER,
    missing TEXT,
    PRIMARY KEY (first_index, attempt)
) WITHOUT ROWID;

CREATE TABLE plan_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    digest TEXT,
    stated_digest TEXT,
    inputs_digest TEXT,
    commands INTEGER NOT NULL,
    required_approvals TEXT,
    window_from TEXT,
    window_to TEXT,
    compile_ms REAL,
    has_rollback INTEGER NOT NULL,
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;

CREATE TABLE approval_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    approver TEXT NOT NULL,
    role TEXT,
    decision TEXT NOT NULL,
    word TEXT,
    decided_at TEXT,
    plan_digest TEXT,
    signature_attached INTEGER NOT NULL,
    expires TEXT,
    grade TEXT NOT NULL,
    counts INTEGER NOT NULL,
    lacks TEXT,
    lapses_at INTEGER,                      -- milliseconds: over by the log's time alone
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;

CREATE TABLE policy_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    name TEXT,
    mandatory INTEGER NOT NULL,
    result TEXT NOT NULL,
    message TEXT,
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;

CREATE TABLE step_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    command TEXT,
    rc INTEGER,
    duration_ms REAL,
    stdout_ref TEXT,
    stderr_ref TEXT,
    truncated INTEGER NOT NULL,
    logged INTEGER NOT NULL,
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;
CREATE INDEX steps_by_reference ON step_rows (entry)
    WHERE substr(stdout_ref, 1, 6) = 'obs://' OR substr(stderr_ref, 1, 6) = 'obs://';

CREATE TABLE check_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stage TEXT NOT NULL,
    kind TEXT,
    name TEXT,
    target TEXT,
    ok INTEGER,
    message TEXT,
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;

CREATE TABLE resource_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    cloud TEXT,
    endpoint TEXT,
    kind TEXT,
    name TEXT,
    scope TEXT,
    location TEXT,
    action TEXT,
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;

-- Where names of resources stand, in buckets, as ids do.
CREATE TABLE resource_ids (
    bucket INTEGER NOT NULL,                -- of first_index
    id_key INTEGER NOT NULL,
    first_index INTEGER NOT NULL,
    PRIMARY KEY (bucket, id_key, first_index)
) WITHOUT ROWID;

CREATE TABLE rollback_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    result TEXT NOT NULL,
    outcome TEXT,
    steps INTEGER NOT NULL,
    failed_steps INTEGER NOT NULL,
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;

CREATE TABLE drift_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    differences INTEGER,
    baseline_hash TEXT,
    current_hash TEXT,
    monitored INTEGER NOT NULL,
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;

CREATE TABLE anomaly_rows (
    first_index INTEGER NOT NULL,
    n INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    code TEXT NOT NULL,
    text TEXT NOT NULL,
    since INTEGER NOT NULL,                 -- milliseconds: holds when the log's time has come so far
    PRIMARY KEY (first_index, n)
) WITHOUT ROWID;
CREATE INDEX anomalies_by_code ON anomaly_rows (code, first_index, since);

-- Entries that are rejections: they belong to no change and never alter.
CREATE TABLE rejection_rows (
    entry INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    subject TEXT NOT NULL,
    path TEXT NOT NULL,
    found TEXT NOT NULL,
    expected TEXT NOT NULL,
    size INTEGER NOT NULL,
    masked INTEGER NOT NULL
);
