-- The tables of one tenant's views, as SQL asks for them. Everything in them is derived from the log's entries and can be rebuilt.
--
-- Every table but rejections, kpi_daily and maturity_daily has the change's number, first_entry: join by it. Looking up by the text of a change reads all
-- changes (half a second a million).
-- entry is the index of the event in the log that a row comes from, attempt the attempt that the event belongs to.
--
-- Times named "…_at" or "at" are milliseconds since 1970 UTC by the log; those named "…_utc" are the same as text. Texts are shortened (256
-- characters of request, initiator and owner, 512 elsewhere); the whole is in the event. Yes and no are 1 and 0. NULL: the event does not say.
-- changes and events are current; every other table follows them, and each answer says how far ("detail").

-- Every change: one row.
CREATE VIEW changes AS SELECT
    c.change,                               -- text: the change ID
    c.first_index AS first_entry,           -- integer: its number, which is the index of its first event in the log
    c.state,                                -- text: planned, preflight_passed, … closed: the state of the highest attempt
    c.reached,                              -- text: that state, looking through a closing
    c.attempt,                              -- integer: the highest attempt, from 1
    c.events,                               -- integer: number of its events
    c.initiator,                            -- text: who asked, of the first event that says so
    c.request,                              -- text: what was asked, of the first event that says so
    c.owner,                                -- text: who owns it, of the last event that says so
    c.environment,                          -- text: where, of the last event that says so
    c.class,                                -- text: standard, normal or emergency
    c.visibility,                           -- text: private, team or org: the narrowest that any event asks for
    c.first_at,                             -- integer: when that was recorded
    CAST(strftime('%Y-%m-%dT%H:%M:%SZ', c.first_at / 1000, 'unixepoch') AS TEXT) AS first_utc,
    c.last_index AS last_entry,             -- integer: index of its last event in the log
    c.last_at,                              -- integer: when that was recorded
    CAST(strftime('%Y-%m-%dT%H:%M:%SZ', c.last_at / 1000, 'unixepoch') AS TEXT) AS last_utc,
    CAST(EXISTS (SELECT 1 FROM cut_changes WHERE cut_changes.first_index = c.first_index) AS INTEGER) AS cut, -- 1: too large for all of it to be in the tables below
    CAST(NOT EXISTS (SELECT 1 FROM event_rows e WHERE e.first_index = c.first_index AND NOT e.probe) AS INTEGER) AS probe -- 1: every event says it is a probe: no figure counts it
FROM change_rows c;

-- Every event: one row.
CREATE VIEW events AS SELECT
    c.change,                               -- text: the change it belongs to
    e.first_index AS first_entry,           -- integer: its number
    e.entry,                                -- integer: index in the log
    e.seq,                                  -- integer: position in the change, from 0
    e.id,                                   -- text: the producer's id; not unique
    e.phase,                                -- text: plan, preflight, execute, verify, audit
    e.attempt,                              -- integer: the attempt it belongs to
    e.at,                                   -- integer: when it was recorded
    CAST(strftime('%Y-%m-%dT%H:%M:%SZ', e.at / 1000, 'unixepoch') AS TEXT) AS utc,
    e.ts,                                   -- integer: the producer's time, in seconds
    e.has,                                  -- text: its sections, sorted, separated by commas
    e.outcome,                              -- text: passed, failed, refused, rolled_back, rollback_failed, none
    e.environment,                          -- text
    e.class,                                -- text
    e.probe,                                -- 1: it says that it is a probe
    e.producer,                             -- text: who the road says sent it
    e.size,                                 -- integer: bytes as stored
    e.masked                                -- integer: masked secrets in it
FROM event_rows e LEFT JOIN change_rows c ON c.first_index = e.first_index;

-- Attempts at changes, and whether each had the approvals that it needed: what the gate, the KPIs and change.json go by.
CREATE VIEW attempts AS SELECT
    c.change, r.first_index AS first_entry, r.attempt,
    r.state,                                -- text: its state
    r.reached,                              -- text: that state, looking through a closing
    r.executed AS executed_entry,           -- integer: its first execution; NULL while there is none
    r.plan_digest,                          -- text: the plan that approvals are held against: the last before that, or the last of all
    r.needs_approval,                       -- 1: the tenant's rule or its plan asks for an approval
    r.emergency,                            -- 1: an emergency, which may be approved afterwards
    r.approved,                             -- 1: approved in time, as the rule asks for; NULL while it is not executed (ask the gate: upm assert)
    r.approved_by AS approved_entry,        -- integer: the entry with which it was
    r.approval_grade,                       -- text: the best grade at which approvals met what is asked for
    r.refused_by AS refused_entry,          -- integer: the entry that refused it in time
    r.missing                               -- text: what it lacks, in words
FROM attempt_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- Plans that events record.
CREATE VIEW plans AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.digest,                               -- text: the ledger's own digest of the plan
    r.stated_digest,                        -- text: the digest that the producer gave
    r.inputs_digest,                        -- text: of what the plan was made from
    r.commands,                             -- integer: number of commands
    r.required_approvals,                   -- text: who must approve, separated by commas
    r.window_from,                          -- text: from when it may run, as sent
    r.window_to,                            -- text: until when, as sent
    r.compile_ms,                           -- real: how long it took to make
    r.has_rollback                          -- 1: it says how to go back
FROM plan_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- Approvals and refusals that events record.
CREATE VIEW approvals AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.approver,                             -- text: who; empty where the event does not say
    r.role,                                 -- text: as what
    r.decision,                             -- text: approved, refused or unclear
    r.word,                                 -- text: the decision as sent
    r.decided_at,                           -- text: when, as sent
    r.plan_digest,                          -- text: of which plan, as sent
    r.signature_attached,                   -- 1: a signature came with it
    r.expires,                              -- text: until when, as sent
    r.grade,                                -- text: what it is worth: claimed, recorded, bound or signed; a claim never counts
    CAST(r.counts AND coalesce(r.lapses_at > t.at, 1) AS INTEGER) AS counts, -- 1: it may count towards what the rule asks for
    CASE WHEN r.lapses_at <= t.at THEN coalesce(r.lacks || ',expired', 'expired') ELSE r.lacks
        END AS lacks                        -- text: what keeps it from counting or from a better grade, separated by commas: no_approver, no_role,
                                            -- no_decision, no_time, time_ahead, no_producer, executing_producer, by_initiator, by_executor, not_of_role,
                                            -- replayed, expired, plan_changed, other_plan, no_plan_digest, plan_not_on_record, no_signature, bad_signature, unknown_signer
FROM approval_rows r JOIN cursors t ON t.name = 'detail' LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- Results of policies before a change.
CREATE VIEW policy_results AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.name,                                 -- text
    r.mandatory,                            -- 1: a denial stops the change
    r.result,                               -- text: passed, denied or unclear
    r.message                               -- text
FROM policy_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- Steps executed, forwards and back.
CREATE VIEW steps AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.kind,                                 -- text: execute or rollback
    r.number,                               -- integer: place in the event's list, from 1
    r.command,                              -- text: with arguments
    r.rc,                                   -- integer: exit code; NULL while it has not ended
    r.duration_ms,                          -- real
    r.stdout_ref,                           -- text: where the full output lies
    r.stderr_ref,                           -- text: where the full errors lie
    r.truncated,                            -- 1: output or errors were cut in the event
    r.logged                                -- 1: what it printed is in the event, each stream it states whole or by SHA-256
FROM step_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- Checks before and after a change, and service levels after it.
CREATE VIEW checks AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.stage,                                -- text: preflight, verify or slo
    r.kind,                                 -- text: the event's "type"
    r.name,                                 -- text
    r.target,                               -- text: of what
    r.ok,                                   -- 1 held, 0 failed, NULL: the event does not say
    r.message                               -- text
FROM check_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- Resources that changes name: each with each action once a change, under the first entry that names it so.
CREATE VIEW resources AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.cloud,                                -- text
    r.endpoint,                             -- text: the event's cluster_endpoint_id
    r.kind,                                 -- text: the event's "type"
    r.name,                                 -- text
    r.scope,                                -- text: resource group or namespace
    r.location,                             -- text
    r.action                                -- text: create, update, delete or read, as sent
FROM resource_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- Executed rollbacks.
CREATE VIEW rollbacks AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.result,                               -- text: rolled_back, failed, or running while it has no outcome
    r.outcome,                              -- text: as sent
    r.steps,                                -- integer
    r.failed_steps                          -- integer
FROM rollback_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- Comparisons with a baseline.
CREATE VIEW drift AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.differences,                          -- integer: NULL where the event has no list of them
    r.baseline_hash,                        -- text
    r.current_hash,                         -- text
    r.monitored                             -- 1: somebody watches on
FROM drift_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index;

-- What an auditor should look at. What is missing a day later stands here as soon as the log's time has come so far, without another event of its
-- change: a heartbeat is enough.
CREATE VIEW anomalies AS SELECT
    c.change, r.first_index AS first_entry, r.entry, r.attempt,
    r.code,                                 -- text: of a closed list
    r.text,                                 -- text: one sentence
    r.since AS since_at                     -- integer: from when on it holds
FROM anomaly_rows r LEFT JOIN change_rows c ON c.first_index = r.first_index
WHERE r.since <= (SELECT at FROM cursors WHERE name = 'detail');

-- Messages that were refused: their bytes are kept beside the log (upm rejected show).
CREATE VIEW rejections AS SELECT
    r.entry,                                -- integer: index in the log
    r.at,                                   -- integer: when
    CAST(strftime('%Y-%m-%dT%H:%M:%SZ', r.at / 1000, 'unixepoch') AS TEXT) AS utc,
    r.reason,                               -- text: of a closed list
    r.subject,                              -- text: on which subject it came
    r.path,                                 -- text: which member
    r.found,                                -- text: what was there, masked
    r.expected,                             -- text: what was expected
    r.size,                                 -- integer: bytes kept
    r.masked                                -- integer: masked secrets in them
FROM rejection_rows r;

-- The ten KPIs and what stands beside them, by day: one row for each owner, environment and class that had any. docs/kpis.md defines them.
-- Sums of rows are sums of days; drift_coverage has no rows, because resources are counted as of a day (see managed_resources).
CREATE VIEW kpi_daily AS SELECT
    date(s.day * 86400, 'unixepoch') AS day, -- text: the UTC day
    m.name AS kpi,                          -- text: plan_determinism, approval_coverage, … and parts such as mttr.open
    g.owner,                                -- text
    g.environment,                          -- text
    g.class,                                -- text
    s.num AS numerator,                     -- integer: what was reached
    s.den AS denominator,                   -- integer: of how much
    CASE WHEN s.sum_us > 0 THEN s.sum_us / 1000.0 / s.den END AS mean_ms -- real: of durations, their mean
FROM kpi_sums s JOIN metrics m USING (metric) JOIN kpi_groups g USING (grp) WHERE s.grp > 0 AND s.den > 0;

-- What each change adds to the KPIs, by day: sums of these rows are the rows of kpi_daily and the figures of upm kpi. Of evidence_completeness.… (plan,
-- approvals, logs, verification, rollback) a row says that the pack lacks it. Only the KPIs, emergencies, failures that are open, and what packs lack.
CREATE VIEW kpi_changes AS SELECT
    c.change, k.first_index AS first_entry,
    m.name AS kpi,                          -- text: as in kpi_daily
    k.day AS day_number,                    -- integer: the UTC day, counted from 1970-01-01; a question about a stretch of days asks by it
    date(k.day * 86400, 'unixepoch') AS day, -- text: the same; later than the log's newest entry where it falls due by time alone
    k.num AS numerator,                     -- integer: what was reached
    k.den AS denominator,                   -- integer: of how much
    CASE WHEN k.sum_us > 0 THEN k.sum_us / 1000.0 / k.den END AS mean_ms, -- real: of durations, their mean
    k.against                               -- 1: it counts against the figure; of mttr: a failure
FROM kpi_change_rows k JOIN metrics m USING (metric) LEFT JOIN change_rows c ON c.first_index = k.first_index;

-- Resources that changes which executed name and none deleted since, as of the last entry: what drift_coverage counts.
CREATE VIEW managed_resources AS SELECT
    i.identity AS resource,                 -- text: RFC 8785 of what tells it from others
    json_extract(i.identity, '$.cloud') AS cloud,
    json_extract(i.identity, '$.cluster_endpoint_id') AS endpoint,
    json_extract(i.identity, '$.type') AS kind,
    json_extract(i.identity, '$.name') AS name,
    coalesce(json_extract(i.identity, '$.resource_group'), json_extract(i.identity, '$.namespace')) AS scope,
    r.watched,                              -- 1: somebody watches it
    r.checked AS compared_day_number,       -- integer: the UTC day on which it was last compared with its baseline, counted from 1970-01-01
    date(r.checked * 86400, 'unixepoch') AS compared, -- text: the same
    g.owner, g.environment, g.class,        -- text: of the change that managed it last
    c.change, e.first_index AS first_entry, -- the change that spoke of it last
    r.entry                                 -- integer: with that entry
FROM resource_states r JOIN resource_identities i USING (number) JOIN kpi_groups g USING (grp) JOIN event_rows e ON e.entry = r.entry
LEFT JOIN change_rows c ON c.first_index = e.first_index
WHERE r.managed;

-- The maturity of each day since the log's first: levels 0 to 4 of the 90 days that end with it, as upm maturity --history tells them (docs/maturity.md).
CREATE VIEW maturity_daily AS SELECT
    date(m.day * 86400, 'unixepoch') AS day, -- text: the UTC day
    m.level,                                -- integer: the overall level, measured, under the cap of the gates
    m.level_with_attestations,              -- integer: the same with attestations that stood at the end of the day
    m.cap,                                  -- text: the gate that caps the measured level: evidence_export or rollback_evidence
    -- integer: the five phases, measured and with attestations
    CAST(substr(m.phases, 1, 1) AS INTEGER) AS plan,
    CAST(substr(m.phases_with_attestations, 1, 1) AS INTEGER) AS plan_with_attestations,
    CAST(substr(m.phases, 2, 1) AS INTEGER) AS preflight,
    CAST(substr(m.phases_with_attestations, 2, 1) AS INTEGER) AS preflight_with_attestations,
    CAST(substr(m.phases, 3, 1) AS INTEGER) AS execute,
    CAST(substr(m.phases_with_attestations, 3, 1) AS INTEGER) AS execute_with_attestations,
    CAST(substr(m.phases, 4, 1) AS INTEGER) AS verify,
    CAST(substr(m.phases_with_attestations, 4, 1) AS INTEGER) AS verify_with_attestations,
    CAST(substr(m.phases, 5, 1) AS INTEGER) AS audit,
    CAST(substr(m.phases_with_attestations, 5, 1) AS INTEGER) AS audit_with_attestations,
    m.stale                                 -- 1: entries have come since that move this day; it is made again when the views have a moment
FROM maturity_days m;
