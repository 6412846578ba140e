//! What is watched of a change, and what a look at it says.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Options, schedule};
use crate::catalogue::Catalogue;
use crate::course::Course;
use crate::preflight::Planned;
use crate::verify::{self, Difference, Look, State, Wanted};

/// A resource that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// `type/name`.
    pub resource: String,
    /// What is looked at.
    pub looks: Vec<Look>,
    /// Seconds between two looks.
    pub every_s: u64,
}

/// A baseline against what is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// What it is compared with.
    pub baseline: State,
    /// What was found; of what was not looked at, or could not be, as it was found last.
    pub current: State,
    /// How they differ.
    pub differences: Vec<Difference>,
    /// What could not be looked at, and why.
    pub unknown: Vec<(String, String)>,
    /// Whether it is to be recorded.
    pub news: News,
    /// Resources that differed by the last record.
    pub before: Vec<String>,
}

/// Whether what was found is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It is as the last record says, and that is not old.
    None,
    /// It is as the last record says, and that is old.
    Still,
    /// Something differs that did not, or otherwise than before: an alarm.
    Drifted,
    /// What differed is as it was.
    Back,
}

/// The resources of a verified change that are watched: those of its baseline, by the options. None of one that was taken back.
pub fn watched(course: &Course, catalogue: &Catalogue, options: &Options) -> Vec<Watched> {
    let (Some(plan), Some(baseline)) = (&course.plan, course.baseline().and_then(|drift| drift.state.as_ref())) else {
        return Vec::new();
    };
    if course.undone.open || !course.undone.ended.is_empty() || course.probe {
        return Vec::new();
    }
    let Some(known) = State::read(baseline) else { return Vec::new() };
    let mut all: Vec<Watched> = Vec::new();
    for look in verify::looks(course, catalogue) {
        let kind = look.resource.split('/').next().unwrap_or_default();
        if matches!(look.wanted, Wanted::Absent(_) | Wanted::RolledOut) || !known.0.contains_key(&look.resource) {
            continue;
        }
        let Some(every_s) = options.every_s(kind, plan.case()) else { continue };
        match all.iter_mut().find(|one| one.resource == look.resource) {
            Some(one) => one.looks.push(look),
            None => all.push(Watched { resource: look.resource.clone(), looks: vec![look], every_s }),
        }
    }
    all
}

/// Whether every resource of a state that was just verified will be watched.
pub fn watched_after(state: &State, plan: &Planned, options: &Options) -> bool {
    let kind = |resource: &str| resource.split('/').next().unwrap_or_default().to_owned();
    !state.0.is_empty() && state.0.keys().all(|resource| options.every_s(&kind(resource), plan.case()).is_some())
}

/// `target` of a monitor's event: the resources that it looked at.
pub fn target(plan: &Planned, watched: &[Watched]) -> Option<Value> {
    let mut target = plan.event.get("target")?.clone();
    let all = target.get("resources")?.as_array()?.clone();
    let own = all.into_iter().filter(|resource| {
        let text = |name: &str| resource[name].as_str().unwrap_or_default();
        let id = format!("{}/{}", text("type"), text("name"));
        watched.iter().any(|one| one.resource == id)
    });
    target["resources"] = own.collect();
    Some(target)
}

/// Whether the last record of a course says that something differs which is no longer watched.
pub fn is_taken_over(course: &Course, watched: &[Watched]) -> bool {
    let last = course.drifts.iter().rev().find(|drift| drift.by_monitor);
    let differing = last.into_iter().flat_map(|drift| &drift.diff).filter_map(Difference::read);
    differing.into_iter().any(|one| watched.iter().all(|known| known.resource != one.resource))
}

impl Watched {
    /// When it is due after a look at `last_ms`.
    pub fn due_ms(&self, change: &str, last_ms: u64, options: &Options) -> u64 {
        schedule::next_ms(&format!("{change}\0{}", self.resource), last_ms, self.every_s, options.jitter_percent)
    }
}

/// Compares what was found with the baseline of the course, and says whether that is news at `now_ms`. `watched` is all that is watched, of which some
/// may not have been looked at now. What is no longer watched, because a later change took it over, differs no more.
pub fn compare(
    course: &Course,
    watched: &[Watched],
    found: &verify::Found,
    verify_options: &verify::Options,
    options: &Options,
    now_ms: u64,
) -> Option<Compared> {
    let baseline = State::read(course.baseline()?.state.as_ref()?)?;
    let last = course.drifts.iter().rev().find(|drift| drift.by_monitor).or_else(|| course.baseline())?;
    let before = last.state.as_ref().and_then(State::read).unwrap_or_else(|| baseline.clone());
    let (seen, unknown) = look(watched, found, verify_options);
    let mut current = baseline.clone();
    let is_watched = |resource: &str| watched.iter().any(|one| one.resource == resource);
    for (resource, value) in before.0.into_iter().chain(seen.0) {
        if baseline.0.contains_key(&resource) && is_watched(&resource) {
            current.0.insert(resource, value);
        }
    }
    let differences = current.differences(&baseline);
    let documents: Vec<Value> = differences.iter().take(verify::state::LISTED).map(Difference::document).collect();
    let is_old = now_ms.saturating_sub(last.at_ms) >= options.report_hours.saturating_mul(3_600_000);
    let news = match (documents == last.diff, documents.is_empty()) {
        (true, _) if is_old => News::Still,
        (true, _) => News::None,
        (false, true) => News::Back,
        (false, false) => News::Drifted,
    };
    let mut told: Vec<String> = last.diff.iter().filter_map(Difference::read).map(|one| one.resource).collect();
    told.dedup();
    Some(Compared { baseline, current, differences, unknown, news, before: told })
}

fn look(watched: &[Watched], found: &verify::Found, options: &verify::Options) -> (State, Vec<(String, String)>) {
    use crate::preflight::answer::Presence;
    let (mut state, mut unknown) = (State::default(), Vec::new());
    for one in watched {
        let mut gone = false;
        for look in &one.looks {
            let Some(answer) = found.answers.get(&look.id) else { continue };
            match &look.wanted {
                Wanted::There(how) => match answer.presence(how) {
                    Presence::There => {}
                    Presence::Absent => gone = true,
                    Presence::Unknown(why) => unknown.push((one.resource.clone(), why)),
                },
                Wanted::State if answer.code == Some(0) => state.add(&one.resource, &answer.stdout, &options.ignore),
                Wanted::State => unknown.push((one.resource.clone(), answer.shown())),
                Wanted::Absent(_) | Wanted::RolledOut => {}
            }
        }
        if gone {
            state.gone(&one.resource);
            unknown.retain(|(resource, _)| *resource != one.resource);
        }
    }
    (state.kept(), unknown)
}

impl Compared {
    /// One sentence or more.
    pub fn summary(&self) -> String {
        let mut text = verify::state::summary(&self.differences);
        for (resource, why) in &self.unknown {
            // Writing into a string has no way to fail.
            let _ = write!(text, "; {resource} could not be looked at: {why}");
        }
        text
    }

    /// `verification` of the monitor's event. It has no checks: a drift is no failure of the change that it is compared with.
    pub fn verification(&self, duration_ms: u64) -> Value {
        let mut members = Map::new();
        members.insert("purpose".to_owned(), "drift".into());
        members.insert("drift".to_owned(), verify::drift(&self.current, &self.baseline, &self.differences, true));
        members.insert("state".to_owned(), self.current.document());
        members.insert("summary".to_owned(), self.summary().into());
        members.insert("duration_ms".to_owned(), duration_ms.into());
        if !self.unknown.is_empty() {
            let unknown = self.unknown.iter().map(|(resource, why)| json!({"resource": resource, "message": why}));
            members.insert("not_looked_at".to_owned(), unknown.collect());
        }
        Value::Object(members)
    }

    /// `alarm` of the monitor's event, and what the webhook gets; none where nothing is new.
    pub fn alarm(&self) -> Option<Value> {
        let word = match self.news {
            News::Drifted => "drift",
            News::Back => "drift_gone",
            News::None | News::Still => return None,
        };
        let mut resources: Vec<&str> = self.differences.iter().map(|one| one.resource.as_str()).collect();
        resources.dedup();
        if self.news == News::Back {
            resources = self.before.iter().map(String::as_str).collect();
        }
        Some(json!({"kind": word, "summary": self.summary(), "resources": resources}))
    }
}
