//! AWS `CloudTrail`: which records changed something, to what, by whom.
//!
//! After the `CloudTrail` user guide, "`CloudTrail` record contents": `readOnly` says whether an operation only reads; records before version 1.07
//! lack it, and there the verb of `eventName` says it. A record with an `errorCode` changed nothing. Data events (S3 objects, Lambda invocations)
//! are use, not change; sign-ins change nothing either.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Mutation, Read, Unread, records, time_ms};

const EXPECTED: &str = "CloudTrail records: {\"Records\": [{eventID, eventTime, eventName, …}]}, or one record a line";

/// Verbs that only read, for records without `readOnly`.
const READING: [&str; 12] =
    ["Get", "List", "Describe", "Head", "Lookup", "Search", "Select", "Query", "Scan", "BatchGet", "View", "Check"];

/// The records of a file.
pub fn read(text: &[u8]) -> Result<Read, Unread> {
    let mut out = Read::default();
    for (number, record) in records(text, "Records", EXPECTED)?.into_iter().enumerate() {
        let text = |member: &str| record.get(member).and_then(Value::as_str);
        let (Some(id), Some(name), Some(time)) = (text("eventID"), text("eventName"), text("eventTime")) else {
            let found = record.to_string().chars().take(60).collect();
            return Err(Unread { place: format!("record {}", number + 1), found, expected: EXPECTED });
        };
        let at_ms = time_ms(time).ok_or_else(|| Unread {
            place: format!("record {}, eventTime", number + 1),
            found: time.to_owned(),
            expected: "RFC 3339",
        })?;
        match left_out(&record, name) {
            Some(reason) => out.leave(reason),
            None => out.mutations.push(mutation(&record, id, name, at_ms)),
        }
    }
    Ok(out)
}

fn left_out(record: &Value, name: &str) -> Option<&'static str> {
    // Some exports write booleans as texts.
    let flag = |member: &str| match record.get(member) {
        Some(Value::Bool(flag)) => Some(*flag),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let word = |member: &str| record.get(member).and_then(Value::as_str);
    if flag("readOnly").unwrap_or_else(|| READING.iter().any(|verb| name.starts_with(verb))) {
        return Some("read only");
    }
    if record.get("errorCode").is_some_and(|code| !code.is_null()) {
        return Some("failed");
    }
    if flag("managementEvent") == Some(false) || word("eventCategory").is_some_and(|category| category != "Management")
    {
        return Some("data event");
    }
    (word("eventType") == Some("AwsConsoleSignIn")).then_some("sign-in")
}

fn mutation(record: &Value, id: &str, name: &str, at_ms: u64) -> Mutation {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    let service = text("/eventSource").unwrap_or_default().split('.').next().unwrap_or_default();
    let mut resources = BTreeSet::new();
    let mut texts = BTreeSet::new();
    for listed in record.get("resources").and_then(Value::as_array).into_iter().flatten() {
        listed.get("ARN").and_then(Value::as_str).into_iter().for_each(|arn| names_of_arn(arn, &mut resources));
    }
    for section in ["requestParameters", "responseElements"] {
        record.get(section).into_iter().for_each(|value| collect("", value, &mut resources, &mut texts));
    }
    texts.extend(text("/userAgent").into_iter().flat_map(words));
    let who = [
        "/userIdentity/arn",
        "/userIdentity/userName",
        "/userIdentity/sessionContext/sourceIdentity",
        "/userIdentity/sessionContext/sessionIssuer/userName",
        "/userIdentity/principalId",
        "/userIdentity/invokedBy",
    ];
    let named: Vec<&str> = who.iter().filter_map(|pointer| text(pointer)).collect();
    texts.extend(text(who[2]).map(str::to_owned));
    let mut aliases: BTreeSet<String> = named.iter().map(|name| (*name).to_owned()).collect();
    // The session's name, or the user's: what stands last in an ARN.
    aliases.extend(named.iter().filter_map(|name| name.rsplit(['/', ':']).next()).map(str::to_owned));
    let principal = named.first().copied().unwrap_or("unknown").to_owned();
    Mutation {
        id: id.to_owned(),
        at_ms,
        action: format!("{service}:{name}"),
        principal,
        resources,
        aliases,
        texts,
        kind: None,
    }
}

/// Texts that identify something: under keys that end in id, name, arn or identifier. All texts may name a change.
fn collect(key: &str, value: &Value, resources: &mut BTreeSet<String>, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.len() <= 2_048 => {
            let key = key.to_ascii_lowercase();
            let identifies =
                ["id", "ids", "name", "names", "arn", "arns", "identifier"].iter().any(|end| key.ends_with(end));
            if identifies && text.len() >= 3 {
                names_of_arn(text, resources);
            }
            texts.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| collect(key, item, resources, texts)),
        Value::Object(members) => members.iter().for_each(|(key, value)| collect(key, value, resources, texts)),
        _ => {}
    }
}

/// A name as it is; of an ARN also what stands behind its account, and behind the first and the last slash of that.
fn names_of_arn(text: &str, out: &mut BTreeSet<String>) {
    out.insert(text.to_owned());
    if !text.starts_with("arn:") {
        return;
    }
    let resource = text.splitn(6, ':').nth(5).unwrap_or_default();
    out.insert(resource.to_owned());
    out.extend(resource.split_once(['/', ':']).map(|(_, rest)| rest.to_owned()));
    out.extend(resource.rsplit(['/', ':']).next().map(str::to_owned));
    out.retain(|name| !name.is_empty());
}

/// What stands between spaces, slashes and brackets of a user agent.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split([' ', '/', ';', '(', ')', ',', '[', ']']).filter(|word| word.len() >= 3).map(str::to_owned)
}
