//! What a change may cost: its plan's estimate against the house's limits.
//!
//! Estimates are hints of the catalogue. What is not known is said, and halts where the budget says so.

use serde_json::{Value, json};

use crate::preflight::Planned;
use crate::scope::{self, Scope};
use crate::table::{Entry, Read};

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// For messages.
    pub name: String,
    /// Which changes it is about.
    pub scope: Scope,
    /// What one change may add each month, in hundredths of a US dollar.
    pub monthly_cents: u64,
    /// Whether a cost that nobody knows halts.
    pub unknown_halts: bool,
}

impl Budget {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&[&["name", "monthly_usd", "unknown"][..], &scope::KEYS].concat())?;
        let Some(monthly_usd) = entry.number_within("monthly_usd", 0, 1_000_000_000)? else {
            return entry.wrong("monthly_usd", "nothing", "US dollars that one change may add each month");
        };
        Ok(Self {
            name: entry.needed_text("name")?,
            scope: Scope::read(entry)?,
            monthly_cents: monthly_usd.saturating_mul(100),
            unknown_halts: entry.word("unknown", &[("halt", true), ("note", false)])?.unwrap_or(false),
        })
    }

    /// Whether the plan's estimate is within it, and the sentence that says so.
    pub fn holds(&self, planned: &Planned) -> (bool, String) {
        let Some(cents) = planned.monthly_cents else {
            return (!self.unknown_halts, "the plan gives no estimate of its cost".to_owned());
        };
        let unknown = &planned.cost_unknown;
        let limit = usd(self.monthly_cents);
        if cents > self.monthly_cents {
            return (false, format!("{} a month are planned, the budget is {limit}", usd(cents)));
        }
        let within = format!("{} of {limit} a month", usd(cents));
        if unknown.is_empty() {
            return (true, within);
        }
        (!self.unknown_halts, format!("{within}; the cost of {} is not known", unknown.join(", ")))
    }
}

/// As it stands in `preflight.cost`.
pub fn document(planned: &Planned) -> Option<Value> {
    let cents = planned.monthly_cents?;
    Some(json!({"monthly_usd_cents": cents, "unknown": planned.cost_unknown}))
}

/// Hundredths of a US dollar, for people.
pub fn usd(cents: u64) -> String {
    format!("USD {}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_held_against_it() {
        let budget = |unknown_halts| Budget {
            name: "b".to_owned(),
            scope: Scope::default(),
            monthly_cents: 10_000,
            unknown_halts,
        };
        let check = |cost: &Value, expected: (bool, &str), strict: bool| {
            let event = json!({"provisioning_event": {"plan": {"commands": ["kubectl-1.29 create namespace a"], "cost": cost}}});
            let planned = Planned::read(event.to_string().as_bytes(), crate::catalogue::shipped()).unwrap();
            let (holds, told) = budget(false).holds(&planned);
            assert_eq!((holds, told.as_str()), expected);
            assert_eq!(budget(true).holds(&planned).0, strict, "{cost}");
        };
        check(&json!({"monthly_usd_cents": 10_000, "unknown": []}), (true, "USD 100.00 of USD 100.00 a month"), true);
        check(
            &json!({"monthly_usd_cents": 10_001}),
            (false, "USD 100.01 a month are planned, the budget is USD 100.00"),
            false,
        );
        check(
            &json!({"monthly_usd_cents": 5, "unknown": ["a/b"]}),
            (true, "USD 0.05 of USD 100.00 a month; the cost of a/b is not known"),
            false,
        );
        check(&Value::Null, (true, "the plan gives no estimate of its cost"), false);
    }
}
