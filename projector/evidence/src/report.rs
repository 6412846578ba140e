//! What a verification says: a list of checks with a plain sentence each, how far trust reaches, what is not proved, and
//! one verdict. Leaves out how anything is checked.
//!
//! Exit codes (FORMATS, "`verify`"): 0 all checks held, 1 refuted, 2 could not decide. A refutation outranks 2.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::text::show;

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was done and it holds.
    Ok,
    /// It was done and it does not hold.
    Refuted,
    /// It could not be done; the detail says why.
    NotDone,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name for scripts, such as `log.inclusion`.
    pub id: &'static str,
    /// What the check is, in a few words.
    pub title: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was seen: found, expected and where.
    pub detail: String,
}

/// The answer to "is it genuine?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check was done and holds.
    Ok,
    /// At least one check does not hold.
    Refuted,
    /// Nothing is refuted, but something could not be checked.
    Undecided,
}

/// Everything a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `evidence pack`, `receipt` or `population`.
    pub what: &'static str,
    /// What the checked object says it is about (`origin`, `change`, …): claims, proved only as far as the checks go.
    #[serde(serialize_with = "as_object")]
    pub about: Vec<(&'static str, String)>,
    /// The checks, in the order in which they were done.
    pub checks: Vec<Check>,
    /// How far trust reaches, in words: `none`, `operator only`, `kept checkpoint` or `witnessed by … at …`.
    pub reach: String,
    /// Packs only: `later entries of this change up to size N: none (proved)` or `… NOT PROVED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub later_entries: Option<String>,
    /// Of a population, what is proved of time and completeness; of a pack, what became of the evidence of others in its events and of
    /// the signatures of its approvals. A sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub says: Vec<String>,
    /// What this verification does not prove, a sentence each.
    pub not_proved: Vec<String>,
    /// The answer.
    pub verdict: Verdict,
}

impl Report {
    /// The process exit code for this verdict: 0, 1 or 2.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Ok => 0,
            Verdict::Refuted => 1,
            Verdict::Undecided => 2,
        }
    }

    /// The ids of the refuted checks, in order.
    pub fn refuted(&self) -> Vec<&'static str> {
        self.checks.iter().filter(|c| c.status == Status::Refuted).map(|c| c.id).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for (name, value) in &self.about {
            writeln!(f, "  {name}: {}", printable(value))?;
        }
        writeln!(f)?;
        for check in &self.checks {
            let mark = match check.status {
                Status::Ok => "ok      ",
                Status::Refuted => "REFUTED ",
                Status::NotDone => "not done",
            };
            writeln!(f, "{mark}  {}: {}  [{}]", check.title, printable(&check.detail), check.id)?;
        }
        writeln!(f, "\ntrust reaches: {}", self.reach)?;
        if let Some(later) = &self.later_entries {
            writeln!(f, "{}", printable(later))?;
        }
        for line in &self.says {
            writeln!(f, "{}", printable(line))?;
        }
        writeln!(f, "what this does not prove:")?;
        for line in &self.not_proved {
            writeln!(f, "  - {}", printable(line))?;
        }
        let verdict = match self.verdict {
            Verdict::Ok => "OK: every check held",
            Verdict::Refuted => "REFUTED: at least one check does not hold",
            Verdict::Undecided => "UNDECIDED: nothing was refuted, but not everything could be checked",
        };
        writeln!(f, "\n{verdict}")
    }
}

/// Every check there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    ZipForm,
    SumsList,
    SumsDigests,
    PackDocument,
    TrustKey,
    TrustKeys,
    CheckpointSignature,
    CheckpointHead,
    AttestationSignature,
    AttestationStatement,
    LogEntries,
    LogInclusion,
    LogChain,
    EventsCommitment,
    EventsHeaders,
    EventsMasked,
    EventsForeign,
    EventsApprovals,
    KeptObjects,
    DerivedChange,
    DerivedPage,
    DerivedParts,
    DerivedKeys,
    FilesComplete,
    ReceiptForm,
    ReceiptEntry,
    ReceiptEvent,
    KnownCheckpoint,
    Cosignatures,
    Require,
    PopulationDocument,
    PopulationFirst,
    PopulationRoot,
    PopulationHeaders,
    PopulationChanges,
    PopulationTenants,
    PopulationHolds,
    PopulationPack,
    LaterHeaders,
}

impl Id {
    /// Name for scripts and title for people.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::ZipForm => ("zip.form", "the zip has the one form that a pack has"),
            Self::SumsList => ("sums.list", "SHA256SUMS names every file and no other"),
            Self::SumsDigests => ("sums.digests", "every file has the digest that SHA256SUMS lists"),
            Self::PackDocument => ("pack.document", "pack.json says what this pack is"),
            Self::TrustKey => ("trust.key", "there is a trusted key for this log"),
            Self::TrustKeys => ("trust.keys", "the key given leads to the one that signs"),
            Self::CheckpointSignature => ("checkpoint.signature", "the checkpoint is signed with that key"),
            Self::CheckpointHead => ("checkpoint.head", "the checkpoint is of the log, size and root in pack.json"),
            Self::AttestationSignature => ("attestation.signature", "the attestation is signed with that key"),
            Self::AttestationStatement => {
                ("attestation.statement", "the attestation is about this SHA256SUMS and this pack")
            }
            Self::LogEntries => ("log.entries", "every entry is a well-formed event entry"),
            Self::LogInclusion => ("log.inclusion", "every entry is proved to be in the tree"),
            Self::LogChain => ("log.chain", "the entries are the change from its first on, without a gap"),
            Self::EventsCommitment => ("events.commitment", "every event is the one that its entry commits to"),
            Self::EventsHeaders => ("events.headers", "what the entries say of the events is what the events say"),
            Self::EventsMasked => ("events.masked", "no event holds what the rules mask"),
            Self::EventsForeign => {
                ("events.foreign", "evidence of others inside the events is signed with a key that was given")
            }
            Self::EventsApprovals => {
                ("events.approvals", "approvals that the pack takes for signed are signed by keys that were given")
            }
            Self::KeptObjects => {
                ("objects.digests", "every log kept by reference that is here is one that an event names by digest")
            }
            Self::DerivedChange => ("derived.change", "change.json follows from the entries"),
            Self::DerivedPage => ("derived.page", "index.html follows from the entries"),
            Self::DerivedParts => ("derived.parts", "the extracted files follow from the events"),
            Self::DerivedKeys => ("derived.keys", "ledger.pub and ledger.vkey are that key"),
            Self::FilesComplete => ("files.complete", "no file is missing and none is left over"),
            Self::ReceiptForm => ("receipt.form", "the receipt is well-formed"),
            Self::ReceiptEntry => ("receipt.entry", "its entry is proved to be in the tree of its signed checkpoint"),
            Self::ReceiptEvent => ("receipt.event", "its entry commits to the event"),
            Self::KnownCheckpoint => {
                ("trust.known_checkpoint", "the log is consistent with the checkpoint that was kept")
            }
            Self::Cosignatures => ("trust.cosignatures", "witnesses cosigned the checkpoint, as the policy asks"),
            Self::Require => ("trust.require", "trust reaches as far as required"),
            Self::PopulationDocument => ("population.document", "population.json says what this population is"),
            Self::PopulationFirst => ("population.first", "the headers follow on a tree that was signed"),
            Self::PopulationRoot => ("population.root", "every entry is there, unaltered and in its place"),
            Self::PopulationHeaders => ("population.headers", "what population.json says follows from the headers"),
            Self::PopulationChanges => ("population.changes", "the list of changes follows from the headers"),
            Self::PopulationTenants => ("population.tenants", "the ledger lists this tenant"),
            Self::PopulationHolds => ("population.holds", "the population holds"),
            Self::PopulationPack => ("population.pack", "the pack has every entry of its change in the population"),
            Self::LaterHeaders => {
                ("headers.later", "no entry between the pack's last and its tree head is of this change")
            }
        }
    }
}

/// Collects checks while verifying; [`Log::finish`] draws the verdict.
#[derive(Debug, Default)]
pub(crate) struct Log {
    checks: Vec<Check>,
}

impl Log {
    /// Records that a check holds.
    pub(crate) fn ok(&mut self, id: Id, detail: impl Into<String>) {
        self.push(id, Status::Ok, detail.into());
    }

    /// Records that a check does not hold.
    pub(crate) fn refute(&mut self, id: Id, detail: impl fmt::Display) {
        self.push(id, Status::Refuted, detail.to_string());
    }

    /// Records that a check could not be done.
    pub(crate) fn not_done(&mut self, id: Id, detail: impl Into<String>) {
        self.push(id, Status::NotDone, detail.into());
    }

    /// Records several checks that could not be done for the same reason.
    pub(crate) fn none_done(&mut self, ids: &[Id], detail: &str) {
        for id in ids {
            self.not_done(*id, detail);
        }
    }

    /// Records a check by its result; true if it holds.
    pub(crate) fn result<E: fmt::Display>(&mut self, id: Id, result: Result<impl Into<String>, E>) -> bool {
        match result {
            Ok(detail) => self.ok(id, detail),
            Err(error) => {
                self.refute(id, error);
                return false;
            }
        }
        true
    }

    /// True while no check was refuted.
    pub(crate) fn clean(&self) -> bool {
        self.checks.iter().all(|c| c.status != Status::Refuted)
    }

    /// True if this check was done and holds.
    pub(crate) fn holds(&self, id: Id) -> bool {
        self.checks.iter().any(|c| c.id == id.texts().0 && c.status == Status::Ok)
    }

    /// The checks so far and the verdict: refuted outranks undecided outranks ok. No check at all is never ok.
    pub(crate) fn finish(self) -> (Vec<Check>, Verdict) {
        let verdict = if !self.clean() {
            Verdict::Refuted
        } else if self.checks.is_empty() || self.checks.iter().any(|c| c.status == Status::NotDone) {
            Verdict::Undecided
        } else {
            Verdict::Ok
        };
        (self.checks, verdict)
    }

    fn push(&mut self, id: Id, status: Status, detail: String) {
        let (id, title) = id.texts();
        self.checks.push(Check { id, title, status, detail });
    }
}

/// A number of things in words: `1 entry`, `2 entries`.
pub(crate) fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn as_object<S: Serializer>(about: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(about.iter().map(|(name, value)| (name, value)))
}

/// Text from a hostile file, made safe for a terminal: what could repaint or reorder the verdict is shown escaped, and a long
/// text is cut.
pub(crate) fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 600;
    let mut out = String::with_capacity(text.len());
    for (n, c) in text.chars().enumerate() {
        if n == MAX_CHARS {
            out.push('…');
            break;
        }
        show(c, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refutation_outranks_what_was_not_done() {
        fn check(statuses: &[Status], expect: Verdict, code: u8) {
            let mut log = Log::default();
            for status in statuses {
                log.push(Id::ZipForm, *status, String::new());
            }
            let (checks, verdict) = log.finish();
            let (about, reach, not_proved, says) = (Vec::new(), String::new(), Vec::new(), Vec::new());
            let report =
                Report { what: "receipt", about, checks, reach, later_entries: None, says, not_proved, verdict };
            assert_eq!((report.verdict, report.exit_code()), (expect, code), "{statuses:?}");
        }
        check(&[], Verdict::Undecided, 2);
        check(&[Status::Ok], Verdict::Ok, 0);
        check(&[Status::Ok, Status::NotDone], Verdict::Undecided, 2);
        check(&[Status::NotDone, Status::Refuted, Status::Ok], Verdict::Refuted, 1);
    }

    #[test]
    fn hostile_text_cannot_paint_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\rOK\u{202e}"), "a\\u{1b}[2J\\u{d}OK\\u{202e}");
        assert!(printable(&"x".repeat(5000)).chars().count() <= 601);
    }
}
