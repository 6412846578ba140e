//! Bytes of samples and troubles: numbers as LEB128, one after the other.

use projector::kpi::outage::Trouble;
use projector::kpi::values::{push, take};
use projector::kpi::{Day, Sample};

use super::Numbered;

/// Owner, environment and class as one text.
pub(super) fn group_key(owner: Option<&str>, environment: Option<&str>, class: Option<&str>) -> String {
    let part = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), |text| format!("{}:{text}", text.len()));
    [owner, environment, class].map(part).join(",")
}

pub(super) fn push_sample(bytes: &mut Vec<u8>, metric: i64, sample: &Sample) {
    push(bytes, metric.unsigned_abs());
    push(bytes, sample.day.0.into());
    push(bytes, sample.num.into());
    push(bytes, sample.den.into());
    push(bytes, sample.value_us.map_or(0, |value| value.saturating_add(1)));
}

pub(super) fn take_sample(bytes: &mut &[u8], name: impl Fn(i64) -> Option<&'static str>) -> Option<Numbered> {
    let number = i64::try_from(take(bytes)?).ok()?;
    let metric = name(number)?;
    let mut small = || u32::try_from(take(bytes)?).ok();
    let (day, num, den) = (Day(small()?), small()?, small()?);
    Some((number, Sample { metric, day, num, den, value_us: take(bytes)?.checked_sub(1) }))
}

pub(super) fn troubles(troubles: &[Trouble]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for trouble in troubles {
        push(&mut bytes, trouble.index);
        push(&mut bytes, u64::from(trouble.fails));
        push(&mut bytes, trouble.at);
        // Zigzag: a producer's time may lie before 1970.
        push(&mut bytes, (trouble.ts << 1 ^ trouble.ts >> 63).cast_unsigned());
    }
    bytes
}

pub(super) fn read_troubles(mut bytes: &[u8]) -> Option<Vec<Trouble>> {
    let mut troubles = Vec::new();
    while !bytes.is_empty() {
        let mut next = || take(&mut bytes);
        let (index, fails, at, ts) = (next()?, next()? == 1, next()?, next()?);
        troubles.push(Trouble { index, fails, at, ts: (ts >> 1).cast_signed() ^ -(ts & 1).cast_signed() });
    }
    Some(troubles)
}
