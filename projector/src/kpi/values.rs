//! Durations of a day, kept one by one in few bytes, so that percentiles over months are exact and quick.
//!
//! A [`Values`] is a multiset of microseconds, encoded as buckets of values that are alike (16 to each power of two): bucket, number of values,
//! length, then the values as steps. To find the value of a rank among many days, the buckets' numbers are added up first and only the one
//! bucket with the rank in it is read. Numbers are LEB128.

use std::collections::BTreeMap;

/// A multiset of microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<u64, u64>);

impl Values {
    /// Adds a value once.
    pub fn add(&mut self, value: u64) {
        *self.0.entry(value).or_default() += 1;
    }

    /// Takes a value out once; false where it is not there.
    pub fn remove(&mut self, value: u64) -> bool {
        let Some(count) = self.0.get_mut(&value) else { return false };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&value);
        }
        true
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buckets: BTreeMap<u64, (u64, Vec<u8>, u64)> = BTreeMap::new();
        for (value, count) in &self.0 {
            let bucket = bucket_of(*value);
            let (total, body, before) = buckets.entry(bucket).or_insert_with(|| (0, Vec::new(), floor_of(bucket)));
            *total += count;
            push(body, value - *before);
            push(body, *count);
            *before = *value;
        }
        let mut before = 0;
        for (bucket, (total, body, _)) in buckets {
            push(&mut bytes, bucket - before);
            push(&mut bytes, total);
            push(&mut bytes, body.len() as u64);
            bytes.extend(body);
            before = bucket;
        }
        bytes
    }

    /// Reads [`Self::encode`] back; `None` for other bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut values = BTreeMap::new();
        for bucket in buckets(bytes) {
            let Bucket { number: bucket, body, .. } = bucket?;
            each(bucket, body, |value, count| {
                values.insert(value, count);
            })?;
        }
        Some(Self(values))
    }
}

impl FromIterator<u64> for Values {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut made = Self::default();
        values.into_iter().for_each(|value| made.add(value));
        made
    }
}

/// Percentiles over the values of many days.
#[derive(Clone, Debug, Default)]
pub struct Ranked<'a> {
    days: Vec<&'a [u8]>,
    /// Values in each bucket, by its number.
    buckets: Vec<u64>,
    count: u64,
}

/// Where the value of a rank is.
struct Place {
    bucket: u64,
    /// How many values of the bucket it takes.
    rank: u64,
    /// What is in it: values, and how often.
    alike: Vec<(u64, u64)>,
}

impl<'a> Ranked<'a> {
    /// Over the bytes of some days; `None` where they are none of [`Values::encode`].
    pub fn over(days: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut ranked = Self { buckets: vec![0; BUCKETS], ..Self::default() };
        for bytes in days {
            for bucket in buckets(bytes) {
                let Bucket { number, total, .. } = bucket?;
                let count = ranked.buckets.get_mut(usize::try_from(number).ok()?)?;
                *count = count.saturating_add(total);
                ranked.count = ranked.count.saturating_add(total);
            }
            ranked.days.push(bytes);
        }
        Some(ranked)
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The nearest-rank percentiles: of each the smallest value that at least so many percent of all do not exceed. `None` without values. All of them by
    /// one walk over the days, because a day of many groups has thousands of buckets.
    pub fn percentiles<const N: usize>(&self, percents: [u64; N]) -> [Option<u64>; N] {
        let mut places = percents.map(|percent| self.place(percent));
        let last = places.iter().flatten().map(|place| place.bucket).max();
        let mut sound = true;
        for bytes in &self.days {
            for found in buckets(bytes).flatten().take_while(|found| Some(found.number) <= last) {
                for place in places.iter_mut().flatten().filter(|place| place.bucket == found.number) {
                    let read = each(found.number, found.body, |value, count| place.alike.push((value, count)));
                    sound &= read.is_some();
                }
            }
        }
        places.map(|place| {
            let Place { rank, mut alike, .. } = place.filter(|_| sound)?;
            alike.sort_unstable();
            let mut before = 0_u64;
            alike.into_iter().find_map(|(value, count)| {
                before = before.saturating_add(count);
                (before >= rank).then_some(value)
            })
        })
    }

    fn place(&self, percent: u64) -> Option<Place> {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut left = u64::try_from(rank).ok()?;
        for (bucket, count) in (0..).zip(&self.buckets) {
            match left.checked_sub(*count) {
                Some(rest) if rest > 0 => left = rest,
                _ => return Some(Place { bucket, rank: left, alike: Vec::new() }),
            }
        }
        None
    }
}

/// How many buckets there are.
const BUCKETS: usize = 976;

struct Bucket<'a> {
    number: u64,
    total: u64,
    body: &'a [u8],
}

fn buckets(mut bytes: &[u8]) -> impl Iterator<Item = Option<Bucket<'_>>> {
    let mut at = 0_u64;
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let mut next = || {
            let (step, total, length) = (take(&mut bytes)?, take(&mut bytes)?, take(&mut bytes)?);
            let (body, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
            (at, bytes) = (at.checked_add(step)?, rest);
            Some(Bucket { number: at, total, body })
        };
        let found = next();
        if found.is_none() {
            bytes = &[];
        }
        Some(found)
    })
}

fn each(bucket: u64, mut body: &[u8], mut found: impl FnMut(u64, u64)) -> Option<()> {
    let mut value = floor_of(bucket);
    while !body.is_empty() {
        value = value.checked_add(take(&mut body)?)?;
        found(value, take(&mut body)?);
    }
    Some(())
}

/// Values below 16 have a bucket each; above, the power of two and the four bits behind its first.
fn bucket_of(value: u64) -> u64 {
    let bits = u64::from(64 - value.leading_zeros());
    if bits <= 4 { value } else { (bits - 4) * 16 + (value >> (bits - 5) & 15) }
}

/// The smallest value of a bucket.
fn floor_of(bucket: u64) -> u64 {
    if bucket < 16 {
        bucket
    } else {
        (16 + bucket % 16).checked_shl(u32::try_from(bucket / 16 - 1).unwrap_or(64)).unwrap_or(u64::MAX)
    }
}

/// Appends a number as LEB128.
pub fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 127 {
        bytes.push((number & 127) as u8 | 128);
        number >>= 7;
    }
    bytes.push((number & 127) as u8);
}

/// Takes a number off; `None` where there is none.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 127) << shift;
        if first & 128 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![0..40_u64, 0..3_000_000_u64, any::<u64>()]
    }

    proptest! {
        #[test]
        fn buckets_hold_their_values(value in value()) {
            let bucket = bucket_of(value);
            prop_assert!(floor_of(bucket) <= value);
            prop_assert!(bucket == bucket_of(u64::MAX) || floor_of(bucket + 1) > value);
            prop_assert!(bucket < BUCKETS as u64 && bucket_of(u64::MAX) + 1 == BUCKETS as u64);
        }

        #[test]
        fn percentiles_are_those_of_the_sorted_list(
            days in prop::collection::vec(prop::collection::vec(value(), 0..40), 0..6), percent in 1..=100_u64,
        ) {
            let encoded: Vec<Vec<u8>> = days.iter().map(|day| day.iter().copied().collect::<Values>().encode()).collect();
            for (day, bytes) in days.iter().zip(&encoded) {
                prop_assert_eq!(Values::decode(bytes), Some(day.iter().copied().collect::<Values>()));
            }
            let ranked = Ranked::over(encoded.iter().map(Vec::as_slice)).unwrap();
            let mut all: Vec<u64> = days.into_iter().flatten().collect();
            all.sort_unstable();
            prop_assert_eq!(ranked.count(), all.len() as u64);
            let rank = (all.len() * usize::try_from(percent).unwrap()).div_ceil(100);
            let least = all.first().copied();
            prop_assert_eq!(ranked.percentiles([percent, 0]), [rank.checked_sub(1).map(|at| all[at]), least]);
        }

        #[test]
        fn other_bytes_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Values::decode(&bytes);
            if let Some(ranked) = Ranked::over([bytes.as_slice()]) {
                let _ = ranked.percentiles([50, 95]);
            }
        }
    }

    #[test]
    fn what_is_added_can_be_taken_out() {
        let mut values: Values = [5, 5, 7].into_iter().collect();
        assert!(values.remove(5) && values.remove(5) && !values.remove(5) && values.remove(7));
        assert!(values.is_empty() && values.encode().is_empty());
    }
}
