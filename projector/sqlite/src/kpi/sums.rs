//! What a chunk changes in the sums of days: gathered first, so that a row is written once a chunk.

use std::collections::BTreeMap;

use projector::kpi::values::Values;
use projector::kpi::{Day, Sample, metric};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Names, Numbered, damaged, day_number};
use crate::error::ViewError;

/// By a metric's number: numerator, denominator, sum of durations.
type Sums = Vec<[i64; 3]>;

#[derive(Default)]
pub(super) struct Deltas {
    /// By group and day; all groups together are added up in the end.
    sums: BTreeMap<(i64, Day), Sums>,
    /// Metric, group, day: how often each value comes or goes.
    values: BTreeMap<(i64, i64, Day), BTreeMap<u64, i64>>,
    /// Metric, day, change: what stood there, and what stands there now.
    changes: BTreeMap<(i64, Day, u64), [Added; 2]>,
}

/// What one change adds to a metric on a day.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Added {
    total: [i64; 3],
    against: bool,
}

impl Deltas {
    /// A change goes from some samples in one group to others in another.
    pub(super) fn change(
        &mut self,
        names: &Names,
        first_index: u64,
        before: (i64, &[Numbered]),
        now: (i64, &[Numbered]),
    ) {
        for ((group, samples), sign) in [(before, -1), (now, 1)] {
            self.add(group, samples, sign);
            let mut by_place: BTreeMap<(i64, Day), Added> = BTreeMap::new();
            for (number, sample) in samples {
                let Some(metric) = names.known.get(number) else { continue };
                if metric.values
                    && let Some(value) = sample.value_us
                {
                    *self.values.entry((*number, group, sample.day)).or_default().entry(value).or_default() += sign;
                }
                if metric.changes {
                    let added = by_place.entry((*number, sample.day)).or_default();
                    for (sum, part) in added.total.iter_mut().zip(parts(sample)) {
                        *sum = sum.saturating_add(part);
                    }
                    added.against |= metric::counts_against(sample.metric, sample.num.into(), sample.den.into());
                }
            }
            self.note(first_index, &by_place, sign > 0);
        }
    }

    /// A change may come twice in a chunk: what stood before the chunk is what came first, what stands now came last.
    fn note(&mut self, first_index: u64, by_place: &BTreeMap<(i64, Day), Added>, now: bool) {
        for ((metric, day), added) in by_place {
            let place = (*metric, *day, first_index);
            if now {
                self.changes.entry(place).or_default()[1] = *added;
            } else {
                self.changes.entry(place).or_insert([*added, Added::default()])[1] = Added::default();
            }
        }
    }

    /// The days whose sums change.
    pub(super) fn days(&self) -> impl Iterator<Item = Day> {
        let changed = self.sums.iter().filter(|(_, sums)| sums.iter().any(|sum| *sum != [0; 3]));
        changed.map(|((_, day), _)| *day)
    }

    /// Day by day, because a change has some sixty samples on one to three days.
    fn add(&mut self, group: i64, samples: &[Numbered], sign: i64) {
        let mut days: Vec<Day> = samples.iter().map(|(_, sample)| sample.day).collect();
        days.sort_unstable();
        days.dedup();
        for day in days {
            let sums = self.sums.entry((group, day)).or_default();
            for (number, sample) in samples.iter().filter(|(_, sample)| sample.day == day) {
                let signed = parts(sample).map(|part| sign.saturating_mul(part));
                add_to(sums, usize::try_from(*number).unwrap_or_default(), signed);
            }
        }
    }

    pub(super) fn write(self, transaction: &Transaction<'_>) -> Result<(), ViewError> {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO kpi_sums VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET num = num + excluded.num, \
             den = den + excluded.den, sum_us = sum_us + excluded.sum_us",
        )?;
        let mut all: BTreeMap<(i64, Day), Sums> = BTreeMap::new();
        for ((_, day), sums) in &self.sums {
            let together = all.entry((0, *day)).or_default();
            sums.iter().enumerate().for_each(|(metric, parts)| add_to(together, metric, *parts));
        }
        for ((group, day), sums) in all.into_iter().chain(self.sums) {
            for ([num, den, sum], metric) in sums.into_iter().zip(0_i64..) {
                if (num, den, sum) != (0, 0, 0) {
                    upsert.execute(params![group, day_number(day), metric, num, den, sum])?;
                }
            }
        }
        write_values(transaction, self.values)?;
        write_changes(transaction, self.changes)
    }
}

fn add_to(sums: &mut Sums, metric: usize, parts: [i64; 3]) {
    if sums.len() <= metric {
        sums.resize(metric + 1, [0; 3]);
    }
    for (sum, part) in sums[metric].iter_mut().zip(parts) {
        *sum = sum.saturating_add(part);
    }
}

/// Numerator, denominator, microseconds.
fn parts(sample: &Sample) -> [i64; 3] {
    let value = sample.value_us.map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX));
    [sample.num.into(), sample.den.into(), value]
}

fn write_changes(
    transaction: &Transaction<'_>,
    changes: BTreeMap<(i64, Day, u64), [Added; 2]>,
) -> Result<(), ViewError> {
    let mut put =
        transaction.prepare_cached("INSERT OR REPLACE INTO kpi_change_rows VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut delete = transaction
        .prepare_cached("DELETE FROM kpi_change_rows WHERE metric = ?1 AND day = ?2 AND first_index = ?3")?;
    for ((metric, day, first_index), [_, now]) in changes.into_iter().filter(|(_, [before, now])| before != now) {
        let [num, den, sum_us] = now.total;
        if now == Added::default() {
            delete.execute(params![metric, day_number(day), first_index])?;
        } else {
            put.execute(params![metric, day_number(day), first_index, num, den, sum_us, now.against])?;
        }
    }
    Ok(())
}

fn write_values(
    transaction: &Transaction<'_>,
    values: BTreeMap<(i64, i64, Day), BTreeMap<u64, i64>>,
) -> Result<(), ViewError> {
    let mut select =
        transaction.prepare_cached("SELECT body FROM kpi_values WHERE metric = ?1 AND grp = ?2 AND day = ?3")?;
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO kpi_values VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET body = excluded.body",
    )?;
    for ((metric, group, day), steps) in values {
        if steps.values().all(|step| *step == 0) {
            continue;
        }
        let found = select.query_row(params![metric, group, day_number(day)], |row| row.get::<_, Vec<u8>>(0));
        let body = found.optional()?.unwrap_or_default();
        let lost = || damaged("durations", &format!("metric {metric} on day {}", day.0));
        let mut known = Values::decode(&body).ok_or_else(lost)?;
        for (value, step) in steps {
            for _ in 0..step {
                known.add(value);
            }
            for _ in step..0 {
                if !known.remove(value) {
                    return Err(lost());
                }
            }
        }
        upsert.execute(params![metric, group, day_number(day), known.encode()])?;
    }
    Ok(())
}
