//! All KPIs from all accounts at once: the definition that every incremental form has to equal, and the way to measure named changes.

use std::collections::{BTreeMap, BTreeSet};

use super::drift::{Covered, Resource, Stock};
use super::figure::{Sums, Total};
use super::outage::{Trouble, mends};
use super::values::{Ranked, Values};
use super::{Context, Day, FirstPlan, Sample, Window, compared_plans, metric, samples};
use crate::account::{Account, Group, Turn};
use schemas::ids::{ChangeClass, ChangeId, Environment};

/// Which changes to count: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this owner.
    pub owner: Option<String>,
    /// In this environment.
    pub environment: Option<Environment>,
    /// Of this class.
    pub class: Option<ChangeClass>,
}

impl Filter {
    /// Whether a group passes.
    pub fn passes(&self, group: &Group) -> bool {
        (self.owner.is_none() || self.owner == group.owner)
            && (self.environment.is_none() || self.environment == group.environment)
            && (self.class.is_none() || self.class == group.class)
    }

    /// Whether it lets everything pass.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Every change of a log, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// The samples of each change, in the order of the accounts.
    pub changes: Vec<(ChangeId, Group, Vec<Sample>)>,
    turns: Vec<Turn>,
}

impl Scratch {
    /// Of all accounts of a log.
    pub fn of(accounts: &[Account]) -> Self {
        let mut first_plans: BTreeMap<[u8; 16], FirstPlan> = BTreeMap::new();
        let mut mended: BTreeMap<&ChangeId, Vec<Trouble>> = BTreeMap::new();
        let mut turns = Vec::new();
        for account in accounts {
            for (inputs, made, _) in compared_plans(account) {
                let first = first_plans.entry(inputs).or_insert(made);
                if made.index < first.index {
                    *first = made;
                }
            }
            for fixed in &account.fixes {
                mended.entry(fixed).or_default().extend(mends(account));
            }
            turns.extend(account.turns.iter().cloned());
        }
        // Within one entry the order of the account.
        turns.sort_by_key(|turn| turn.index);
        let of_change = |account: &Account| {
            let mends = mended.get(&account.change).cloned().unwrap_or_default();
            let known = compared_plans(account).filter_map(|(inputs, _, _)| Some((inputs, *first_plans.get(&inputs)?)));
            let context = Context { first_plans: known.collect(), mends };
            (account.change.clone(), account.group.clone(), samples(account, &context))
        };
        Self { changes: accounts.iter().map(of_change).collect(), turns }
    }

    /// The sums of a window.
    pub fn sums(&self, window: Window, filter: &Filter) -> Sums {
        let mut sums = Sums { drift: self.drift(window, filter), ..Sums::default() };
        let mut durations: BTreeMap<&str, Values> = BTreeMap::new();
        let changes = self.changes.iter().filter(|(_, group, _)| filter.passes(group));
        for sample in changes.flat_map(|(_, _, samples)| samples).filter(|sample| window.contains(sample.day)) {
            sums.totals.entry(sample.metric.to_owned()).or_default().add(&Total::of(sample));
            if let Some(value) = sample.value_us {
                durations.entry(sample.metric).or_default().add(value);
            }
        }
        for name in metric::DURATIONS {
            let bytes = durations.get(name).map(Values::encode).unwrap_or_default();
            let ranked = Ranked::over([bytes.as_slice()]).unwrap_or_default();
            sums.percentiles.insert(name.to_owned(), ranked.percentiles([50, 95]));
        }
        sums
    }

    /// The days that have anything, in their order.
    pub fn days(&self) -> BTreeSet<Day> {
        let samples = self.changes.iter().flat_map(|(_, _, samples)| samples.iter().map(|sample| sample.day));
        samples.chain(self.turns.iter().map(|turn| Day::of(turn.at))).collect()
    }

    fn drift(&self, window: Window, filter: &Filter) -> Covered {
        let mut resources: BTreeMap<&str, Resource> = BTreeMap::new();
        for turn in self.turns.iter().filter(|turn| Day::of(turn.at) < window.to) {
            resources.entry(turn.resource.as_str()).or_default().apply(turn);
        }
        let mut stock = Stock::default();
        for resource in resources.values().filter(|resource| filter.passes(&resource.group)) {
            stock.count(resource, true);
        }
        stock.covered(window)
    }
}
