//! `upm emit --attach [STEP[.stderr]=]FILE`: a log that is too long for its event goes into the tenant's object store, and the event refers to it by
//! digest.
//!
//! What leaves is the file with its secrets masked, and the digest is of that: the ledger masks nothing in an object, since it would be another
//! one then. The event's own bytes stay as they are but for the one member that is added to a step.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;
use schemas::ids::Tenant;
use schemas::object::ObjectRef;
use schemas::redact;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::CliError;
use super::client::print;
use super::say;
use crate::bounded;

/// The largest file that is attached, in bytes: it is masked as a whole, and a ledger takes no larger object unless it is told to.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What is attached, and to which step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attach {
    /// From 1; none where there is only one.
    step: Option<usize>,
    /// The member that refers to it.
    member: &'static str,
    file: PathBuf,
}

impl FromStr for Attach {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = |place: &str| {
            let (step, stream) = place.split_once('.').unwrap_or((place, "stdout"));
            let member = match stream {
                "stdout" => "stdout_ref",
                "stderr" => "stderr_ref",
                _ => return None,
            };
            Some((step.parse::<usize>().ok().filter(|step| *step > 0)?, member))
        };
        // Whatever is no step is part of a file's name.
        let placed = text.split_once('=').and_then(|(before, file)| Some((place(before)?, file)));
        Ok(match placed {
            Some(((step, member), file)) => Self { step: Some(step), member, file: file.into() },
            None => Self { step: None, member: "stdout_ref", file: text.into() },
        })
    }
}

/// An event that refers to objects, and these.
pub(super) struct Attached {
    /// The event.
    pub(super) event: Vec<u8>,
    /// What has to be put before the event is sent.
    pub(super) objects: Vec<(ObjectRef, Bytes)>,
}

/// Refers to the files in an event of `tenant`.
pub(super) fn attach(event: Vec<u8>, tenant: &Tenant, files: &[Attach]) -> Result<Attached, CliError> {
    let mut attached = Attached { event, objects: Vec::new() };
    for file in files {
        let content = masked(file)?;
        let reference = ObjectRef::own(tenant, Sha256::digest(&content).into(), content.len() as u64);
        attached.event = refer(&attached.event, file, &reference.to_string()).map_err(|why| {
            CliError::could_not(format!("--attach {}: {why}", print::clean(&file.file.display().to_string())))
        })?;
        attached.objects.push((reference, content));
    }
    Ok(attached)
}

/// The file's text with its secrets masked.
fn masked(attach: &Attach) -> Result<Bytes, CliError> {
    let shown = print::clean(&attach.file.display().to_string());
    let content = bounded::read(&attach.file, FILE_BYTES_MAX)
        .map_err(|error| CliError::because(format!("can't read {shown}"), &error))?;
    if content.contains(&0) {
        return Err(CliError::could_not(format!(
            "--attach {shown}: it holds NUL bytes, so it is no text, and nobody can tell which secrets are in it"
        )));
    }
    let before = redact::count_marks(&content);
    let (masked, marks) = redact::mask_lexically(&content);
    if marks > before {
        say(&format!("upm: {shown}: {} places masked", marks - before));
    }
    Ok(masked.into())
}

/// The event with a member more in one of its steps.
fn refer(event: &[u8], attach: &Attach, reference: &str) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(event).map_err(|_| "the event is not UTF-8")?;
    let (start, step) = step(text, attach.step)?;
    let members: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(step).map_err(|_| "the step is no object".to_owned())?;
    if members.contains_key(attach.member) {
        return Err(format!("the step has a {} already", attach.member));
    }
    let end = start + step.len() - 1;
    let comma = if members.is_empty() { "" } else { "," };
    let member = attach.member;
    Ok(format!("{}{comma}\"{member}\":\"{reference}\"{}", &text[..end], &text[end..]).into_bytes())
}

/// A step of the event's execution: where it begins, and its text.
fn step(event: &str, number: Option<usize>) -> Result<(usize, &str), String> {
    type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;
    let no_steps = || {
        "the event has no execution.steps to attach to; with --phase, say --section 'execution={\"steps\":[{\"cmd\":\"…\",\"rc\":0}]}'"
            .to_owned()
    };
    let document: Members<'_> =
        serde_json::from_str(event).map_err(|error| format!("the event is no JSON: {error}"))?;
    let event_text = document.get("provisioning_event").map_or("null", |raw| raw.get());
    let sections: Members<'_> = serde_json::from_str(event_text).map_err(|_| no_steps())?;
    let execution: Members<'_> =
        serde_json::from_str(sections.get("execution").map_or("null", |raw| raw.get())).map_err(|_| no_steps())?;
    let steps: Vec<&RawValue> =
        serde_json::from_str(execution.get("steps").map_or("null", |raw| raw.get())).map_err(|_| no_steps())?;
    let at = match (number, steps.len()) {
        (_, 0) => return Err(no_steps()),
        (None, 1) => 0,
        (None, count) => return Err(format!("the event has {count} steps: say which, as --attach 1=FILE")),
        (Some(number), count) if number > count => {
            return Err(format!("the event has {count} steps, and none with number {number}"));
        }
        (Some(number), _) => number - 1,
    };
    let step = steps[at].get();
    // Raw values are slices of the text that they were read from.
    Ok((step.as_ptr() as usize - event.as_ptr() as usize, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attach(text: &str) -> Attach {
        text.parse().unwrap()
    }

    #[test]
    fn a_step_is_named_before_the_file() {
        let of = |step, member, file: &str| Attach { step, member, file: file.into() };
        for (text, expect) in [
            ("build.log", of(None, "stdout_ref", "build.log")),
            ("2=build.log", of(Some(2), "stdout_ref", "build.log")),
            ("2.stderr=err=1.log", of(Some(2), "stderr_ref", "err=1.log")),
            ("1.stdout=x", of(Some(1), "stdout_ref", "x")),
            ("0=x", of(None, "stdout_ref", "0=x")),
            ("a=x", of(None, "stdout_ref", "a=x")),
            ("1.other=x", of(None, "stdout_ref", "1.other=x")),
        ] {
            assert_eq!(attach(text), expect, "{text}");
        }
    }

    #[test]
    fn nothing_but_one_member_is_added() {
        let event = |steps: &str| {
            format!("{{ \"provisioning_event\" : {{\"n\":1.0e3,\"execution\":{{\"steps\": [{steps}] }}}}}}\n")
        };
        let check = |steps: &str, text: &str, expect: &str| {
            let made = refer(event(steps).as_bytes(), &attach(text), "obs://x").unwrap();
            assert_eq!(String::from_utf8(made).unwrap(), event(expect));
        };
        check(r#"{"rc" : 0 }"#, "f", r#"{"rc" : 0 ,"stdout_ref":"obs://x"}"#);
        check(r"{}, {}", "2=f", r#"{}, {"stdout_ref":"obs://x"}"#);
        check(r#"{"a":{}},{"b":[1]}"#, "1.stderr=f", r#"{"a":{},"stderr_ref":"obs://x"},{"b":[1]}"#);
        for (steps, text, expect) in [
            ("", "f", "no execution.steps"),
            ("{},{}", "f", "has 2 steps"),
            ("{},{}", "3=f", "none with number 3"),
            ("7", "f", "no object"),
            (r#"{"stdout_ref":"obs://y"}"#, "f", "has a stdout_ref already"),
        ] {
            let error = refer(event(steps).as_bytes(), &attach(text), "obs://x").unwrap_err();
            assert!(error.contains(expect), "{steps}: {error}");
        }
        for bad in ["", "null", "[]", r#"{"provisioning_event":[]}"#, r#"{"provisioning_event":{"execution":1}}"#] {
            assert!(refer(bad.as_bytes(), &attach("f"), "obs://x").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_masked_before_it_is_hashed_and_must_be_text() {
        let dir = tempfile::tempdir().unwrap();
        let acme = Tenant::parse("acme").unwrap();
        let file = dir.path().join("build.log");
        std::fs::write(&file, "curl -H 'Authorization: Bearer abcdefghijklmnop1234567890' x\ndone\n").unwrap();
        let event = br#"{"provisioning_event":{"execution":{"steps":[{"rc":0}]}}}"#.to_vec();
        let of_file = Attach { step: None, member: "stdout_ref", file: file.clone() };
        let attached = super::attach(event.clone(), &acme, std::slice::from_ref(&of_file)).unwrap();
        let (reference, content) = &attached.objects[0];
        let text = std::str::from_utf8(content).unwrap();
        assert!(!text.contains("abcdefghijklmnop") && text.ends_with("done\n"), "{text}");
        assert_eq!(reference.sha256, <[u8; 32]>::from(Sha256::digest(content)));
        assert!(String::from_utf8(attached.event).unwrap().contains(&reference.to_string()));
        std::fs::write(&file, b"PK\0\0").unwrap();
        let error = super::attach(event, &acme, &[of_file]).err().unwrap().to_string();
        assert!(error.contains("no text"), "{error}");
    }
}
