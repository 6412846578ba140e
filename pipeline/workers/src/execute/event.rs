//! What the execute worker says: sections of events of phase execute.
//!
//! | section | when |
//! |---|---|
//! | `execution.started` | before a try begins: whoever reads it alone knows that nobody knows how it ended |
//! | `execution.tried` | a try ended and there is another one |
//! | `execution.steps` | a step is over, with its return code; `execution.remaining` says how many are not |
//! | `execution.waves` | read-backs and probes between two waves, and the end of the last of several |
//! | `execution.paused`, `execution.cancelled` | it goes no further |
//!
//! A try that is followed by another is no step of the change with a return code: a step failed if it is over and failed.

use serde_json::{Map, Value, json};

use crate::blast_radius;
use crate::build::{Sections, object, rfc3339};
use crate::command::{Finished, step_of};
use crate::config::Config;
use crate::preflight::Planned;

use super::class::Class;
use super::steps::{Runnable, Step, Wave};

/// As `execution.executor`.
pub const EXECUTOR: &str = "upm execute";

/// As `execution.agent`: the model's one word for whatever executes without a person's hand.
pub const AGENT: &str = "agent-session";

/// What every event of an execution says of it.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The plan that is run.
    pub plan_digest: String,
    /// The worker, another one after each start.
    pub instance: String,
    /// Where it works: a machine and a directory.
    pub place: String,
    /// Programs as they were found: name, version, digest.
    pub tools: Vec<Value>,
    /// Guard-rails as they were in force.
    pub guards: Value,
    /// The pipe allow-list in force.
    pub pipes: Vec<String>,
    /// Seconds in which a gate has to hold.
    pub gate_s: u64,
    /// Where the change is told as it happens, as a path of the ledger's HTTP server.
    pub telemetry: String,
}

/// A helper's credentials, as an event may know them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handed {
    /// The helper's name.
    pub kind: String,
    /// Seconds for which they are good.
    pub ttl_s: Option<u64>,
    /// Whether they hold a client's certificate.
    pub mtls: bool,
}

/// How one try goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// Which try, from 1.
    pub number: u64,
    /// The line that is run.
    pub line: String,
    /// Whether certificates are checked.
    pub verified: bool,
    /// Its credentials, where a helper gave some.
    pub handed: Option<Handed>,
}

/// What is known of a run beside how it finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// Where all of standard output is kept.
    pub stdout: Option<String>,
    /// Where all of standard error is kept.
    pub stderr: Option<String>,
    /// Why it was ended from outside: `time`, `output`, `processes`, `cancelled`.
    pub stopped: Option<&'static str>,
    /// Return codes of a pipeline's commands, where there are several.
    pub rcs: Vec<i32>,
}

impl Scene {
    /// The guard-rails of a configuration, by the names under which levels of maturity look for them (`docs/maturity.md`). What is not set is not named.
    pub fn guards(config: &Config, planned: &Planned, waves: &[Wave]) -> Value {
        let options = &config.execute;
        let mut guards = json!({
            "shell": "none",
            "meta_blocking": true,
            "pipe_allow_list": true,
            "environment": "clean",
            "process_group": true,
            "timeout_s": options.time_limit_s,
            "output_bytes": options.output_bytes,
            "memory_bytes": options.memory_bytes,
            "processes": options.processes,
            "concurrency": options.waves.concurrency,
            "redaction": true,
            "tls_fallback": options.may_fall_back(planned.environment.as_deref()),
        });
        let (retries, wave) = (&options.retries, &options.waves);
        if retries.tries > 1 {
            guards["retries"] = (retries.tries - 1).into();
            guards["backoff"] = json!({
                "first_ms": retries.first_ms, "most_ms": retries.most_ms, "jitter_percent": retries.jitter_percent,
            });
        }
        if wave.starts_per_minute > 0 {
            guards["rate_limit"] = json!({ "starts_per_minute": wave.starts_per_minute });
        }
        if wave.most_steps > 0 {
            guards["blast_radius"] = json!({ "steps_before_a_gate": wave.most_steps });
        }
        if let Some(most) = blast_radius::most(&config.blast_radius, planned.case()) {
            guards["max_resources"] = most.into();
        }
        if waves.len() > 1 {
            let odd = wave.pause_on.iter().map(|oddity| oddity.as_str());
            guards["pause_on_anomaly"] = ["gate"].into_iter().chain(odd).collect();
        }
        guards
    }

    fn execution(&self, handed: Option<&Handed>) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("executor".to_owned(), EXECUTOR.into());
        members.insert("agent".to_owned(), AGENT.into());
        members.insert("instance".to_owned(), self.instance.as_str().into());
        members.insert("plan_digest".to_owned(), self.plan_digest.as_str().into());
        members.insert("telemetry_ref".to_owned(), self.telemetry.as_str().into());
        members.insert("pipe_allow_list".to_owned(), self.pipes.clone().into());
        members.insert("guards".to_owned(), self.guards.clone());
        if !self.tools.is_empty() {
            members.insert("tools".to_owned(), self.tools.clone().into());
        }
        if let Some(handed) = handed {
            let credentials =
                object([("kind", Some(handed.kind.as_str().into())), ("ttl_s", handed.ttl_s.map(Into::into))]);
            members.insert("credentials".to_owned(), credentials.unwrap_or_default());
            if handed.mtls {
                members.insert("mTLS".to_owned(), true.into());
            }
        }
        members
    }

    fn of_try(&self, manner: &Manner) -> Map<String, Value> {
        let mut members = self.execution(manner.handed.as_ref());
        if !manner.verified {
            members.insert("tls_verified".to_owned(), false.into());
        }
        members
    }

    /// A try begins.
    pub fn started(&self, step: &Step, manner: &Manner, at_ms: u64, until_ms: u64) -> Sections {
        let mut started = json!({
            "step": step.id,
            "cmd": manner.line,
            "try": manner.number,
            "instance": self.instance,
            "place": self.place,
            "at_ms": at_ms,
            "until_ms": until_ms,
        });
        if !manner.verified {
            started["tls_verified"] = false.into();
        }
        let mut members = self.of_try(manner);
        members.insert("started".to_owned(), started);
        let verb = if manner.number == 1 { "begins".to_owned() } else { format!("begins, try {}", manner.number) };
        let how = if manner.verified { "" } else { ", without checking certificates" };
        traced(members, at_ms, &format!("{} {verb}{how}", step.id))
    }

    /// A try ended, and there is another one.
    pub fn tried(
        &self,
        step: &Step,
        manner: &Manner,
        finished: &Finished,
        beside: &Beside,
        class: &Class,
        again_ms: u64,
    ) -> Sections {
        let mut tried = step_document(&manner.line, finished, beside);
        let next = if *class == Class::Certificate { "without checking certificates" } else { "the same" };
        let more = [
            ("step", step.id.as_str().into()),
            ("try", manner.number.into()),
            ("class", class.as_str().into()),
            ("again_ms", again_ms.into()),
            ("next", next.into()),
        ];
        tried.extend(more.map(|(name, value)| (name.to_owned(), value)));
        let mut members = self.of_try(manner);
        members.insert("tried".to_owned(), tried.into());
        let message = match class {
            Class::Certificate => {
                format!("{}: its certificate is not good; it is tried once more without checking certificates", step.id)
            }
            _ => format!("{} ended with {} ({}), and is tried again", step.id, finished.ending.rc(), class.as_str()),
        };
        traced_at(members, &finished.finished_at, &message)
    }

    /// A step is over.
    pub fn ended(
        &self,
        step: &Step,
        manner: &Manner,
        finished: &Finished,
        beside: &Beside,
        class: &Class,
        done: &Done<'_>,
    ) -> Sections {
        let mut document = step_document(&manner.line, finished, beside);
        document.insert("class".to_owned(), class.as_str().into());
        let rc = finished.ending.rc();
        let message = if rc == 0 { format!("{} OK", step.id) } else { format!("{} failed with {rc}", step.id) };
        self.over(step, document, manner, done, &message)
    }

    /// A step has nothing to do; `reason` is its check's.
    pub fn skipped(&self, step: &Step, manner: &Manner, reason: &str, done: &Done<'_>) -> Sections {
        let document = json!({"cmd": manner.line, "rc": 0, "skipped": reason, "stdout": ""});
        self.over(
            step,
            document.as_object().cloned().unwrap_or_default(),
            manner,
            done,
            &format!("{}: {reason}", step.id),
        )
    }

    /// Nobody knows how a step ended, or it could not be begun: the change goes no further.
    pub fn halted(&self, step: &Step, manner: &Manner, reason: &str, done: &Done<'_>) -> Sections {
        let document = json!({"cmd": manner.line, "rc": -1, "halted": reason, "stderr": reason});
        let message = format!("halted at {}: {reason}", step.id);
        self.over(step, document.as_object().cloned().unwrap_or_default(), manner, done, &message)
    }

    fn over(
        &self,
        step: &Step,
        mut document: Map<String, Value>,
        manner: &Manner,
        done: &Done<'_>,
        message: &str,
    ) -> Sections {
        document.insert("id".to_owned(), step.id.as_str().into());
        document.insert("action".to_owned(), step.action.as_str().into());
        document.insert("try".to_owned(), manner.number.into());
        document.extend(done.changed.map(|changed| ("changed".to_owned(), changed.into())));
        if !manner.verified {
            document.insert("tls_verified".to_owned(), false.into());
        }
        let is_good = document.get("rc") == Some(&0.into());
        let mut members = self.of_try(manner);
        members.insert("steps".to_owned(), vec![Value::Object(document)].into());
        members.insert("remaining".to_owned(), done.remaining.into());
        members.insert("changed".to_owned(), done.changed_before.max(done.changed.unwrap_or(true)).into());
        if let Some(wave) = done.last_wave.filter(|_| is_good) {
            // Behind it comes no wave that could wait: what is looked at is the whole change.
            let by = "verification";
            let told = json!({"name": wave.name, "percent": wave.percent, "gate": by, "health": by});
            members.insert("waves".to_owned(), vec![told].into());
        }
        traced(members, done.at_ms, message)
    }

    /// What was looked at between two waves: read-backs by their steps, and probes by their names, each with why it does not hold.
    pub fn gate(
        &self,
        runnable: &Runnable,
        wave: &Wave,
        read: &[(usize, Option<String>)],
        probed: &[(String, Option<String>)],
        at_ms: u64,
    ) -> Sections {
        let good = read.iter().map(|(_, why)| why).chain(probed.iter().map(|(_, why)| why)).filter(|why| why.is_none());
        let (good, looks) = (good.count(), read.len() + probed.len());
        let held = good == looks;
        let answered = |name: &'static str, of: &str, line: Option<Value>, why: &Option<String>| {
            let members = [
                (name, Some(of.into())),
                ("command", line),
                ("ok", Some(why.is_none().into())),
                ("message", why.as_deref().map(Into::into)),
            ];
            object(members).unwrap_or_default()
        };
        let read_back = |(at, why): &(usize, Option<String>)| {
            let step = &runnable.steps[*at];
            let line = step.read_back.as_deref().map(|argv| crate::argv::render(argv).into());
            answered("step", &step.id, line, why)
        };
        let mut told = json!({
            "name": wave.name, "percent": wave.percent, "held": held,
            "gate": {"within_s": self.gate_s},
            "health": {"looked_at": looks, "good": good},
            "read_backs": read.iter().map(read_back).collect::<Vec<Value>>(),
        });
        if !probed.is_empty() {
            told["probes"] = probed.iter().map(|(name, why)| answered("name", name, None, why)).collect();
        }
        let mut members = self.execution(None);
        members.insert("waves".to_owned(), vec![told].into());
        let verb = if held { "holds" } else { "does not hold" };
        traced(members, at_ms, &format!("the gate of wave {:?} {verb}", wave.name))
    }

    /// It pauses by itself.
    pub fn paused(&self, before: &Wave, reason: &str, at_ms: u64) -> Sections {
        let mut members = self.execution(None);
        members.insert("paused".to_owned(), json!({"before": before.name, "reason": reason}));
        traced(members, at_ms, &format!("paused: {reason}"))
    }

    /// It goes no further, because somebody said so.
    pub fn cancelled(&self, by: &str, reason: &str, done: &[&str], left: &[&str], at_ms: u64) -> Sections {
        let mut members = self.execution(None);
        let told = json!({"by": by, "reason": reason, "done": done, "left": left});
        members.insert("cancelled".to_owned(), told);
        traced(members, at_ms, &format!("cancelled by {by}: {reason}"))
    }
}

/// What a step that is over leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done<'a> {
    /// Whether it changed anything; none where nobody knows.
    pub changed: Option<bool>,
    /// Whether steps before it did.
    pub changed_before: bool,
    /// Steps that are not over.
    pub remaining: u64,
    /// The last of several waves, where this was its last step.
    pub last_wave: Option<&'a Wave>,
    /// The time, milliseconds since 1970.
    pub at_ms: u64,
}

fn step_document(line: &str, finished: &Finished, beside: &Beside) -> Map<String, Value> {
    let mut document = step_of(line.to_owned(), finished);
    let mut members = document.as_object_mut().map(std::mem::take).unwrap_or_default();
    let more = [
        ("stdout_ref", beside.stdout.as_deref().map(Into::into)),
        ("stderr_ref", beside.stderr.as_deref().map(Into::into)),
        ("stopped", beside.stopped.map(Into::into)),
        ("rcs", (beside.rcs.len() > 1).then(|| beside.rcs.clone().into())),
    ];
    members.extend(more.into_iter().filter_map(|(name, value): (&str, Option<Value>)| Some((name.to_owned(), value?))));
    members
}

fn traced(members: Map<String, Value>, at_ms: u64, message: &str) -> Sections {
    traced_at(members, &rfc3339(i64::try_from(at_ms).unwrap_or(i64::MAX)), message)
}

fn traced_at(members: Map<String, Value>, ts: &str, message: &str) -> Sections {
    let mut sections = Sections::new();
    sections.add("execution", members.into());
    sections.add("audit_trace", json!([{"ts": ts, "msg": message}]));
    sections
}
