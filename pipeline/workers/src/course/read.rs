//! Reading a course off stored events.

use std::sync::Arc;

use serde_json::Value;

use super::{Course, Drift, Ended, Entry, Fate, Order, Round, Undone, UndoneStep};
use crate::argv;
use crate::catalogue::Catalogue;
use crate::preflight::Planned;

impl Course {
    /// The newest attempt of a change. Entries in the order of the log; what can't be read says nothing. `None` without any that can.
    pub fn read(entries: &[Entry<'_>], catalogue: &Catalogue) -> Option<Self> {
        let events: Vec<(&Entry<'_>, Value)> =
            entries.iter().filter_map(|entry| Some((entry, event(entry.payload)?))).collect();
        let told = events.iter().map(|(entry, event)| (*entry, event)).collect();
        Self::of(told, |entry| Planned::read(entry.payload, catalogue).ok().map(Arc::new))
    }

    /// The same of events that were read before, each with its entry; `planned` reads one as a plan, where it is one.
    pub fn of(read: Vec<(&Entry<'_>, &Value)>, planned: impl Fn(&Entry<'_>) -> Option<Arc<Planned>>) -> Option<Self> {
        let read: Vec<_> = read.into_iter().filter(|(_, event)| event.is_object()).collect();
        let newest = read.iter().map(|(_, event)| attempt(event)).max()?;
        let probe = read.iter().all(|(_, event)| event.get("probe") == Some(&Value::Bool(true)));
        let own: Vec<_> = read.into_iter().filter(|(_, event)| attempt(event) == newest).collect();
        let plan = plan_in_force(&own, planned);
        let mut course = Self {
            attempt: newest,
            probe,
            fates: vec![Fate::Waiting; plan.as_ref().map_or(0, |plan| plan.steps.len())],
            plan,
            order: Vec::new(),
            executed: None,
            over: false,
            stopped: None,
            rounds: Vec::new(),
            drifts: Vec::new(),
            undone: Undone::default(),
            orders: Vec::new(),
            closed: false,
        };
        for (entry, event) in &own {
            course.take(entry, event);
        }
        let ended =
            !course.fates.is_empty() && course.fates.iter().all(|fate| matches!(fate, Fate::Done | Fate::Skipped));
        // What runs beside a step that failed is waited for.
        let broken = course.failed() && !course.fates.contains(&Fate::Begun);
        course.over = ended || broken;
        Some(course)
    }

    fn take(&mut self, entry: &Entry<'_>, event: &Value) {
        match event.pointer("/rollback/executed") {
            Some(executed) if entry.takes_back => self.rollback(entry, executed),
            Some(_) => {}
            None => self.execution(entry, event.get("execution").unwrap_or(&Value::Null)),
        }
        if let Some(verification) = event.get("verification") {
            self.verification(entry, verification);
        }
        if let Some(order) = event.get("order") {
            self.orders.extend(read_order(entry, event, order));
        }
        self.closed |= entry.phase == schemas::ids::Phase::Audit
            && event.pointer("/governance/closed") == Some(&Value::Bool(true));
    }

    fn execution(&mut self, entry: &Entry<'_>, execution: &Value) {
        let steps = items(execution, "steps");
        if steps.is_empty() && entry.phase != schemas::ids::Phase::Execute {
            return;
        }
        self.executed = Some((entry.index, entry.at_ms));
        for (name, fate) in [("started", Fate::Begun), ("tried", Fate::Tried)] {
            if let Some(at) = execution.get(name).and_then(|step| self.find(step)) {
                self.note(at, fate);
            }
        }
        let as_planned = steps.len() == self.fates.len();
        for (place, step) in steps.iter().enumerate() {
            let at = self.find(step).or_else(|| as_planned.then_some(place));
            if let Some(at) = at {
                self.note(at, fate(step));
            }
        }
        if let Some(cancelled) = execution.get("cancelled") {
            let said = |name| text(cancelled, name).unwrap_or_default();
            self.stopped = Some(format!("cancelled by {}: {}", said("by"), said("reason")));
        }
    }

    fn note(&mut self, at: usize, fate: Fate) {
        if fate != Fate::Skipped && !self.order.contains(&at) {
            self.order.push(at);
        }
        self.fates[at] = fate;
    }

    /// The plan's step that a recorded one is.
    fn find(&self, step: &Value) -> Option<usize> {
        let steps = &self.plan.as_ref()?.steps;
        if let Some(id) = text(step, "id").or_else(|| text(step, "step")) {
            return steps.iter().position(|planned| planned.id == id);
        }
        let argv: Option<Vec<String>> = step.get("argv").and_then(|argv| serde_json::from_value(argv.clone()).ok());
        let line = argv.filter(|argv| !argv.is_empty()).map(|argv| argv::render(&argv));
        let line = line.as_deref().or_else(|| text(step, "cmd"))?;
        // The same command twice is told by the places.
        let mut same = steps.iter().enumerate().filter(|(_, planned)| planned.command == line).map(|(at, _)| at);
        let first = same.next();
        first.filter(|_| same.next().is_none())
    }

    fn verification(&mut self, entry: &Entry<'_>, verification: &Value) {
        let checks: Vec<&Value> = items(verification, "checks").iter().chain(items(verification, "slo")).collect();
        let said = |ok| checks.iter().filter(move |check| check.get("ok") == Some(&Value::Bool(ok)));
        let by_monitor = text(verification, "purpose") == Some("drift");
        let diff = verification.pointer("/drift/diff").and_then(Value::as_array);
        let failed = said(false).next().is_some();
        let held = !failed && (said(true).next().is_some() || diff.is_some_and(Vec::is_empty));
        if let Some(drift) = verification.get("drift") {
            self.drifts.push(Drift {
                index: entry.index,
                at_ms: entry.at_ms,
                state: verification.get("state").filter(|state| state.is_object()).cloned(),
                baseline: text(drift, "baseline_hash").map(str::to_owned),
                diff: diff.cloned().unwrap_or_default(),
                by_monitor,
                held,
            });
        }
        // A gate between waves looks at a part of what is executed, and so does a monitor.
        if !by_monitor && text(verification, "purpose") != Some("wave") {
            let name = |check: &&&Value| {
                let name = text(check, "name").or_else(|| text(check, "type")).unwrap_or("a check").to_owned();
                text(check, "message").map_or(name.clone(), |message| format!("{name}: {message}"))
            };
            self.rounds.push(Round {
                index: entry.index,
                held,
                failed,
                broken: said(false).map(|check| name(&check)).collect(),
            });
        }
    }

    fn rollback(&mut self, entry: &Entry<'_>, executed: &Value) {
        let undone = &mut self.undone;
        if let Some(outcome) = text(executed, "outcome") {
            let failed = schemas::rules::is_failure(outcome);
            undone.ended.push(Ended { index: entry.index, at_ms: entry.at_ms, failed });
            undone.steps.clear();
            undone.open = false;
            return;
        }
        undone.open = true;
        for step in items(executed, "steps") {
            let Some(id) = text(step, "id") else { continue };
            let rc = step.get("rc").and_then(Value::as_f64).and_then(whole);
            let stands = text(step, "stands").map(str::to_owned);
            let place = text(step, "place").map(str::to_owned);
            let until_ms = step.get("until_ms").and_then(Value::as_u64).unwrap_or(0);
            let new = UndoneStep { id: id.to_owned(), rc, stands, place, until_ms, index: entry.index };
            match undone.steps.iter_mut().find(|known| known.id == id) {
                Some(known) => *known = new,
                None => undone.steps.push(new),
            }
        }
    }
}

/// The last plan before anything was executed, else the last.
fn plan_in_force(
    own: &[(&Entry<'_>, &Value)],
    planned: impl Fn(&Entry<'_>) -> Option<Arc<Planned>>,
) -> Option<Arc<Planned>> {
    let executes = |event: &Value| !items_at(event, "/execution/steps").is_empty();
    let first = own.iter().position(|(entry, event)| entry.phase == schemas::ids::Phase::Execute || executes(event));
    let before = &own[..first.map_or(own.len(), |at| at + 1)];
    before.iter().rev().filter(|(_, event)| event.get("plan").is_some()).find_map(|(entry, _)| planned(entry))
}

fn read_order(entry: &Entry<'_>, event: &Value, order: &Value) -> Option<Order> {
    Some(Order {
        index: entry.index,
        kind: text(order, "kind")?.to_owned(),
        by: text(order, "by").map(str::to_owned),
        reason: text(order, "reason").map(str::to_owned),
        id: text(event, "id")?.to_owned(),
    })
}

fn fate(step: &Value) -> Fate {
    let skipped = match step.get("skipped") {
        Some(Value::Bool(yes)) => *yes,
        Some(Value::String(_)) => true,
        _ => false,
    };
    match step.get("rc").and_then(Value::as_f64) {
        _ if skipped => Fate::Skipped,
        None => Fate::Begun,
        Some(0.0) => Fate::Done,
        Some(_) => Fate::Failed,
    }
}

fn event(payload: &[u8]) -> Option<Value> {
    let mut document: Value = serde_json::from_slice(payload).ok()?;
    document.get_mut("provisioning_event").map(Value::take)
}

fn attempt(event: &Value) -> u64 {
    let number = event.get("attempt").and_then(Value::as_f64).and_then(whole);
    number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number >= 1).unwrap_or(1)
}

/// A whole number as far as a number of JSON is exact.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn items_at<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
