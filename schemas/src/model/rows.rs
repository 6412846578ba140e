//! The forms of the model's rows, as their JSON files have them.

use serde::{Deserialize, Serialize};

/// One of the five phases.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct PhaseRow {
    /// The canonical word: plan, preflight, execute, verify, audit.
    pub id: String,
    /// From 1.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// What it is.
    pub definition: String,
    /// What it works on.
    pub typical_data: String,
    /// What is expected of it.
    pub expected_capability: String,
    /// Its heading among the expectations by level.
    pub heading: String,
    /// Its name in the notes on platforms.
    pub note: String,
}

/// One level of the scale.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Level {
    /// `scale.N`.
    pub id: String,
    /// 0 to 4.
    pub level: u8,
    /// What it is called.
    pub label: String,
    /// What must hold.
    pub words: String,
}

/// What a phase is expected to do at a level.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Expectation {
    /// `PHASE.N`.
    pub id: String,
    /// Which phase.
    pub phase: String,
    /// 0 to 4.
    pub level: u8,
    /// The cell.
    pub words: String,
}

/// How a clause weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClauseKind {
    /// Held by itself or by any clause that subsumes it; those of level 0 always hold.
    Floor,
    /// Must hold for its level.
    Gating,
    /// Shown, never asked for.
    Optional,
}

/// One part of a cell of the scale or of an expectation.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Clause {
    /// `ROW.LEVEL.WORD`; the scale's start with `scale`.
    pub id: String,
    /// `overall` for the scale's, else the phase.
    pub row: String,
    /// 0 to 4.
    pub level: u8,
    /// The model's.
    pub words: String,
    /// How it weighs.
    pub kind: ClauseKind,
    /// All of them must be met. Empty: nothing measures it.
    pub needs: Vec<ClauseNeed>,
    /// Higher clauses of its row that hold it too, where it is a floor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subsumed_by: Vec<String>,
    /// Why nothing measures it, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attest_only: Option<String>,
}

/// What shows a clause or lifts a gate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum ClauseNeed {
    /// A measure, at 95 % or at the level-3 band of `band`.
    Measure {
        /// Its id.
        measure: String,
        /// The KPI whose band is the threshold.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        band: Option<String>,
    },
    /// A KPI, at its band of the clause's level.
    Kpi {
        /// Its id.
        kpi: String,
        /// Only a counter-example counts: nothing measured is nothing against it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counter: bool,
    },
    /// A case of the conformance set: passed when it last ran.
    Probe {
        /// Its id.
        probe: String,
    },
}

/// How a measure's counts are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Share of `num` in `den`.
    Share,
    /// `num` for each of `den`, and at least one.
    Every,
    /// No `num` at all: each is a counter-example.
    None,
}

/// What is counted.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Measure {
    /// Its id.
    pub id: String,
    /// What counts, in words.
    pub num: String,
    /// Of what, in words; empty where a single one counts.
    pub den: String,
    /// How the counts are judged.
    pub form: Form,
}

/// What a conformance case tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// The ledger itself.
    Ledger,
    /// The planner that is given.
    Planner,
    /// The executor that is given.
    Executor,
}

/// A case of the conformance set.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Case {
    /// Its id.
    pub id: String,
    /// The metric that its runs are counted under.
    pub metric: String,
    /// What it tries.
    pub driver: Driver,
    /// What is done and what must come of it.
    pub words: String,
}

/// An evidence gate, or the gating rule.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Gate {
    /// Its id.
    pub id: String,
    /// The model's.
    pub words: String,
    /// The highest level while it is shut; none for the gating rule.
    pub cap: Option<u8>,
    /// What opens it.
    pub needs: Vec<ClauseNeed>,
    /// The cap's reason, in our words.
    pub reason: String,
}

/// Unit of a KPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// %
    Percent,
    /// min
    Minutes,
    /// ms
    Milliseconds,
}

/// Which way a KPI improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// At least the bound.
    Higher,
    /// At most the bound.
    Lower,
}

/// A KPI with its bands.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Kpi {
    /// Its id.
    pub id: String,
    /// The model's line.
    pub words: String,
    /// What it is called.
    pub name: String,
    /// Its column of the comparison template.
    pub column: String,
    /// Its unit.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// Both bands, in the model's words: L3, L4.
    pub band_words: [String; 2],
    /// Bound for level 3, in `unit`.
    pub l3: u32,
    /// Bound for level 4, in `unit`.
    pub l4: u32,
}

/// An Atlas token.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct AtlasRow {
    /// `P/M`, …
    pub token: String,
    /// Its level.
    pub level: u8,
}

/// What a column of the comparison holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// Who is compared.
    Platform,
    /// A phase's level.
    Phase,
    /// The overall level.
    Overall,
    /// A KPI's value.
    Kpi,
    /// Where the evidence is.
    Links,
}

/// A column of the comparison template.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Column {
    /// Phase or KPI id; `platform`, `overall`, `evidence`.
    pub id: String,
    /// The model's.
    pub header: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// An item of the conformance checklist.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// The model's.
    pub words: String,
    /// Clauses that must hold.
    pub needs: Vec<String>,
    /// Measures of what it names and no clause does.
    #[serde(default)]
    pub measures: Vec<ClauseNeed>,
}

/// A minimal acceptance example.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Example {
    /// Its id.
    pub id: String,
    /// The model's.
    pub words: String,
}

/// A feature requirement.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Requirement {
    /// F1 to F5.
    pub id: String,
    /// The model's.
    pub words: String,
    /// Its acceptance criteria.
    pub acceptance: Vec<Criterion>,
}

/// An acceptance criterion.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Criterion {
    /// `FN.WORD`.
    pub id: String,
    /// The model's.
    pub words: String,
    /// The tests that show it, as `FILE::FUNCTION`.
    pub tests: Vec<String>,
    /// Why no test does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// A platform as the model rates it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Platform {
    /// Its name in small letters and dashes.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The rating.
    pub overall: u8,
    /// The level's label, as its note says it.
    pub label: String,
    /// Cap reason of the ratings table.
    pub cap_reason: String,
    /// What the model notes of it.
    pub notes: Vec<Note>,
}

/// A line of a platform's note.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Note {
    /// Which phase; none where the line speaks of all.
    pub phase: Option<String>,
    /// The model's.
    pub words: String,
}

/// A line of the model's summary.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Guidance {
    /// Its id.
    pub id: String,
    /// The level it leads to.
    pub level: Option<u8>,
    /// The model's.
    pub words: String,
}
