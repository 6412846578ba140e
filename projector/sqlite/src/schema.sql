-- The core views of one log. Everything here can be rebuilt from the log's entries.
-- A change of these tables, or of the fold they hold, is a new SCHEMA_VERSION.

CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    next_index INTEGER NOT NULL             -- the first entry that is not in the views yet
) WITHOUT ROWID;

-- A change under the index of its first entry: append-only as a key, never reused, and the order that pages follow.
CREATE TABLE changes (
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
CREATE INDEX changes_by_state ON changes (state);
CREATE INDEX changes_by_owner ON changes (owner) WHERE owner IS NOT NULL;
CREATE INDEX changes_by_initiator ON changes (initiator) WHERE initiator IS NOT NULL;
CREATE INDEX changes_by_environment ON changes (environment) WHERE environment IS NOT NULL;

CREATE TABLE events (
    entry INTEGER PRIMARY KEY,              -- index in the log
    first_index INTEGER NOT NULL,           -- the change, as in changes
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
CREATE INDEX events_by_change ON events (first_index);

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

-- For people and ad-hoc SQL.
CREATE VIEW change_events AS
    SELECT changes.change, events.* FROM events JOIN changes USING (first_index);

INSERT INTO cursors VALUES ('core', 0);
