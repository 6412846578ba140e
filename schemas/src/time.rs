//! RFC 3339 date-times, to seconds since 1970, floored.
//!
//! All of RFC 3339's grammar and nothing else: `t` and `z` may be small, any number of digits of a fraction, offsets to
//! ±23:59, the day must exist. A 60th second is allowed at any minute (RFC 3339 leaves the table of leap seconds to
//! the reader) and counts as the next minute's first, as POSIX time does. The JSON Schema says the same as a pattern.

/// Seconds since 1970-01-01T00:00:00Z; `None` if the text is no RFC 3339 date-time.
pub fn seconds(text: &str) -> Option<i64> {
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
    let offset = offset(after_fraction(rest)?)?;
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset)
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

    proptest::proptest! {
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
