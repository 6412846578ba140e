//! Logs that are kept by reference: every object that a pack holds is one that an event names by digest and length, and has them; of those that
//! it does not hold, how many there are.

use std::collections::BTreeSet;

use super::contents::Files;
use crate::chain::Opened;
use crate::document::{Object, PackDocument};
use crate::files;
use crate::kept::{self, References};
use crate::report::{Id, Log, counted};

/// Checks the objects, where there are any or an event refers to one; gives a sentence for those that are not here.
pub(super) fn check(
    document: &PackDocument,
    opened: Option<&[Opened]>,
    files: &Files<'_>,
    log: &mut Log,
) -> Option<String> {
    let listed = &document.objects;
    let Some(referred) = opened.and_then(|opened| referred(opened, files)) else {
        if !listed.is_empty() {
            log.not_done(Id::KeptObjects, "not every event could be read");
        }
        return None;
    };
    if listed.is_empty() && referred.is_empty() {
        return None;
    }
    log.result(Id::KeptObjects, fits(listed, &referred, files));
    let gone = referred.len() - referred.intersection(&listed.iter().copied().collect()).count();
    (gone > 0).then(|| {
        let (logs, are) = (counted(gone, "log", "logs"), if gone == 1 { "is" } else { "are" });
        format!(
            "{logs} that events refer to by digest {are} not in this pack: when it was made the ledger did not have them, or there was no room, by the operator's word"
        )
    })
}

/// What the events refer to; none where one of them could not be read again.
fn referred(opened: &[Opened], files: &Files<'_>) -> Option<BTreeSet<Object>> {
    let mut references = References::default();
    for entry in opened.iter().filter(|entry| kept::may_refer(&entry.header)) {
        references.add_payload(entry.index, &files.get(&files::event_name(entry.index, entry.header.phase))?);
    }
    Some(references.objects())
}

fn fits(listed: &[Object], referred: &BTreeSet<Object>, files: &Files<'_>) -> Result<String, String> {
    if let Some(pair) = listed.windows(2).find(|pair| pair[0].sha256 >= pair[1].sha256) {
        return Err(format!("{}: object {} is there twice or out of order", files::PACK, pair[1].hex()));
    }
    for object in listed {
        let name = kept::object_name(&object.hex());
        if !referred.contains(object) {
            return Err(format!(
                "{}: no event refers to object {} of {} bytes",
                files::PACK,
                object.hex(),
                object.size
            ));
        }
        match (files.sha256(&name), files.size(&name)) {
            (Some(sha256), Some(size)) if *sha256 == object.sha256 && size == object.size => {}
            (Some(sha256), Some(size)) => {
                let found = hex::encode(sha256);
                return Err(format!("{name} has {size} bytes with SHA-256 {found}, expected {} bytes", object.size));
            }
            _ => return Err(format!("{name} is missing")),
        }
    }
    Ok(format!("{} of {} are here, with the digests that the events name", listed.len(), referred.len()))
}
