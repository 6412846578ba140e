//! When a log beats: at every multiple of the interval since midnight UTC, and at midnight. Pure.

/// Milliseconds of a day: UTC has no leap seconds in unix time.
const DAY_MS: u64 = 86_400_000;

/// The first beat after `at_ms` (milliseconds since 1970), `every_ms` apart and at midnight UTC.
pub(crate) fn due_after(at_ms: u64, every_ms: u64) -> u64 {
    let every = every_ms.max(1);
    let midnight = at_ms - at_ms % DAY_MS;
    let since = at_ms - midnight;
    let next = midnight.saturating_add(since - since % every).saturating_add(every);
    next.min(midnight.saturating_add(DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_fall_on_the_hour_and_on_midnight() {
        let hour = 3_600_000;
        let midnight = 20_000 * DAY_MS;
        for (at, every, expect) in [
            (midnight, hour, midnight + hour),
            (midnight + 1, hour, midnight + hour),
            (midnight + hour - 1, hour, midnight + hour),
            (midnight + hour, hour, midnight + 2 * hour),
            // Intervals that do not divide the day still beat at midnight, and begin there again.
            (midnight + 21 * hour, 7 * hour, midnight + DAY_MS),
            (midnight + 22 * hour, 7 * hour, midnight + DAY_MS),
            (midnight, 7 * hour, midnight + 7 * hour),
            (midnight + 5, 48 * hour, midnight + DAY_MS),
            (midnight, 0, midnight + 1),
        ] {
            assert_eq!(due_after(at, every), expect, "at {} every {every}", at - midnight);
        }
        assert!(due_after(u64::MAX, hour) > 0);
    }
}
