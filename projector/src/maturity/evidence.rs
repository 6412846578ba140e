//! From figures to clauses: which needs are met, by how much, and what is missing.
//!
//! The rules of measuring: a window of 90 days, at least 20 of whatever is counted, and a KPI's band as the threshold where there is one, else
//! 95 %. A conformance case counts by the last day on which it ran, and every run of that day must have passed. A counter-example needs no count.

use std::collections::BTreeMap;

use schemas::model::{self, Clause, ClauseNeed, Form, Gate, Item, Kpi, TOP};
use serde::Serialize;

use super::attestation::Attested;
use super::{COUNT_MIN, SHARE_MIN};
use crate::kpi::figure::Sums;
use crate::kpi::metric;

/// Numerator and denominator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// What counts.
    pub num: u64,
    /// Of what.
    pub den: u64,
}

/// All that a level is judged by.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// By measure or KPI.
    pub counts: BTreeMap<String, Count>,
    /// By environment: rollbacks with evidence, of changes that executed.
    pub environments: BTreeMap<String, Count>,
    /// By conformance case: passed, of the runs on the last day with any.
    pub cases: BTreeMap<String, Count>,
    /// Attestations that stand.
    pub attested: BTreeMap<String, Attested>,
}

/// One need, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Measure, KPI or case.
    pub id: &'static str,
    /// Whether it is met.
    pub met: bool,
    /// What was counted; absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,
    /// What is asked, in words.
    pub asks: String,
    /// What was found, in words.
    pub found: String,
}

impl Figures {
    /// The figures of a window: everything together, and by environment what executed and was rolled back there.
    pub fn of(sums: &Sums, environments: BTreeMap<String, Count>) -> Self {
        let mut counts: BTreeMap<_, _> =
            sums.totals.iter().map(|(name, total)| (name.clone(), Count { num: total.num, den: total.den })).collect();
        let drift = Count { num: sums.drift.covered, den: sums.drift.managed };
        counts.insert(metric::DRIFT_COVERAGE.to_owned(), drift);
        Self { counts, environments, ..Self::default() }
    }

    /// Takes the runs of conformance cases, oldest day first: of each case the last day counts.
    pub fn take_cases<'m>(&mut self, days: impl IntoIterator<Item = (&'m str, Count)>) {
        for (name, count) in days {
            let case = model::get().conformance.iter().find(|case| case.metric == name);
            if let Some(case) = case.filter(|_| count.den > 0) {
                self.cases.insert(case.id.clone(), count);
            }
        }
    }

    /// The needs of a clause, one by one.
    pub fn of_clause(&self, clause: &'static Clause) -> Vec<Judged> {
        clause.needs.iter().map(|need| self.judge(need, clause.level)).collect()
    }

    /// What an item of the checklist asks for beside its clauses.
    pub fn of_item(&self, item: &'static Item) -> Vec<Judged> {
        item.measures.iter().map(|need| self.judge(need, TOP)).collect()
    }

    /// The needs of a gate.
    pub fn of_gate(&self, gate: &'static Gate) -> Vec<Judged> {
        let above = gate.cap.map_or(TOP, |cap| cap + 1);
        gate.needs.iter().map(|need| self.judge(need, above)).collect()
    }

    /// Whether what was counted shows a clause. One without needs nothing shows.
    pub fn measures(&self, clause: &'static Clause) -> bool {
        !clause.needs.is_empty() && clause.needs.iter().all(|need| self.judge(need, clause.level).met)
    }

    /// Whether a gate is open; attestations do not count here.
    pub fn opens(&self, gate: &'static Gate) -> bool {
        self.of_gate(gate).iter().all(|judged| judged.met)
    }

    fn judge(&self, need: &'static ClauseNeed, level: u8) -> Judged {
        match need {
            ClauseNeed::Probe { probe } => self.case(probe),
            ClauseNeed::Kpi { kpi, counter } => match model::get().kpi(kpi) {
                Some(row) => self.kpi(row, level, *counter),
                None => unknown(kpi),
            },
            ClauseNeed::Measure { measure, band } => match model::get().measure(measure) {
                Some(row) if row.form == Form::None => self.no_counter_example(&row.id, &row.num),
                Some(row) if row.form == Form::Every => self.every_environment(&row.id, &row.num, level),
                Some(row) => {
                    let band = band.as_deref().and_then(|id| model::get().kpi(id));
                    let least = band.map_or(SHARE_MIN, |kpi| kpi.bound(level));
                    self.share(&row.id, least, &format!("{} {}", row.den, row.num))
                }
                None => unknown(measure),
            },
        }
    }

    fn share(&self, id: &'static str, least: f64, words: &str) -> Judged {
        let count = self.counts.get(id).copied().filter(|count| count.den > 0);
        let enough = count.is_some_and(|count| count.den >= COUNT_MIN);
        let met = enough && count.is_some_and(|count| percent(count) >= least);
        let asks = format!("≥ {least} % of {words}, of {COUNT_MIN} or more");
        Judged { id, met, count, asks, found: told(count) }
    }

    fn kpi(&self, kpi: &'static Kpi, level: u8, counter: bool) -> Judged {
        let count = self.counts.get(&kpi.id).copied().filter(|count| count.den > 0);
        let within = count.is_some_and(|count| kpi.within(level, percent(count)));
        let enough = count.is_some_and(|count| count.den >= COUNT_MIN);
        let band = &kpi.band_words[usize::from(level >= TOP)];
        let asks = if counter {
            format!("{} {band} wherever it is measured", kpi.name)
        } else {
            format!("{} {band}, of {COUNT_MIN} or more", kpi.name)
        };
        let met = if counter { count.is_none() || within } else { within && enough };
        Judged { id: &kpi.id, met, count, asks, found: told(count) }
    }

    fn case(&self, id: &'static str) -> Judged {
        let count = self.cases.get(id).copied().filter(|count| count.den > 0);
        let met = count.is_some_and(|count| count.num == count.den);
        let found = match count {
            None => "it did not run".to_owned(),
            Some(count) if met => format!("passed, {} of {}", count.num, count.den),
            Some(count) => format!("failed, {} of {}", count.den - count.num, count.den),
        };
        Judged { id, met, count, asks: format!("conformance case {id} passed when it last ran"), found }
    }

    fn no_counter_example(&self, id: &'static str, words: &str) -> Judged {
        let count = self.counts.get(id).copied().filter(|count| count.num > 0);
        let found = count.map_or_else(|| "none".to_owned(), |count| count.num.to_string());
        Judged { id, met: count.is_none(), count, asks: format!("none of: {words}"), found }
    }

    /// At least one; for the top level one in each environment in which anything executed.
    fn every_environment(&self, id: &'static str, words: &str, level: u8) -> Judged {
        let executed = || self.environments.iter().filter(|(_, count)| count.den > 0);
        let with = executed().filter(|(_, count)| count.num > 0).count();
        let without: Vec<_> = executed().filter(|(_, count)| count.num == 0).map(|(name, _)| name.as_str()).collect();
        let met = with > 0 && (level < TOP || without.is_empty());
        let count = Some(Count { num: with as u64, den: executed().count() as u64 }).filter(|count| count.den > 0);
        let found = match count {
            None => "nothing executed".to_owned(),
            Some(_) if without.is_empty() => format!("{with} of {with}"),
            Some(count) => format!("{} of {}; none in {}", count.num, count.den, without.join(", ")),
        };
        Judged { id, met, count, asks: format!("all {words}"), found }
    }
}

/// The data is compiled in and tested to name only what exists.
fn unknown(id: &'static str) -> Judged {
    Judged { id, met: false, count: None, asks: String::new(), found: "unknown".to_owned() }
}

#[expect(clippy::cast_precision_loss, reason = "counts of events, far below 2^53")]
pub(super) fn percent(count: Count) -> f64 {
    count.num as f64 * 100.0 / count.den as f64
}

fn told(count: Option<Count>) -> String {
    count.map_or_else(
        || "not measured".to_owned(),
        |count| format!("{:.1} % ({} of {})", percent(count), count.num, count.den),
    )
}
