//! Structural mutations of real packs, each by name: what is done, the check that refutes it, and the file that the refutation names.
//!
//! Where nothing else is said the operator is the attacker: whoever holds the log's key signs anew whatever comes out. The verifier
//! never panics, never says yes, with the key and without one. Changed bytes are `attacks`; cut packs under a population are `later`.

mod content;
mod entries;
mod keyed;
mod zipped;

use std::collections::BTreeSet;

use evidence::{Trust, Verdict};

use crate::world::{World, verify};

/// One way of forging.
pub(super) struct Mutation {
    /// What is done.
    name: &'static str,
    /// The pack that comes out.
    pack: Vec<u8>,
    /// The check that has to refute it.
    check: &'static str,
    /// The file, or the part of the zip, that the refutation has to name.
    names: &'static str,
}

#[test]
fn every_structural_mutation_is_refuted_and_names_the_file() {
    let all: Vec<Mutation> =
        [zipped::all(), content::all(), entries::all(), keyed::all()].into_iter().flatten().collect();
    let names: BTreeSet<&str> = all.iter().map(|mutation| mutation.name).collect();
    assert_eq!(names.len(), all.len(), "a name stands for one mutation");
    assert!(all.len() >= 60, "{} mutations", all.len());
    // Every world here has the same key.
    let trust = World::small().trust();
    let wrong: Vec<String> = all.iter().filter_map(|mutation| missed(mutation, &trust)).collect();
    assert!(wrong.is_empty(), "{} of {} mutations:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// What the verifier gets wrong about a mutation.
fn missed(mutation: &Mutation, trust: &Trust) -> Option<String> {
    let Mutation { name, pack, check, names } = mutation;
    let report = verify(pack, trust);
    let refuted =
        |check: &str| report.checks.iter().find(|found| found.id == check && report.refuted().contains(&check));
    let named = refuted(check).is_some_and(|found| found.detail.contains(names));
    let trusted = report.reach == "nothing (refuted)" && report.exit_code() == 1;
    // Who has no key learns less, and is never told yes.
    let keyless = verify(pack, &Trust::default()).verdict;
    if named && trusted && keyless != Verdict::Ok {
        return None;
    }
    let details: Vec<String> = report
        .checks
        .iter()
        .filter(|found| report.refuted().contains(&found.id))
        .map(|c| format!("{}: {}", c.id, c.detail))
        .collect();
    Some(format!("- {name}: expected {check} to name {names}; verdict {:?}, {}", report.verdict, details.join(" | ")))
}
