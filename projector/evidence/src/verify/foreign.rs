//! Evidence of others inside a pack's events: held against the keys that the verifier brought, and told as the tenant's own keys judged
//! it. How it is found and checked is [`projector::foreign`].

use projector::approval::Rules;
use projector::foreign::{self, Foreign, ForeignKey, Standing};

use super::contents::Files;
use crate::chain::Opened;
use crate::document::PackDocument;
use crate::files;
use crate::report::{Id, Log, counted};
use crate::trust::Trust;

/// Sentences that are said at most.
const SENTENCES_MAX: usize = 50;

/// Checks what there is, if the verifier brought keys, and gives a sentence for each piece.
pub(super) fn check(
    document: &PackDocument,
    opened: Option<&[Opened]>,
    files: &Files<'_>,
    trust: &Trust,
    log: &mut Log,
) -> Vec<String> {
    let asked = !trust.evidence_keys.is_empty();
    let Some(opened) = opened else {
        if asked {
            log.not_done(Id::EventsForeign, "not every event could be read");
        }
        return Vec::new();
    };
    if asked {
        let found = all(opened, files, |_| trust.evidence_keys.clone());
        judge(&found, log);
        return said(&found, "");
    }
    let rules = Rules::from_changes(&document.origin, document.approval_rules.clone());
    let of_tenant = |index: u64| {
        let keys = rules.at(index).evidence_keys.iter();
        keys.filter_map(|(name, key)| Some((name.clone(), ForeignKey::parse(key).ok()?))).collect()
    };
    said(
        &all(opened, files, of_tenant),
        " (by the keys in pack.json, which the operator states; --evidence-key takes yours)",
    )
}

/// A piece and the file that it stands in.
struct Placed {
    file: String,
    foreign: Foreign,
}

fn all(opened: &[Opened], files: &Files<'_>, keys: impl Fn(u64) -> Vec<(String, ForeignKey)>) -> Vec<Placed> {
    let of = |entry: &Opened| {
        let file = files::event_name(entry.index, entry.header.phase);
        // What could not be read again is told beside the zip's form.
        let payload = files.get(&file).unwrap_or_default();
        let found = foreign::of(entry.index, &payload, &keys(entry.index));
        found.into_iter().map(move |foreign| Placed { file: file.clone(), foreign }).collect::<Vec<_>>()
    };
    opened.iter().flat_map(of).collect()
}

fn judge(found: &[Placed], log: &mut Log) {
    let first = |wanted: fn(&Standing) -> bool| found.iter().find(|placed| wanted(&placed.foreign.standing));
    let sentence = |Placed { file, foreign }: &Placed| format!("{file}: {}", foreign.sentence());
    if let Some(bad) = first(|standing| matches!(standing, Standing::Bad { .. })) {
        log.refute(Id::EventsForeign, sentence(bad));
    } else if let Some(open) = first(|standing| !matches!(standing, Standing::Signed { .. })) {
        log.not_done(Id::EventsForeign, sentence(open));
    } else if found.is_empty() {
        log.ok(Id::EventsForeign, "there is none in these events");
    } else {
        log.ok(Id::EventsForeign, counted(found.len(), "piece of evidence", "pieces of evidence"));
    }
}

fn said(found: &[Placed], by: &str) -> Vec<String> {
    let sentence = |Placed { file, foreign }: &Placed| format!("{file}: {}{by}", foreign.sentence());
    let mut out: Vec<String> = found.iter().take(SENTENCES_MAX).map(sentence).collect();
    if let Some(more) = found.len().checked_sub(SENTENCES_MAX).filter(|more| *more > 0) {
        out.push(format!("{more} more pieces of evidence of others"));
    }
    out
}
