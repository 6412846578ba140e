//! The answer of `upm maturity`: levels measured and attested, cap and reason, each unmet clause and what would satisfy it; and the checklist.

use schemas::model::{self, Clause, ClauseKind, Gate};
use serde::Serialize;

use super::attestation::Attested;
use super::evidence::{Figures, Judged};
use super::rating::reason;
use super::score::{self, Levels};

/// Why a clause counts or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its needs are met.
    Measured,
    /// An assessor says so.
    Attested,
    /// A floor that a clause above it holds.
    Subsumed,
    /// Of level 0: nothing has to be shown.
    Given,
    /// Not held; never gates.
    OptionalUnmet,
    /// Not held.
    Unmet,
}

/// One clause.
#[derive(Clone, Debug, Serialize)]
pub struct ClauseReport {
    /// Its id.
    pub id: &'static str,
    /// `overall` or a phase.
    pub row: &'static str,
    /// 0 to 4.
    pub level: u8,
    /// The model's words.
    pub words: &'static str,
    /// Why it counts or does not.
    pub standing: Standing,
    /// Its needs, judged.
    pub needs: Vec<Judged>,
    /// Who says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attested>,
    /// Why only an attestation can show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attest_only: Option<&'static str>,
}

/// A level with its label and Atlas token.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// 0 to 4.
    pub level: u8,
    /// What it is called.
    pub label: &'static str,
    /// Its Atlas token.
    pub atlas: &'static str,
}

/// Overall or a phase, twice: measured, and with attestations.
#[derive(Clone, Debug, Serialize)]
pub struct RowReport {
    /// `overall` or a phase.
    pub row: &'static str,
    /// Shown by what is in the log.
    pub measured: Named,
    /// And by the word of assessors.
    pub with_attestations: Named,
    /// Clauses that keep the measured level from the next.
    pub next: Vec<&'static str>,
}

/// A gate.
#[derive(Clone, Debug, Serialize)]
pub struct GateReport {
    /// Its id.
    pub id: &'static str,
    /// The model's words.
    pub words: &'static str,
    /// The highest level while it is shut.
    pub cap: u8,
    /// Whether it is open.
    pub open: bool,
    /// What opens it.
    pub needs: Vec<Judged>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The overall level.
    pub overall: RowReport,
    /// The gate that caps the measured level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<&'static str>,
    /// Why the measured level is not one higher; empty at the top.
    pub reason: String,
    /// The phases.
    pub phases: Vec<RowReport>,
    /// The evidence gates.
    pub gates: Vec<GateReport>,
    /// Every clause.
    pub clauses: Vec<ClauseReport>,
}

/// Levels from what was counted alone.
pub fn measured(figures: &Figures) -> Levels {
    score::levels(|clause| figures.measures(clause), |gate| figures.opens(gate))
}

/// Levels where a standing attestation shows a clause too. Gates stay what they are.
pub fn with_attestations(figures: &Figures) -> Levels {
    score::levels(
        |clause| figures.measures(clause) || figures.attested.contains_key(&clause.id),
        |gate| figures.opens(gate),
    )
}

/// The report of these figures.
pub fn report(figures: &Figures) -> Report {
    let (measured, attested) = (measured(figures), with_attestations(figures));
    let row = |row: &score::Row, level, other| RowReport {
        row: row.row,
        measured: named(level),
        with_attestations: named(other),
        next: row.next().collect(),
    };
    let phases = measured.phases.iter().zip(&attested.phases);
    Report {
        overall: row(&measured.scale, measured.overall, attested.overall),
        cap: measured.cap().map(|gate| gate.id.as_str()),
        reason: reason(&measured),
        phases: phases.map(|(found, other)| row(found, found.level, other.level)).collect(),
        gates: gates(figures),
        clauses: model::get().clauses.iter().map(|clause| clause_report(figures, clause)).collect(),
    }
}

/// A level by its names.
pub fn named(level: u8) -> Named {
    Named { level, label: model::get().label(level), atlas: model::get().token_of_level(level) }
}

fn gates(figures: &Figures) -> Vec<GateReport> {
    let report = |gate: &'static Gate| {
        let needs = figures.of_gate(gate);
        Some(GateReport { id: &gate.id, words: &gate.words, cap: gate.cap?, open: figures.opens(gate), needs })
    };
    model::get().gates.iter().filter_map(report).collect()
}

fn clause_report(figures: &Figures, clause: &'static Clause) -> ClauseReport {
    ClauseReport {
        id: &clause.id,
        row: &clause.row,
        level: clause.level,
        words: &clause.words,
        standing: standing(figures, clause),
        needs: figures.of_clause(clause),
        attestation: figures.attested.get(&clause.id).cloned(),
        attest_only: clause.attest_only.as_deref(),
    }
}

fn standing(figures: &Figures, clause: &'static Clause) -> Standing {
    let above = || clause.subsumed_by.iter().filter_map(|id| model::get().clause(id));
    if clause.level == 0 {
        Standing::Given
    } else if figures.measures(clause) {
        Standing::Measured
    } else if figures.attested.contains_key(&clause.id) {
        Standing::Attested
    } else if above().any(|clause| figures.measures(clause) || figures.attested.contains_key(&clause.id)) {
        Standing::Subsumed
    } else if clause.kind == ClauseKind::Optional {
        Standing::OptionalUnmet
    } else {
        Standing::Unmet
    }
}

/// How an item of the conformance checklist stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every clause of it holds.
    Pass,
    /// Something that was counted speaks against a clause of it.
    Fail,
    /// Nothing speaks against it, but not all of it was shown.
    Unknown,
}

/// An item of the conformance checklist.
#[derive(Clone, Debug, Serialize)]
pub struct ItemReport {
    /// Its id.
    pub id: &'static str,
    /// The model's words.
    pub words: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// Its clauses.
    pub clauses: Vec<ClauseReport>,
    /// What it names and no clause does, judged; only measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<Judged>,
}

/// The seven items, with their evidence.
pub fn checklist(figures: &Figures) -> Vec<ItemReport> {
    let report = |item: &'static model::Item| {
        let clauses = item.needs.iter().filter_map(|id| model::get().clause(id));
        let clauses: Vec<_> = clauses.map(|clause| clause_report(figures, clause)).collect();
        let measures = figures.of_item(item);
        ItemReport { id: &item.id, words: &item.words, verdict: verdict(&clauses, &measures), clauses, measures }
    };
    model::get().checklist.iter().map(report).collect()
}

/// An acceptance criterion of F1 to F5: of this program, not of what a tenant does with it.
#[derive(Clone, Debug, Serialize)]
pub struct CriterionReport {
    /// `FN.WORD`.
    pub id: &'static str,
    /// The model's words.
    pub words: &'static str,
    /// [`Verdict::Pass`] where tests show it, which no build goes without; else [`Verdict::Unknown`].
    pub verdict: Verdict,
    /// These tests, as `FILE::FUNCTION` of the source.
    pub tests: &'static [String],
    /// Why no test does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<&'static str>,
}

/// The acceptance criteria, with the tests that show each.
pub fn criteria() -> Vec<CriterionReport> {
    let report = |criterion: &'static model::Criterion| CriterionReport {
        id: &criterion.id,
        words: &criterion.words,
        verdict: if criterion.tests.is_empty() { Verdict::Unknown } else { Verdict::Pass },
        tests: &criterion.tests,
        unknown: criterion.unknown.as_deref(),
    };
    model::get().requirements.iter().flat_map(|requirement| &requirement.acceptance).map(report).collect()
}

fn verdict(clauses: &[ClauseReport], measures: &[Judged]) -> Verdict {
    let held = |clause: &ClauseReport| matches!(clause.standing, Standing::Measured | Standing::Attested);
    // What was counted and falls short; what was not counted, or too rarely, says nothing.
    let against = |judged: &Judged| {
        !judged.met
            && (judged.found.starts_with("failed")
                || judged.count.is_some_and(|count| {
                    count.den >= super::COUNT_MIN || count.num > 0 && judged.asks.starts_with("none")
                }))
    };
    let falls_short = |clause: &ClauseReport| !held(clause) && clause.needs.iter().any(against);
    if clauses.iter().all(held) && measures.iter().all(|judged| judged.met) {
        Verdict::Pass
    } else if clauses.iter().any(falls_short) || measures.iter().any(against) {
        Verdict::Fail
    } else {
        Verdict::Unknown
    }
}
