//! The audit log of a Kubernetes API server: which requests changed something, to what, by whom.
//!
//! After "Auditing" and the reference of `audit.k8s.io/v1`: one request gives one event at each stage; only `ResponseComplete` says how it ended, and
//! `auditID` is the request's. Verbs `create`, `update`, `patch`, `delete` and `deletecollection` change something; dry runs do not, and
//! neither do reviews (`TokenReview`, `SubjectAccessReview`), which are questions in the form of a creation. What the control plane writes on its own
//! (leases, events, `status`) is the consequence of other changes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Mutation, Read, Unread, records, time_ms};

const EXPECTED: &str =
    "audit events (audit.k8s.io): {kind: Event, auditID, stage, verb, …} one a line, or an EventList";

/// Verbs that change something.
const MUTATING: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
/// Resources that are written all the time and say nothing of a change.
const NOISE: [&str; 2] = ["leases", "events"];

/// The records of a file.
pub fn read(text: &[u8]) -> Result<Read, Unread> {
    let mut out = Read::default();
    let mut seen = BTreeSet::new();
    for (number, record) in records(text, "items", EXPECTED)?.into_iter().enumerate() {
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
        let (Some(id), Some(verb), Some(stage)) = (text("/auditID"), text("/verb"), text("/stage")) else {
            let found = record.to_string().chars().take(60).collect();
            return Err(Unread { place: format!("record {}", number + 1), found, expected: EXPECTED });
        };
        // `timestamp` is that of audit.k8s.io/v1beta1 and earlier.
        let time =
            ["/requestReceivedTimestamp", "/stageTimestamp", "/timestamp"].iter().find_map(|pointer| text(pointer));
        let at_ms = time.and_then(time_ms).ok_or_else(|| Unread {
            place: format!("record {}, requestReceivedTimestamp", number + 1),
            found: time.unwrap_or("nothing").to_owned(),
            expected: "RFC 3339",
        })?;
        match left_out(&record, verb, stage) {
            Some(reason) => out.leave(reason),
            None if seen.insert(id.to_owned()) => out.mutations.push(mutation(&record, id, verb, at_ms)),
            None => out.leave("the same request again"),
        }
    }
    Ok(out)
}

fn left_out(record: &Value, verb: &str, stage: &str) -> Option<&'static str> {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let query = text("/requestURI").split_once('?').map_or("", |(_, query)| query);
    if !MUTATING.contains(&verb) {
        return Some("read only");
    }
    if stage != "ResponseComplete" {
        return Some("an earlier stage");
    }
    if record.pointer("/responseStatus/code").and_then(Value::as_u64).is_some_and(|code| code >= 400) {
        return Some("failed");
    }
    if query.split('&').any(|word| word == "dryRun=All") {
        return Some("dry run");
    }
    let resource = text("/objectRef/resource");
    if resource.ends_with("reviews") {
        return Some("a question");
    }
    let own = text("/user/username").starts_with("system:") && !text("/user/username").starts_with("system:admin");
    if NOISE.contains(&resource) || text("/objectRef/subresource") == "status" || own {
        return Some("control plane");
    }
    None
}

fn mutation(record: &Value, id: &str, verb: &str, at_ms: u64) -> Mutation {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    let (kind, namespace) = (text("/objectRef/resource"), text("/objectRef/namespace"));
    // The name of what is created stands in the answer, or in the request, where the server had to make one up.
    let name = ["/objectRef/name", "/responseObject/metadata/name", "/requestObject/metadata/name"]
        .iter()
        .find_map(|pointer| text(pointer));
    let subresource = text("/objectRef/subresource").map(|sub| format!("/{sub}")).unwrap_or_default();
    let mut resources = BTreeSet::new();
    if let Some(name) = name {
        resources.insert(name.to_owned());
        resources.extend(namespace.map(|namespace| format!("{namespace}/{name}")));
    }
    let mut texts = BTreeSet::new();
    for place in ["/requestObject/metadata/annotations", "/requestObject/metadata/labels", "/annotations"] {
        let members = record.pointer(place).and_then(Value::as_object).into_iter().flatten();
        texts.extend(members.filter_map(|(_, value)| value.as_str()).map(str::to_owned));
    }
    texts.extend(text("/userAgent").into_iter().flat_map(|agent| agent.split([' ', '/', '(', ')'])).map(str::to_owned));
    let users = [text("/user/username"), text("/impersonatedUser/username")];
    let mut aliases: BTreeSet<String> = users.iter().flatten().map(|name| (*name).to_owned()).collect();
    // system:serviceaccount:NAMESPACE:NAME
    aliases.extend(users.iter().flatten().filter_map(|name| name.rsplit(':').next()).map(str::to_owned));
    Mutation {
        id: id.to_owned(),
        at_ms,
        action: format!("{verb} {}{subresource}", kind.unwrap_or("?")),
        principal: users[1].or(users[0]).unwrap_or("unknown").to_owned(),
        resources,
        aliases,
        texts,
        kind: kind.map(str::to_owned),
    }
}
