//! The Universal Provisioning Model v2 as data: every table and list of its text, parsed once.
//!
//! The text itself is `model/UPM-v2.md`, verbatim; the rows are `model/*.json`, each with an id and the model's own words. A test
//! holds every row's words to be in the text, and every line of the text's tables and lists to be in a row. Whoever needs a level, a band or a
//! clause asks here: nothing of the model is repeated in code.
//!
//! Left out: what a measure counts in an entry (`projector::maturity`), and how platforms are assessed ([`crate::assessment`]).

mod rows;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use serde::Deserialize;

pub use rows::{
    AtlasRow, Better, Case, Clause, ClauseKind, ClauseNeed, Column, ColumnKind, Criterion, Driver, Example,
    Expectation, Form, Gate, Guidance, Item, Kpi, Level, Measure, Note, PhaseRow, Platform, Requirement, Unit,
};

/// The model's text, as published.
pub const TEXT: &str = include_str!("../model/UPM-v2.md");

/// The highest level of the scale.
pub const TOP: u8 = 4;

/// The row of clauses that the overall level is read off.
pub const OVERALL: &str = "overall";

/// All tables.
#[derive(Debug)]
pub struct Model {
    /// The five provisioning phases.
    pub phases: Vec<PhaseRow>,
    /// The maturity scale, from level 0.
    pub scale: Vec<Level>,
    /// The expectations of each phase at each level.
    pub expectations: Vec<Expectation>,
    /// The clauses that the cells of `scale` and `expectations` consist of.
    pub clauses: Vec<Clause>,
    /// What is counted to show clauses.
    pub measures: Vec<Measure>,
    /// Cases of `upm conformance run`.
    pub conformance: Vec<Case>,
    /// The evidence gates, and the gating rule, which caps nothing.
    pub gates: Vec<Gate>,
    /// The ten KPIs with their bands.
    pub kpis: Vec<Kpi>,
    /// Atlas tokens.
    pub atlas: Vec<AtlasRow>,
    /// The columns of the comparison template.
    pub comparison: Vec<Column>,
    /// The conformance checklist.
    pub checklist: Vec<Item>,
    /// Minimal acceptance examples.
    pub examples: Vec<Example>,
    /// F1 to F5.
    pub requirements: Vec<Requirement>,
    /// The 26 platforms, as the model rates them.
    pub platforms: Vec<Platform>,
    /// Its summary.
    pub guidance: Vec<Guidance>,
}

#[derive(Deserialize)]
struct Table<T> {
    rows: Vec<T>,
}

/// `text` is one of the files that are compiled in.
fn rows<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    #[expect(clippy::expect_used, reason = "the files are compiled in, and a test reads them all")]
    serde_json::from_str::<Table<T>>(text).expect("a table of the model").rows
}

static MODEL: LazyLock<Model> = LazyLock::new(|| Model {
    phases: rows(include_str!("../model/phases.json")),
    scale: rows(include_str!("../model/scale.json")),
    expectations: rows(include_str!("../model/expectations.json")),
    clauses: rows(include_str!("../model/clauses.json")),
    measures: rows(include_str!("../model/measures.json")),
    conformance: rows(include_str!("../model/conformance.json")),
    gates: rows(include_str!("../model/gates.json")),
    kpis: rows(include_str!("../model/kpis.json")),
    atlas: rows(include_str!("../model/atlas.json")),
    comparison: rows(include_str!("../model/comparison.json")),
    checklist: rows(include_str!("../model/checklist.json")),
    examples: rows(include_str!("../model/examples.json")),
    requirements: rows(include_str!("../model/requirements.json")),
    platforms: rows(include_str!("../model/platforms.json")),
    guidance: rows(include_str!("../model/guidance.json")),
});

/// The tables.
pub fn get() -> &'static Model {
    &MODEL
}

impl Model {
    /// A clause by its id.
    pub fn clause(&self, id: &str) -> Option<&Clause> {
        self.clauses.iter().find(|clause| clause.id == id)
    }

    /// A measure by its id.
    pub fn measure(&self, id: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.id == id)
    }

    /// A KPI by its id.
    pub fn kpi(&self, id: &str) -> Option<&Kpi> {
        self.kpis.iter().find(|kpi| kpi.id == id)
    }

    /// A case of the conformance set by its id.
    pub fn case(&self, id: &str) -> Option<&Case> {
        self.conformance.iter().find(|case| case.id == id)
    }

    /// A platform by its id or its name, in any case.
    pub fn platform(&self, word: &str) -> Option<&Platform> {
        self.platforms.iter().find(|platform| platform.id == word || platform.name.eq_ignore_ascii_case(word))
    }

    /// The rows that clauses belong to: `overall`, then the phases.
    pub fn rows(&self) -> impl Iterator<Item = &str> {
        std::iter::once(OVERALL).chain(self.phases.iter().map(|phase| phase.id.as_str()))
    }

    /// The clauses of one row.
    pub fn clauses_of<'a>(&'a self, row: &'a str) -> impl Iterator<Item = &'a Clause> {
        self.clauses.iter().filter(move |clause| clause.row == row)
    }

    /// What a level is called; empty for a level that the scale does not have.
    pub fn label(&self, level: u8) -> &str {
        self.scale.iter().find(|row| row.level == level).map_or("", |row| &row.label)
    }

    /// The level that an Atlas token stands for.
    pub fn level_of_token(&self, token: &str) -> Option<u8> {
        self.atlas.iter().find(|row| row.token.eq_ignore_ascii_case(token)).map(|row| row.level)
    }

    /// The Atlas token of a level; empty for a level that the scale does not have.
    pub fn token_of_level(&self, level: u8) -> &str {
        self.atlas.iter().find(|row| row.level == level).map_or("", |row| &row.token)
    }
}

impl Kpi {
    /// The bound of its band for a level: L4's for 4, L3's for every other.
    pub fn bound(&self, level: u8) -> f64 {
        f64::from(if level >= TOP { self.l4 } else { self.l3 })
    }

    /// Whether a value lies within the band of a level.
    pub fn within(&self, level: u8, value: f64) -> bool {
        match self.better {
            Better::Higher => value >= self.bound(level),
            Better::Lower => value <= self.bound(level),
        }
    }
}
