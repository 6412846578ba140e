//! The events of a story as JSON.

use serde_json::{Value, json};

use super::Told;
use super::story::{Event, MINUTE_MS, What};
use super::truth::Happens;

/// Who tells the events of one change.
pub(super) struct Teller {
    pub(super) tenant: String,
    pub(super) change: String,
    pub(super) team: &'static str,
    pub(super) environment: &'static str,
    pub(super) class: &'static str,
    pub(super) clock_off_s: i64,
    pub(super) visibility: &'static str,
    pub(super) source: &'static str,
    pub(super) initiator: String,
    pub(super) numbered: u64,
}

impl Teller {
    /// An event of these sections, on the road at `at`.
    pub(super) fn event(
        &mut self,
        at: u64,
        phase: &'static str,
        producer: &'static str,
        mut body: Value,
        what: What,
        happens: Vec<Happens>,
    ) -> Event {
        let ts = i64::try_from(at / 1000).unwrap_or(0) + self.clock_off_s;
        let id = format!("{}-{}", self.change, self.numbered);
        self.numbered += 1;
        body["id"] = id.as_str().into();
        body["change_id"] = self.change.as_str().into();
        body["timestamp"] = rfc3339(ts).into();
        body["phase"] = phase.into();
        body["environment"] = self.environment.into();
        body["change_class"] = self.class.into();
        body["intent"] = json!({"request": format!("Bring {} of {} up to date", self.change, self.team), "source": self.source,
            "initiator": self.initiator, "tenant": self.tenant, "ticket": format!("OPS-{}", self.change)});
        body["governance"]["owner"] = self.team.into();
        body["governance"]["visibility"] = self.visibility.into();
        let told = Told {
            at_ms: at,
            ts,
            change: self.change.clone(),
            id,
            phase,
            producer,
            environment: self.environment,
            class: self.class,
            payload: json!({ "provisioning_event": body }).to_string(),
            duplicate: false,
        };
        Event { told, at, what, happens }
    }

    /// A decision of somebody at some time, perhaps about a named plan.
    pub(super) fn approval(decision: &str, who: &str, at: u64, plan: Option<&str>) -> Value {
        let mut approval = json!({"approver": who, "role": "platform-owners", "decision": decision, "at": time(at)});
        if let Some(plan) = plan {
            approval["plan_digest"] = plan.into();
        }
        json!({"preflight": {"approvals": [approval]}})
    }
}

/// Sends the first event once more, byte for byte.
pub(super) fn noted(events: &mut Vec<Event>) {
    if let Some(first) = events.first() {
        let at = first.at + MINUTE_MS;
        let told = Told { at_ms: at, duplicate: true, ..first.told.clone() };
        events.push(Event { told, at, what: What::Duplicate, happens: Vec::new() });
    }
}

/// Milliseconds since 1970 as text, to the second.
pub(super) fn time(at_ms: u64) -> String {
    rfc3339(i64::try_from(at_ms / 1000).unwrap_or(0))
}

/// Seconds since 1970 as text; Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_they_are_read() {
        for seconds in [0, 951_782_399, 951_782_400, 1_709_164_800, 1_793_577_600, 1_798_761_599] {
            assert_eq!(schemas::time::seconds(&super::rfc3339(seconds)), Some(seconds));
        }
    }
}
