//! From sums to figures: value, of how much, which band, and what is shown apart.

use std::collections::BTreeMap;

use schemas::model::{Better, Kpi, Unit};
use serde::Serialize;

use super::drift::Covered;
use super::{Sample, metric};

/// The samples of one metric, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// What was reached.
    pub num: u64,
    /// Of how much.
    pub den: u64,
    /// Of all durations, microseconds.
    pub sum_us: u64,
}

impl Total {
    /// Of one sample.
    pub fn of(sample: &Sample) -> Self {
        Self { num: sample.num.into(), den: sample.den.into(), sum_us: sample.value_us.unwrap_or(0) }
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.num += other.num;
        self.den += other.den;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }
}

/// Everything that a window's figures are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// By metric.
    pub totals: BTreeMap<String, Total>,
    /// P50 and P95 of each duration, microseconds.
    pub percentiles: BTreeMap<String, [Option<u64>; 2]>,
    /// Resources.
    pub drift: Covered,
}

/// Which band of the model a figure reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Band {
    /// That of level 4.
    L4,
    /// That of level 3.
    L3,
    /// Neither.
    #[serde(rename = "below")]
    Below,
}

impl Band {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L4 => "L4",
            Self::L3 => "L3",
            Self::Below => "below",
        }
    }
}

/// A KPI in a window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The model's id.
    pub kpi: String,
    /// What it is called.
    pub name: String,
    /// What the value is in.
    pub unit: Unit,
    /// Absent where nothing was measured: that is neither 0 nor 100 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Whether anything was.
    pub measured: bool,
    /// What was reached; of durations, how many were measured.
    pub numerator: u64,
    /// Of how much; of durations, how many were measured.
    pub denominator: u64,
    /// The band reached; absent where nothing was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
    /// The bound of level 3, in the unit.
    pub l3: u32,
    /// The bound of level 4, in the unit.
    pub l4: u32,
    /// What stands beside it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub apart: BTreeMap<&'static str, f64>,
}

/// The figures of the model's ten KPIs, in its order.
pub fn figures(sums: &Sums) -> Vec<Figure> {
    schemas::model::get().kpis.iter().map(|kpi| figure(kpi, sums)).collect()
}

fn figure(kpi: &Kpi, sums: &Sums) -> Figure {
    let total = sums.totals.get(&kpi.id).copied().unwrap_or_default();
    let percentiles = sums.percentiles.get(&kpi.id).copied().unwrap_or_default();
    let exact = match (kpi.unit, kpi.id.as_str()) {
        (_, metric::DRIFT_COVERAGE) => Exact::new(sums.drift.covered * 100, sums.drift.managed),
        (Unit::Percent, _) => Exact::new(total.num * 100, total.den),
        (Unit::Minutes, _) => Exact::new(total.sum_us, total.den * 60_000_000),
        (Unit::Milliseconds, _) => percentiles[1].and_then(|us| Exact::new(us, 1_000)),
    };
    let (numerator, denominator) = match kpi.id.as_str() {
        metric::DRIFT_COVERAGE => (sums.drift.covered, sums.drift.managed),
        _ => (total.num, total.den),
    };
    Figure {
        kpi: kpi.id.clone(),
        name: kpi.name.clone(),
        unit: kpi.unit,
        value: exact.map(|exact| exact.shown(kpi)),
        measured: exact.is_some(),
        numerator,
        denominator,
        band: exact.map(|exact| exact.band(kpi)),
        l3: kpi.l3,
        l4: kpi.l4,
        apart: apart(kpi, sums, percentiles),
    }
}

fn apart(kpi: &Kpi, sums: &Sums, percentiles: [Option<u64>; 2]) -> BTreeMap<&'static str, f64> {
    let mut apart = BTreeMap::new();
    let total = |name: &str| sums.totals.get(name).copied().unwrap_or_default();
    let mut put = |name: &'static str, number: u64| {
        apart.insert(name, float(number));
    };
    match kpi.id.as_str() {
        metric::PLAN_DETERMINISM => {
            put("weak", total(metric::PLAN_DETERMINISM_WEAK).den);
            put("weak_equal", total(metric::PLAN_DETERMINISM_WEAK).num);
        }
        metric::APPROVAL_COVERAGE => {
            for name in metric::GRADES {
                put(last_word(name), total(name).den);
            }
            put("emergency", total(metric::APPROVAL_EMERGENCY).den);
            put("emergency_approved", total(metric::APPROVAL_EMERGENCY).num);
        }
        metric::MTTR => {
            put("open", total(metric::MTTR_OPEN).den);
            put("clocks_differ", total(metric::MTTR_CLOCKS_DIFFER).den);
        }
        metric::EVIDENCE => {
            for name in metric::LACKS {
                put(last_word(name), total(name).den);
            }
        }
        _ => {}
    }
    let per_unit = if kpi.unit == Unit::Minutes { 60_000_000 } else { 1_000 };
    for (name, value) in ["median", "p95"].into_iter().zip(percentiles) {
        if let Some(exact) = value.and_then(|us| Exact::new(us, per_unit)) {
            apart.insert(name, exact.shown(kpi));
        }
    }
    apart
}

fn last_word(name: &'static str) -> &'static str {
    name.rsplit_once('.').map_or(name, |(_, word)| word)
}

/// A quotient, compared without rounding.
#[derive(Clone, Copy)]
struct Exact {
    over: u64,
    under: u64,
}

impl Exact {
    /// `None` of nothing.
    fn new(over: u64, under: u64) -> Option<Self> {
        (under > 0).then_some(Self { over, under })
    }

    fn band(self, kpi: &Kpi) -> Band {
        let holds = |bound: u32| {
            let bound = u128::from(bound) * u128::from(self.under);
            match kpi.better {
                Better::Higher => u128::from(self.over) >= bound,
                Better::Lower => u128::from(self.over) <= bound,
            }
        };
        match (holds(kpi.l4), holds(kpi.l3)) {
            (true, _) => Band::L4,
            (false, true) => Band::L3,
            (false, false) => Band::Below,
        }
    }

    /// With two digits behind the point, rounded to the worse side: 99.996 % is never shown as 100 %.
    fn shown(self, kpi: &Kpi) -> f64 {
        let (over, under) = (u128::from(self.over) * 100, u128::from(self.under));
        let hundredths = match kpi.better {
            Better::Higher => over / under,
            Better::Lower => over.div_ceil(under),
        };
        float(u64::try_from(hundredths).unwrap_or(u64::MAX)) / 100.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and hundredths far below 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}
