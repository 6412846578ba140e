//! RFC 3339 date-times, to seconds since 1970, floored, and back.
//!
//! All of RFC 3339's grammar and nothing else: `t` and `z` may be small, any number of digits of a fraction, offsets to
//! ±23:59, the day must exist. A 60th second is allowed at any minute (RFC 3339 leaves the table of leap seconds to
//! the reader) and counts as the next minute's first, as POSIX time does. The JSON Schema says the same as a pattern.

/// The last millisecond that [`text`] writes: that of the last hour whose year has four digits at every offset.
const LAST_MS: u64 = 253_402_207_200_999;

/// Seconds since 1970-01-01T00:00:00Z; `None` if the text is no RFC 3339 date-time.
pub fn seconds(text: &str) -> Option<i64> {
    seconds_and_fraction(text).map(|(seconds, _)| seconds)
}

/// The same, and the digits of its fraction of a second as they were written; empty without one.
pub fn seconds_and_fraction(text: &str) -> Option<(i64, &str)> {
    let bytes = text.as_bytes();
    let (date_time, rest) = bytes.split_at_checked(19)?;
    for (at, allowed) in [(4, &b"-"[..]), (7, b"-"), (10, b"Tt"), (13, b":"), (16, b":")] {
        if !allowed.contains(&date_time[at]) {
            return None;
        }
    }
    let number = |from: usize, to: usize| digits(&date_time[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let after = after_fraction(rest)?;
    let fraction = text[19..text.len() - after.len()].trim_start_matches('.');
    let days = days_since_1970(year, month, day);
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second - offset(after)?, fraction))
}

/// Milliseconds since 1970 as RFC 3339, UTC, with no more of a fraction than there is; `None` where the year would need more than four digits.
pub fn text(ms: u64) -> Option<String> {
    if ms > LAST_MS {
        return None;
    }
    let (seconds, fraction) = (ms / 1_000, ms % 1_000);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction > 0 { format!(".{fraction:03}") } else { String::new() };
    let fraction = fraction.trim_end_matches('0');
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"))
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// What follows `.digits`, or everything without a point.
fn after_fraction(rest: &[u8]) -> Option<&[u8]> {
    let Some(fraction) = rest.strip_prefix(b".") else { return Some(rest) };
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (length > 0).then(|| &fraction[length..])
}

fn offset(rest: &[u8]) -> Option<i64> {
    match rest {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let seconds = hours * 3_600 + minutes * 60;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; Howard Hinnant's `days_from_civil`, for years from 0.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970-01-01; Howard Hinnant's `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<i64>) {
        assert_eq!(seconds(text), expect, "{text}");
    }

    #[test]
    fn date_times() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("2025-10-09T12:00:00Z", Some(1_760_011_200));
        check("2025-10-09t12:00:00.999999999999z", Some(1_760_011_200));
        check("2025-10-09T14:00:00+02:00", Some(1_760_011_200));
        check("2025-10-09T12:00:00-00:00", Some(1_760_011_200));
        check("1969-12-31T23:59:59.5Z", Some(-1));
        check("2016-12-31T23:59:60Z", Some(1_483_228_800));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800));
        check("0000-01-01T00:00:00+23:59", Some(-62_167_305_540));
        check("9999-12-31T23:59:59-23:59", Some(253_402_387_139));
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "2025-10-09",
            "2025-10-09T12:00:00",
            "2025-10-09 12:00:00Z",
            "2025-10-09T12:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2025-04-31T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:60:00Z",
            "2025-01-01T00:00:61Z",
            "2025-01-01T00:00:00.Z",
            "2025-01-01T00:00:00,5Z",
            "2025-01-01T00:00:00+24:00",
            "2025-01-01T00:00:00+00:60",
            "2025-01-01T00:00:00+0000",
            "2025-01-01T00:00:00+00",
            "2025-01-01T00:00:00ZZ",
            " 2025-01-01T00:00:00Z",
            "2025-01-01T00:00:00Z\n",
            "20250101T000000Z",
            "٢٠٢٥-01-01T00:00:00Z",
            "+2025-01-01T00:00:00Z",
            "1760011200",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn fractions_are_kept_as_written() {
        assert_eq!(seconds_and_fraction("1970-01-01T00:00:01.0250+00:00"), Some((1, "0250")));
        assert_eq!(seconds_and_fraction("1970-01-01T00:00:01Z"), Some((1, "")));
    }

    #[test]
    fn what_has_no_text() {
        assert_eq!(text(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(text(LAST_MS).as_deref(), Some("9999-12-30T22:00:00.999Z"));
        assert_eq!((text(LAST_MS + 1), text(u64::MAX)), (None, None));
    }

    proptest::proptest! {
        /// jiff, an implementation that is not ours, writes the same text.
        #[test]
        fn writes_what_jiff_writes(ms in 0..=LAST_MS) {
            for ms in [ms, ms / 1_000 * 1_000, ms / 86_400_000 * 86_400_000] {
                let theirs = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap().to_string();
                proptest::prop_assert_eq!(text(ms), Some(theirs));
            }
        }

        /// jiff, an implementation that is not ours, reads the same instant.
        #[test]
        fn agrees_with_jiff(second in -62_135_596_800_i64..253_402_207_200, offset in -86_340_i64..86_340) {
            let offset = jiff::tz::Offset::from_seconds(i32::try_from(offset / 60 * 60).unwrap()).unwrap();
            let zoned = jiff::Timestamp::from_second(second).unwrap();
            let text = zoned.display_with_offset(offset).to_string();
            proptest::prop_assert_eq!(seconds(&text), Some(second), "{}", text);
        }
    }
}
