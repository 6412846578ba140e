//! Logs that are kept by reference: a step's `stdout_ref` or `stderr_ref` in the form of [`ObjectRef`]. Its object goes into the pack where the
//! ledger has it, as `logs/objects/HEX`; `logs/objects.json` says of every such reference whether it is here. Nothing is fetched for a pack.
//!
//! What a pack has of them, `pack.json` names, so the rest follows; the bytes are proved by the digest in the event, to which the entry commits.

use std::collections::BTreeSet;

use ledger::entry::EventHeader;
use schemas::admit::Has;
use schemas::object::ObjectRef;
use serde::Serialize;

use crate::document::{Object, PackDocument};
use crate::json::Node;
use crate::parts::PackFile;
use crate::told::Event;

/// Name of the list of references.
const LIST: &str = "logs/objects.json";
/// The folder of the objects, each under its digest in lowercase hex.
const FOLDER: &str = "logs/objects/";

/// References that a pack tells of, and objects that it holds, at most: a payload of a megabyte can hold 4,000 of them.
pub(crate) const REFERENCES_MAX: usize = 10_000;

/// Bytes of objects in one pack, at most: half of what a pack may have.
pub(crate) const OBJECTS_BYTES_MAX: u64 = crate::zip::MAX_ARCHIVE_BYTES / 2;

/// A log that an event refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLog {
    /// Of which steps: `execution` or `rollback`.
    pub section: &'static str,
    /// The step's place among them, from 1.
    pub step: usize,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// What it refers to.
    pub reference: ObjectRef,
}

/// The logs that an event's payload refers to, in the order in which they stand there.
pub fn kept_logs(payload: &[u8]) -> Vec<KeptLog> {
    let event = Node::parse(payload).get("provisioning_event");
    all(event.get("execution"), event.at(&["rollback", "executed"]))
}

/// Whether an event may refer to a log: one without steps does not.
pub(crate) fn may_refer(header: &EventHeader) -> bool {
    header.has.includes(Has::EXECUTION) || header.has.includes(Has::ROLLBACK)
}

fn all(execution: Node<'_>, executed: Node<'_>) -> Vec<KeptLog> {
    let mut out = Vec::new();
    for (section, node) in [("execution", execution), ("rollback", executed)] {
        for (step, node) in (1..).zip(node.get("steps").list()) {
            for stream in STREAMS {
                out.extend(reference(node, stream).map(|reference| KeptLog { section, step, stream, reference }));
            }
        }
    }
    out
}

/// What a step prints to.
pub(crate) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// The object that a step's output is kept in.
pub(crate) fn reference(step: Node<'_>, stream: &str) -> Option<ObjectRef> {
    let node = step.get(if stream == "stdout" { "stdout_ref" } else { "stderr_ref" });
    if node.is_text() { ObjectRef::parse(&node.text()) } else { None }
}

/// Name of an object's file.
pub(crate) fn object_name(hex: &str) -> String {
    format!("{FOLDER}{hex}")
}

/// Whether a file is an object.
pub(crate) fn is_object(name: &str) -> bool {
    name.starts_with(FOLDER)
}

/// The references of a change, in the order of the log; the first [`REFERENCES_MAX`] of them.
#[derive(Debug, Default)]
pub(crate) struct References {
    rows: Vec<(u64, KeptLog)>,
    more: usize,
}

impl References {
    /// Takes the references of the change's next event.
    pub(crate) fn add(&mut self, event: &Event<'_>) {
        self.extend(event.index(), all(event.get("execution"), event.at("rollback", "executed")));
    }

    /// The same, of its payload.
    pub(crate) fn add_payload(&mut self, index: u64, payload: &[u8]) {
        self.extend(index, kept_logs(payload));
    }

    fn extend(&mut self, index: u64, logs: Vec<KeptLog>) {
        for log in logs {
            if self.rows.len() < REFERENCES_MAX {
                self.rows.push((index, log));
            } else {
                self.more += 1;
            }
        }
    }

    /// What is referred to, each once, by digest.
    pub(crate) fn objects(&self) -> BTreeSet<Object> {
        self.rows.iter().map(|(_, log)| Object::of(&log.reference)).collect()
    }

    /// `logs/objects.json`; none where nothing is kept by reference.
    pub(crate) fn file(&self, pack: &PackDocument) -> Result<Option<PackFile>, serde_json::Error> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let here: BTreeSet<&Object> = pack.objects.iter().collect();
        let row = |(index, log): &(u64, KeptLog)| {
            let object = Object::of(&log.reference);
            let here = here.contains(&object);
            Row { index: *index, section: log.section, step: log.step, stream: log.stream, object, here }
        };
        let list = List { logs: self.rows.iter().map(row).collect(), more: self.more };
        Ok(Some((LIST.to_owned(), serde_json_canonicalizer::to_vec(&list)?)))
    }
}

#[derive(Serialize)]
struct List {
    logs: Vec<Row>,
    /// References behind those that are told.
    more: usize,
}

#[derive(Serialize)]
struct Row {
    index: u64,
    section: &'static str,
    step: usize,
    stream: &'static str,
    #[serde(flatten)]
    object: Object,
    here: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_where_steps_print() {
        let digest = "ab".repeat(32);
        let good = format!("obs://b/n?size=3#sha256:{digest}");
        let payload = format!(
            r#"{{"provisioning_event":{{"stdout_ref":"{good}",
            "execution":{{"steps":[{{"stdout_ref":"obs://logs/rg"}},{{"stderr_ref":"{good}","stdout_ref":"{good}"}},7,{{"stdout_ref":["{good}"]}}]}},
            "rollback":{{"executed":{{"steps":[{{"stdout_ref":"obs:\/\/b\/n?size=3#sha256:{digest}"}}]}}}}}}}}"#
        );
        let found: Vec<_> =
            kept_logs(payload.as_bytes()).into_iter().map(|log| (log.section, log.step, log.stream)).collect();
        assert_eq!(found, [("execution", 2, "stdout"), ("execution", 2, "stderr"), ("rollback", 1, "stdout")]);
        for payload in ["", "null", r#"{"provisioning_event":{"execution":{"steps":{}}}}"#] {
            assert_eq!(kept_logs(payload.as_bytes()), [], "{payload}");
        }
    }
}
