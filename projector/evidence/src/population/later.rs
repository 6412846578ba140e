//! A pack beside a population: whether the pack holds every entry of its change that the population shows, so that its last entry is the
//! last (up to the population's size). `seq` and `prev` alone show no gap, not the end.
//!
//! What witnesses or a kept checkpoint say is said of the pack's tree. It is worth as much for the population where both are of one tree; beyond
//! that the population rests on the log's key alone, which is said, and is not enough where more is required.

use std::io::{Read, Seek};

use ledger::checkpoint;
use ledger::hash::{self, Hash};

use super::verify::{Ask, Population, verify};
use crate::document::PackDocument;
use crate::files;
use crate::report::{Check, Id, Log, Report, Verdict};
use crate::trust::{Reach, Trust};
use crate::verify::{Files, verify_pack};

/// What a pack claims, read before anything is checked: only to know what to ask the population for.
struct Claim {
    origin: String,
    change: String,
    /// Index and leaf hash of each entry.
    entries: Vec<(u64, Hash)>,
    size: u64,
    root: Option<Hash>,
}

/// Verifies a pack and a population, and compares both. The report is the pack's, with the population's checks behind it.
pub fn verify_pack_with<R: Read + Seek, P: Read + Seek>(
    mut pack: R,
    population: P,
    trust: &Trust,
    progress: &mut dyn FnMut(u64, u64),
) -> Report {
    let claim = claim(&mut pack);
    let mut report = verify_pack(pack, trust);
    let ask = claim.as_ref().map(|claim| Ask { change: Some(claim.change.clone()), sizes: vec![claim.size] });
    // Whether trust reaches as far as is required is the pack's matter; the population is asked for its truth only.
    let plain = Trust { known_checkpoint: None, consistency: None, policy: None, require: None, ..trust.clone() };
    let shown = verify(population, &plain, &ask.unwrap_or_default(), progress);
    let mut log = Log::default();
    let population_holds = population_holds(&shown, &mut log);
    if let (Some(claim), true) = (&claim, population_holds) {
        let packed = report.verdict != Verdict::Refuted;
        let later = compare(claim, &shown, trust.require, &mut log);
        report.later_entries = Some(if packed && log.clean() { later } else { not_proved(&shown) });
        let more = trust.policy.is_some() || trust.known_checkpoint.is_some();
        report.not_proved.extend(if more { beyond(claim, &shown) } else { None });
    } else {
        log.not_done(Id::PopulationPack, "pack or population could not be taken for granted");
    }
    let (checks, verdict) = log.finish();
    add(&mut report, checks, verdict);
    report
}

fn claim(pack: &mut (impl Read + Seek)) -> Option<Claim> {
    let files = Files::scan(pack).ok()?;
    let document = PackDocument::parse(&files.get(files::PACK)?).ok()?;
    let entries = document.entries.iter().map(|entry| {
        let bytes = files.get(&files::entry_name(entry.index))?;
        Some((entry.index, hash::leaf(&bytes)))
    });
    let root = files.text(files::CHECKPOINT).and_then(|note| checkpoint::peek(&note).ok());
    Some(Claim {
        entries: entries.collect::<Option<_>>()?,
        origin: document.origin,
        change: document.change,
        size: document.size,
        root: root.map(|head| head.root),
    })
}

fn population_holds(shown: &Population, log: &mut Log) -> bool {
    match shown.report.verdict {
        Verdict::Ok => log.ok(Id::PopulationHolds, format!("{} checks held", shown.report.checks.len())),
        Verdict::Refuted => log.refute(Id::PopulationHolds, format!("refuted: {}", shown.report.refuted().join(", "))),
        Verdict::Undecided => log.not_done(Id::PopulationHolds, "not all of its checks could be done"),
    }
    shown.report.verdict == Verdict::Ok
}

/// Compares, and says what follows about later entries.
fn compare(claim: &Claim, shown: &Population, require: Option<Reach>, log: &mut Log) -> String {
    let Some(document) = &shown.document else { return not_proved(shown) };
    if document.origin != claim.origin {
        let (theirs, ours) = (&document.origin, &claim.origin);
        log.refute(Id::PopulationPack, format!("the population is of {theirs}, the pack of {ours}"));
        return not_proved(shown);
    }
    let (first, size) = (document.first.size, document.last.size);
    let fork =
        shown.roots.iter().find(|(at, root)| *at == claim.size && claim.root.is_some_and(|claimed| claimed != *root));
    let missing = shown.watched.iter().find(|entry| !claim.entries.contains(entry));
    let foreign = claim
        .entries
        .iter()
        .find(|(index, leaf)| (first..size).contains(index) && !shown.watched.contains(&(*index, *leaf)));
    let last = claim.entries.last().map_or(0, |(index, _)| *index);
    if let Some((at, _)) = fork {
        log.refute(
            Id::PopulationPack,
            format!("at size {at} pack and population have two roots: the log showed two histories"),
        );
    } else if let Some((index, _)) = missing {
        log.refute(
            Id::PopulationPack,
            format!("the population shows entry {index} of this change, which the pack leaves out"),
        );
    } else if let Some((index, _)) = foreign {
        log.refute(Id::PopulationPack, format!("entry {index} of the pack is not the population's"));
    } else if let Some(require) = require.filter(|require| *require > Reach::OperatorOnly && claim.size != size) {
        let (words, pack) = (require.words(), claim.size);
        log.not_done(
            Id::PopulationPack,
            format!(
                "required: {words}, which the pack's tree of size {pack} may reach and the population's of size {size} does not by that: use a pack \
                 as of the population (`upm pack --at {size}`)"
            ),
        );
    } else if (first..size).contains(&last) {
        log.ok(
            Id::PopulationPack,
            format!("{} of its entries are in the population, and it shows no other", shown.watched.len()),
        );
        return format!("later entries of this change up to size {size}: none (proved)");
    } else {
        let words = format!("its last entry, {last}, is not between {first} and {size}, the population's trees");
        log.not_done(Id::PopulationPack, words);
    }
    not_proved(shown)
}

/// What is said where the population's tree is not the pack's: nobody but the operator vouches for what lies between.
fn beyond(claim: &Claim, shown: &Population) -> Option<String> {
    let size = shown.document.as_ref().map(|document| document.last.size).filter(|size| *size != claim.size)?;
    let pack = claim.size;
    Some(format!(
        "that the population's tree of size {size} is the one that others were shown: how far trust reaches is said of the pack's, of size {pack}"
    ))
}

fn not_proved(shown: &Population) -> String {
    let size = shown.document.as_ref().map_or(0, |document| document.last.size);
    format!("later entries of this change up to size {size}: NOT PROVED")
}

/// Adds checks to a report that was finished: a refutation outranks what was not done, which outranks ok.
fn add(report: &mut Report, checks: Vec<Check>, verdict: Verdict) {
    report.checks.extend(checks);
    report.verdict = match (report.verdict, verdict) {
        (Verdict::Refuted, _) | (_, Verdict::Refuted) => Verdict::Refuted,
        (Verdict::Undecided, _) | (_, Verdict::Undecided) => Verdict::Undecided,
        _ => Verdict::Ok,
    };
    if report.verdict == Verdict::Refuted {
        "nothing (refuted)".clone_into(&mut report.reach);
    }
}
