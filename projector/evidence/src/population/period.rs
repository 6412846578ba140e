//! A period: from one instant to another, UTC, by the log's own time (`at`). The end is not part of it.

use schemas::time;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// From `from_ms` to just before `to_ms`, milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    from_ms: u64,
    to_ms: u64,
}

/// Texts that are no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// Neither a day nor a date-time.
    #[error("{found:?} is not a day (2026-01-31) or an RFC 3339 date-time (2026-01-31T12:00:00Z) after 1970")]
    Time {
        /// What was given.
        found: String,
    },
    /// Nothing lies between.
    #[error("the period ends at {to}, not after it begins, at {from}")]
    Empty {
        /// Its beginning.
        from: String,
        /// Its end.
        to: String,
    },
}

impl Period {
    /// Of two texts, each a day (UTC) or an RFC 3339 date-time. A day as an end means all of that day.
    pub fn parse(from: &str, to: &str) -> Result<Period, PeriodError> {
        let begin = instant(from, false)?;
        let end = instant(to, true)?;
        Period::between(begin, end)
    }

    /// Of two instants, milliseconds since 1970.
    pub fn between(from_ms: u64, to_ms: u64) -> Result<Period, PeriodError> {
        if from_ms < to_ms {
            return Ok(Period { from_ms, to_ms });
        }
        Err(PeriodError::Empty { from: text_of(from_ms), to: text_of(to_ms) })
    }

    /// Its beginning, milliseconds since 1970.
    pub fn from_ms(&self) -> u64 {
        self.from_ms
    }

    /// Its end, which is no part of it, milliseconds since 1970.
    pub fn to_ms(&self) -> u64 {
        self.to_ms
    }

    /// Whether the instant lies in it.
    pub fn contains(&self, at_ms: u64) -> bool {
        (self.from_ms..self.to_ms).contains(&at_ms)
    }

    /// Its beginning, RFC 3339.
    pub fn from_text(&self) -> String {
        text_of(self.from_ms)
    }

    /// Its end, RFC 3339.
    pub fn to_text(&self) -> String {
        text_of(self.to_ms)
    }
}

/// Milliseconds since 1970 as RFC 3339, UTC; as they are where no calendar has them.
pub(crate) fn text_of(ms: u64) -> String {
    time::text(ms).unwrap_or_else(|| format!("millisecond {ms}"))
}

fn instant(text: &str, whole_day: bool) -> Result<u64, PeriodError> {
    let refused = || PeriodError::Time { found: text.chars().take(40).collect() };
    let (seconds, fraction) = if text.len() == 10 {
        let begin = time::seconds(&format!("{text}T00:00:00Z")).ok_or_else(refused)?;
        (if whole_day { begin + DAY } else { begin }, "")
    } else {
        time::seconds_and_fraction(text).ok_or_else(refused)?
    };
    // What is finer than the log's own time would cut an instant in two.
    let fraction = format!("{:0<3}", fraction.trim_end_matches('0'));
    let ms = fraction.parse::<u64>().ok().filter(|_| fraction.len() == 3).ok_or_else(refused)?;
    let ms = u64::try_from(seconds).map_err(|_| refused())? * 1_000 + ms;
    // Both ends have a text: the population names them.
    time::text(ms).map(|_| ms).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_instants() {
        let check = |from: &str, to: &str, expect: Result<(&str, &str), &str>| {
            let found = Period::parse(from, to);
            match expect {
                Ok((from, to)) => {
                    let period = found.unwrap();
                    assert_eq!((period.from_text().as_str(), period.to_text().as_str()), (from, to));
                    assert_eq!(Period::parse(from, to), Ok(period));
                }
                Err(why) => assert!(found.clone().unwrap_err().to_string().contains(why), "{found:?}"),
            }
        };
        check("2026-01-01", "2026-12-31", Ok(("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")));
        check("2026-01-01", "2026-01-01", Ok(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")));
        check(
            "2026-01-01T00:00:00.5Z",
            "2026-01-01T02:00:00+01:00",
            Ok(("2026-01-01T00:00:00.5Z", "2026-01-01T01:00:00Z")),
        );
        check("2026-01-02T00:00:00Z", "2026-01-01", Err("not after it begins"));
        check("2026-13-01", "2026-12-31", Err("\"2026-13-01\" is not a day"));
        check("yesterday", "2026-12-31", Err("not a day"));
        check("1969-12-31", "2026-12-31", Err("after 1970"));
        check("2026-01-01T00:00:00.0001Z", "2026-12-31", Err("not a day"));
        check(
            "2026-01-01T00:00:00.0120Z",
            "9999-12-30T22:00:00Z",
            Ok(("2026-01-01T00:00:00.012Z", "9999-12-30T22:00:00Z")),
        );
        check("2026-01-01", "9999-12-31", Err("\"9999-12-31\" is not a day"));
        check("2026-01-01", "2026-01-01T24:00:00Z", Err("not a day"));
        check("2026-1-1T00", "2026-12-31", Err("not a day"));
        check("2026-01-0\u{661}", "2026-12-31", Err("not a day"));
    }
}
