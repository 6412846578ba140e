//! One change from beginning to end: what is drawn for it, and the events that tell it.

use serde_json::{Value, json};

use super::emit::{Teller, noted, time};
use super::random::Random;
use super::truth::Happens;
use super::{DAY_MS, Options, Sign, Told};

pub(super) const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const TEAMS: [&str; 8] = ["payments", "identity", "search", "ledger", "platform", "media", "logistics", "growth"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "development"];

/// How good its approval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Names the plan, and signed.
    Signed,
    /// Names the plan.
    Bound,
    /// Who, role, time.
    Recorded,
    /// By the producer that executes.
    Claimed,
    /// By whoever asked.
    Own,
    /// Nobody's.
    None,
    /// Recorded, but behind the execution.
    Late,
    /// By whoever executes.
    Runner,
    /// Recorded, and over when it is executed.
    Expired,
    /// Written down years before it was given.
    Ahead,
    /// Names the plan, and carries a signature that is none.
    Forged,
}

/// What becomes of the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It succeeds and is verified.
    Good,
    /// It succeeds and nobody looks.
    Unverified,
    /// It succeeds and somebody looks 30 hours later.
    LateLook,
    /// A step fails and nothing more is heard.
    LeftOpen,
    /// A step fails; rolled back; verified or not.
    RolledBack { verified: bool },
    /// A step fails; the rollback fails, too.
    RollbackFails,
    /// A check fails; a second attempt is verified. Perhaps it is approved again.
    Retried { approved: bool },
    /// It succeeds and is verified; then something more is executed, and nobody looks.
    Reworked,
    /// A step fails; another change fixes it.
    Fixed,
    /// Refused before it executes.
    Refused,
}

/// A planned event with what happens by it.
pub(super) struct Event {
    pub(super) told: Told,
    /// When it is in the log.
    pub(super) at: u64,
    pub(super) what: What,
    pub(super) happens: Vec<Happens>,
}

/// What an event is to its story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Plan {
        compile_us: Option<u64>,
    },
    Policies {
        passed: bool,
    },
    Checks,
    Approval {
        counts: bool,
    },
    /// An approval of the second attempt.
    Again,
    Execute {
        failed: bool,
    },
    Verify {
        good: bool,
        duration_us: u64,
    },
    Rollback {
        good: bool,
    },
    Close,
    /// An event of an attempt that nobody began.
    Stray,
    /// A note that changes nothing.
    Note,
    Duplicate,
    Monitor,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a trait of its own, and they are independent")]
pub(super) struct Story {
    pub(super) change: String,
    pub(super) course: Course,
    pub(super) word: Word,
    pub(super) emergency: bool,
    pub(super) denied_first: bool,
    pub(super) has_preflight: bool,
    /// A check of it failed, and nobody cared.
    pub(super) halted: bool,
    pub(super) logs: bool,
    pub(super) rollback_plan: bool,
    pub(super) clock_off: bool,
    pub(super) odd_source: bool,
    pub(super) odd_agent: bool,
    pub(super) odd_visibility: bool,
    pub(super) wide_pipes: bool,
    pub(super) wrong_digest: bool,
    /// Nobody made a plan.
    pub(super) planless: bool,
    /// Another plan came behind the approval.
    pub(super) moved: bool,
    /// It ran outside the window of its plan.
    pub(super) outside: bool,
    /// It mends another.
    pub(super) is_fix: bool,
    /// Of a failure: when the change that fixes it is verified, and by which clock.
    pub(super) fixed_at: Option<(u64, i64)>,
    pub(super) monitor: bool,
    pub(super) events: Vec<Event>,
}

impl Story {
    /// The stories that begin with change `number`: itself, perhaps its fix, perhaps a monitor's run.
    pub(super) fn tell(random: &mut Random, options: &Options, number: u64, start: u64) -> Vec<Self> {
        let mut stories = Vec::new();
        let team = random.pick(&TEAMS);
        let environment = random.pick(&ENVIRONMENTS);
        let mut one = Drawn::draw(random, options, number, start, team, environment);
        let mut story = one.tell(random);
        if story.course == Course::Fixed {
            let failed = story.change.clone();
            let begins = one.clock + 10 * MINUTE_MS;
            let mut fix = Drawn::draw(random, options, number, begins, team, environment);
            fix.is_fix_of(&failed);
            let fix = fix.tell(random);
            let verified = fix.events.iter().find(|event| matches!(event.what, What::Verify { good: true, .. }));
            story.fixed_at = verified.map(|event| (event.told.at_ms, event.told.ts));
            stories.push(fix);
        }
        stories.insert(0, story);
        if random.permille(80) {
            stories.push(monitor(random, &options.tenant, number, start, team, environment));
        }
        stories
    }
}

/// What was drawn of a change.
#[expect(clippy::struct_excessive_bools, reason = "each is drawn on its own, and they are independent")]
struct Drawn {
    teller: Teller,
    course: Course,
    word: Word,
    emergency: bool,
    template: Option<u64>,
    has_policies: bool,
    denied_first: bool,
    has_preflight: bool,
    halted: bool,
    logs: bool,
    rollback_plan: bool,
    weak: bool,
    replan: Option<bool>,
    deletes: bool,
    resources: Vec<String>,
    odd_agent: bool,
    wide_pipes: bool,
    wrong_digest: bool,
    planless: bool,
    moved: bool,
    /// Of the plan's window: whether the change begins in it.
    window: Option<bool>,
    strays: bool,
    closes: bool,
    duplicate: bool,
    /// Two notes come under one id.
    echoes: bool,
    /// Another plan comes when all is done: before it is closed, or behind that.
    planned_late: Option<bool>,
    fixes: Option<String>,
    /// How long behind the execution it is approved.
    approve_after: Option<u64>,
    sign: Option<Sign>,
    /// When the first event is told.
    start: u64,
    /// When the last event was told.
    clock: u64,
    change: String,
}

impl Drawn {
    fn draw(
        random: &mut Random,
        options: &Options,
        number: u64,
        start: u64,
        team: &'static str,
        environment: &'static str,
    ) -> Self {
        let emergency = random.permille(60);
        let class = if emergency { "emergency" } else { random.pick(&["standard", "standard", "normal"]) };
        let template = random.permille(300).then(|| random.below(40));
        let change = format!("CHG-{number:08}");
        let (course, mut word) = (course(random), word(random));
        let resources = resources(random, team, environment, template);
        let planless = template.is_none() && random.permille(15);
        // There is nothing to name, and afterwards nothing is over.
        if word == Word::Signed && options.sign.is_none() {
            word = Word::Bound;
        }
        if planless && matches!(word, Word::Bound | Word::Signed | Word::Forged) || emergency && word == Word::Expired {
            word = Word::Recorded;
        }
        let moved = random.permille(20) && !planless && !emergency && matches!(word, Word::Bound | Word::Recorded);
        Self {
            teller: Teller {
                tenant: options.tenant.clone(),
                change: change.clone(),
                team,
                environment,
                class,
                clock_off_s: if random.permille(20) { random.pick(&[720, -1500]) } else { 0 },
                visibility: if random.permille(10) { "world" } else { "team" },
                source: if random.permille(10) { "cronjob" } else { random.pick(&["chatops", "api", "ticket"]) },
                initiator: format!("{team}-{}", random.below(12)),
                numbered: 0,
            },
            course,
            word,
            emergency,
            template,
            has_policies: random.permille(800),
            denied_first: random.permille(90),
            has_preflight: random.permille(970),
            logs: random.permille(960),
            rollback_plan: random.permille(920),
            weak: random.permille(250),
            replan: random.permille(150).then(|| random.permille(950)),
            deletes: template.is_none() && random.permille(40),
            resources,
            odd_agent: random.permille(12),
            wide_pipes: random.permille(12),
            wrong_digest: !planless && random.permille(12),
            planless,
            moved,
            window: random.permille(300).then(|| random.permille(930)),
            strays: random.permille(10),
            closes: random.permille(550),
            duplicate: random.permille(30),
            halted: random.permille(15),
            echoes: random.permille(15),
            planned_late: random.permille(25).then(|| random.permille(500)),
            fixes: None,
            approve_after: None,
            sign: options.sign,
            start,
            clock: start,
            change,
        }
    }

    /// A fix is a plain good change of its own id.
    fn is_fix_of(&mut self, failed: &str) {
        self.change = format!("{}-FIX", self.change);
        self.teller.change.clone_from(&self.change);
        self.fixes = Some(failed.to_owned());
        (self.course, self.word, self.emergency) = (Course::Good, Word::Bound, false);
        self.teller.class = "normal";
        (self.deletes, self.template) = (false, None);
        (self.planless, self.moved, self.planned_late) = (false, false, None);
    }

    fn tell(&mut self, random: &mut Random) -> Story {
        let mut events = Vec::new();
        self.plans(random, &mut events);
        self.preflight(random, &mut events);
        self.approve(random, &mut events);
        self.change_the_plan(random, &mut events);
        self.run(random, &mut events);
        if self.strays {
            let at = self.after(random, 8);
            events.push(self.teller.event(at, "audit", "ci", json!({"attempt": 7}), What::Stray, Vec::new()));
        }
        if self.echoes {
            for note in ["first", "second"] {
                let at = self.after(random, 1);
                let body = json!({"audit_trace": [{"ts": time(at), "msg": note}]});
                events.push(self.teller.event(at, "audit", "ci", body, What::Note, Vec::new()));
                self.teller.numbered -= 1;
            }
            self.teller.numbered += 1;
        }
        if self.duplicate {
            noted(&mut events);
        }
        Story {
            change: self.change.clone(),
            course: self.course,
            word: self.word,
            emergency: self.emergency,
            denied_first: self.has_policies && self.denied_first,
            has_preflight: self.has_preflight,
            halted: self.has_preflight && self.halted,
            logs: self.logs,
            rollback_plan: self.rollback_plan || self.template.is_some(),
            odd_agent: self.odd_agent,
            odd_visibility: self.teller.visibility == "world",
            wide_pipes: self.wide_pipes,
            wrong_digest: self.wrong_digest,
            planless: self.planless,
            moved: self.is_moved(),
            outside: self.window == Some(false) && !self.planless,
            clock_off: self.teller.clock_off_s != 0,
            odd_source: self.teller.source == "cronjob",
            is_fix: self.fixes.is_some(),
            fixed_at: None,
            monitor: false,
            events,
        }
    }

    fn after(&mut self, random: &mut Random, minutes: u64) -> u64 {
        self.clock += minutes * MINUTE_MS + random.below(MINUTE_MS);
        self.clock
    }

    /// What is refused is planned no more.
    fn is_moved(&self) -> bool {
        self.moved && self.course != Course::Refused
    }

    /// Plan and, where drawn, plan again. Plans of one template are equal but for some.
    fn plans(&mut self, random: &mut Random, events: &mut Vec<Event>) {
        if self.planless {
            return;
        }
        let variant = if self.template.is_some() { u64::from(random.permille(20)) } else { 0 };
        let mut variants = vec![variant];
        variants.extend(self.replan.map(|equal| if equal { variant } else { variant + 10 }));
        for (turn, variant) in variants.into_iter().enumerate() {
            self.plan(random, events, if turn == 0 { 0 } else { 3 }, variant);
        }
    }

    /// Another plan, behind the approval and before the execution.
    fn change_the_plan(&mut self, random: &mut Random, events: &mut Vec<Event>) {
        if self.is_moved() {
            self.plan(random, events, 2, 20);
        }
    }

    fn plan(&mut self, random: &mut Random, events: &mut Vec<Event>, minutes: u64, variant: u64) {
        let at = self.after(random, minutes);
        let compile_us = random.permille(950).then(|| 80_000 + random.below(1_600_000));
        let inputs = match (self.template, self.weak) {
            (Some(template), _) => Some(format!("sha256:{}-{}-{template}", self.teller.team, self.teller.environment)),
            (None, false) => Some(format!("sha256:{}", self.change)),
            (None, true) => None,
        };
        let key = inputs.clone().unwrap_or_else(|| format!("weak {}", self.change));
        let happens = vec![Happens::Planned { inputs: key, variant, weak: inputs.is_none() }];
        let body = self.plan_body(inputs.as_deref(), variant, compile_us);
        events.push(self.teller.event(at, "plan", "ci", body, What::Plan { compile_us }, happens));
    }

    /// What the plan digest covers has to follow from the template alone, where there is one.
    fn plan_body(&self, inputs: Option<&str>, variant: u64, compile_us: Option<u64>) -> Value {
        let what = self.template.map_or_else(|| self.change.clone(), |template| format!("template {template}"));
        let mut plan =
            json!({"commands": [format!("apply {what} --variant {variant}")], "resources_needed": ["quota"]});
        if let Some(inputs) = inputs {
            plan["inputs_digest"] = inputs.into();
        }
        if let Some(us) = compile_us {
            plan["compile_ms"] = json!(f64::from(u32::try_from(us).unwrap_or(0)) / 1000.0);
        }
        if let Some(within) = self.window {
            let [from, to] = if within {
                [self.start - DAY_MS, self.start + 60 * DAY_MS]
            } else {
                [self.start - 20 * DAY_MS, self.start - 10 * DAY_MS]
            };
            plan["window"] = json!({"from": time(from), "to": time(to)});
        }
        if self.wrong_digest {
            plan["digest"] = format!("sha256:{}", "0".repeat(64)).into();
        }
        let mut body = json!({ "target": self.target(), "plan": plan });
        if let Some(rollback) = self.way_back() {
            body["rollback"] = rollback;
        }
        if let Some(fixes) = &self.fixes {
            body["fixes"] = fixes.as_str().into();
        }
        body
    }

    fn target(&self) -> Value {
        let action = if self.deletes { "delete" } else { "update" };
        let named = self.resources.iter().map(|name| json!({"type": "service", "name": name, "action": action}));
        json!({"cloud": "aws", "cluster_endpoint_id": self.teller.environment, "resources": named.collect::<Vec<_>>()})
    }

    fn way_back(&self) -> Option<Value> {
        let what = self.template.map_or_else(|| self.change.clone(), |template| format!("template {template}"));
        let is_known = self.template.is_some() || self.rollback_plan;
        is_known.then(|| json!({"available": true, "plan": [format!("undo {what}")]}))
    }

    fn preflight(&mut self, random: &mut Random, events: &mut Vec<Event>) {
        if !self.has_preflight {
            self.has_policies = false;
            return;
        }
        let checks = json!([{"type": "quota", "ok": true}, {"type": "existence", "ok": !self.halted}]);
        let optional = json!({"name": "cost", "mandatory": false, "ok": random.permille(800)});
        if self.has_policies {
            let first = json!([{"name": "tags", "ok": !self.denied_first}, optional]);
            let at = self.after(random, 2);
            let body = json!({"preflight": {"checks": checks, "policies": first}});
            let what = What::Policies { passed: !self.denied_first };
            events.push(self.teller.event(at, "preflight", "ci", body, what, Vec::new()));
            if self.denied_first {
                let at = self.after(random, 9);
                let body = json!({"preflight": {"checks": checks, "policies": [{"name": "tags", "ok": true}]}});
                events.push(self.teller.event(
                    at,
                    "preflight",
                    "ci",
                    body,
                    What::Policies { passed: true },
                    Vec::new(),
                ));
            }
        } else {
            let at = self.after(random, 2);
            events.push(self.teller.event(
                at,
                "preflight",
                "ci",
                json!({"preflight": {"checks": checks}}),
                What::Checks,
                Vec::new(),
            ));
        }
    }

    /// Approves before the execution, or decides how long after it. Emergencies mostly are afterwards.
    fn approve(&mut self, random: &mut Random, events: &mut Vec<Event>) {
        self.approve_after = match (self.word, self.emergency) {
            (Word::Late, false) => Some(5 * MINUTE_MS),
            (Word::Late | Word::None, true) => Some(100 * HOUR_MS),
            (_, true) => random.permille(700).then(|| HOUR_MS + random.below(60 * HOUR_MS)),
            (_, false) => None,
        };
        if self.course == Course::Refused {
            let at = self.after(random, 4);
            let body = Teller::approval("refused", &format!("{}-lead", self.teller.team), at, None);
            events.push(self.teller.event(at, "preflight", "itsm", body, What::Approval { counts: false }, Vec::new()));
            return;
        }
        if self.approve_after.is_none() && self.word != Word::None {
            let at = self.after(random, 4);
            self.give(at, events);
        }
    }

    fn give(&mut self, at: u64, events: &mut Vec<Event>) {
        let plan = match self.word {
            Word::Bound | Word::Signed | Word::Forged => events
                .iter()
                .rev()
                .find(|event| matches!(event.what, What::Plan { .. }))
                .and_then(|event| schemas::plan::digest(event.told.payload.as_bytes())),
            _ => None,
        };
        let who = match self.word {
            Word::Own => self.teller.initiator.clone(),
            Word::Runner => format!("{}-bot", self.teller.team),
            _ => format!("{}-lead", self.teller.team),
        };
        let producer = if self.word == Word::Claimed { "ci" } else { "itsm" };
        // Ahead of the log's time, too, where an old history is played now.
        let given = if self.word == Word::Ahead { at + 4_000 * DAY_MS } else { at };
        let mut body = Teller::approval("approved", &who, given, plan.as_deref());
        if self.word == Word::Forged {
            body["preflight"]["approvals"][0]["signature"] = "-----BEGIN SSH SIGNATURE-----".into();
        }
        if self.word == Word::Expired {
            body["preflight"]["approvals"][0]["expires"] = time(at + MINUTE_MS).into();
        }
        if let (Word::Signed, Some(sign)) = (self.word, self.sign) {
            let approval = &mut body["preflight"]["approvals"][0];
            approval["signature"] = sign(&self.change, approval).into();
        }
        let worthless = matches!(self.word, Word::Own | Word::Claimed | Word::Runner | Word::Expired | Word::Ahead);
        let counts = !worthless && !self.moved;
        events.push(self.teller.event(at, "preflight", producer, body, What::Approval { counts }, Vec::new()));
    }

    fn run(&mut self, random: &mut Random, events: &mut Vec<Event>) {
        match self.course {
            Course::Refused => {
                self.close(random, events);
                return;
            }
            Course::Good => {
                self.execute(random, events, false, 1);
                self.verify(random, events, true, 1, 0);
                if self.is_planned_late() && self.planned_late == Some(false) {
                    self.plan(random, events, 2, 30);
                }
            }
            Course::Unverified => self.execute(random, events, false, 1),
            Course::LateLook => {
                self.execute(random, events, false, 1);
                self.verify(random, events, true, 1, 30 * HOUR_MS);
            }
            Course::LeftOpen | Course::Fixed => self.execute(random, events, true, 1),
            Course::RolledBack { verified } => {
                self.execute(random, events, true, 1);
                self.roll_back(random, events, true);
                if verified {
                    self.verify(random, events, true, 1, 0);
                }
            }
            Course::RollbackFails => {
                self.execute(random, events, true, 1);
                self.roll_back(random, events, false);
            }
            Course::Reworked => {
                self.execute(random, events, false, 1);
                self.verify(random, events, true, 1, 0);
                self.execute(random, events, false, 1);
            }
            Course::Retried { approved } => {
                self.execute(random, events, false, 1);
                self.verify(random, events, false, 1, 0);
                if approved {
                    let at = self.after(random, 4);
                    let mut body = Teller::approval("approved", &format!("{}-lead", self.teller.team), at, None);
                    body["attempt"] = 2.into();
                    events.push(self.teller.event(at, "preflight", "itsm", body, What::Again, Vec::new()));
                }
                self.execute(random, events, false, 2);
                self.verify(random, events, true, 2, 0);
            }
        }
        if self.closes
            && !matches!(
                self.course,
                Course::Unverified | Course::LateLook | Course::LeftOpen | Course::Fixed | Course::RollbackFails
            )
        {
            self.close(random, events);
            if self.is_planned_late() && self.planned_late == Some(true) {
                self.plan(random, events, 2, 40);
            }
        }
    }

    /// Only where it is about nothing else: an approval that comes later would be of this plan.
    fn is_planned_late(&self) -> bool {
        let plain = self.course == Course::Good && !self.planless && !self.emergency && self.word != Word::Late;
        plain && self.planned_late.is_some()
    }

    fn execute(&mut self, random: &mut Random, events: &mut Vec<Event>, failed: bool, attempt: u64) {
        let at = self.after(random, 5);
        let count = 1 + random.below(4);
        let steps: Vec<Value> = (0..count)
            .map(|step| {
                let rc = i32::from(failed && step + 1 == count);
                let mut one =
                    json!({"cmd": format!("apply --step {step}"), "rc": rc, "duration_ms": random.below(90_000)});
                if self.logs || step > 0 {
                    one["stdout"] = json!(format!("step {step} of {} done, revision {:x}", self.change, random.next()));
                }
                one
            })
            .collect();
        let agent = if self.odd_agent { "robot" } else { "agent-session" };
        let mut body = json!({"execution": {"agent": agent, "executor": format!("{}-bot", self.teller.team),
            "mTLS": true, "credentials": {"kind": "oidc", "ttl_s": 900}, "tools": [{"name": "apply", "version": "1.4.2"}], "steps": steps}});
        if self.wide_pipes {
            body["execution"]["pipe_allow_list"] = json!(["jq", "sh"]);
        }
        if self.planless {
            body["target"] = self.target();
            if let Some(rollback) = self.way_back() {
                body["rollback"] = rollback;
            }
        }
        if attempt > 1 {
            body["attempt"] = attempt.into();
        }
        let happens = self.resources.iter().map(|name| match self.deletes {
            true if failed => Happens::Nothing,
            true => Happens::Removed(name.clone()),
            false => Happens::Managed(name.clone()),
        });
        let happens = happens.collect();
        events.push(self.teller.event(at, "execute", "ci", body, What::Execute { failed }, happens));
        if let Some(after) = self.approve_after.take() {
            self.give(at + after, events);
        }
    }

    fn verify(&mut self, random: &mut Random, events: &mut Vec<Event>, good: bool, attempt: u64, late_ms: u64) {
        let at = self.after(random, 6) + late_ms;
        let duration_us = 150_000 + random.below(2_400_000);
        let drift = good && !self.deletes && random.permille(700);
        let mut verification = json!({"checks": [{"type": "read_back", "ok": true}, {"type": "health", "ok": good}],
            "duration_ms": f64::from(u32::try_from(duration_us).unwrap_or(0)) / 1000.0, "wait_ms": random.below(60_000)});
        let mut happens = Vec::new();
        if drift {
            verification["drift"] = json!({"baseline_hash": "sha256:aa", "current_hash": "sha256:aa", "diff": []});
            happens.extend(self.resources.iter().map(|name| Happens::Compared(name.clone())));
        }
        let mut body = json!({ "verification": verification });
        if attempt > 1 {
            body["attempt"] = attempt.into();
        }
        events.push(self.teller.event(at, "verify", "ci", body, What::Verify { good, duration_us }, happens));
    }

    fn roll_back(&mut self, random: &mut Random, events: &mut Vec<Event>, good: bool) {
        let at = self.after(random, 7);
        let outcome = if good { "rolled_back" } else { "failed" };
        let body =
            json!({"rollback": {"executed": {"steps": [{"cmd": "undo", "rc": i32::from(!good)}], "outcome": outcome}}});
        events.push(self.teller.event(at, "execute", "ci", body, What::Rollback { good }, Vec::new()));
    }

    fn close(&mut self, random: &mut Random, events: &mut Vec<Event>) {
        let at = self.after(random, 3);
        events.push(self.teller.event(
            at,
            "audit",
            "ci",
            json!({"governance": {"closed": true}}),
            What::Close,
            Vec::new(),
        ));
    }
}

fn course(random: &mut Random) -> Course {
    match random.below(1000) {
        0..40 => Course::Unverified,
        40..65 => Course::LateLook,
        65..80 => Course::LeftOpen,
        80..115 => Course::RolledBack { verified: true },
        115..125 => Course::RolledBack { verified: false },
        125..130 => Course::RollbackFails,
        130..155 => Course::Retried { approved: random.permille(600) },
        155..170 => Course::Fixed,
        170..190 => Course::Refused,
        190..205 => Course::Reworked,
        _ => Course::Good,
    }
}

fn word(random: &mut Random) -> Word {
    match random.below(1000) {
        0..25 => Word::Claimed,
        25..40 => Word::Own,
        40..55 => Word::None,
        55..75 => Word::Late,
        75..400 => Word::Recorded,
        400..412 => Word::Runner,
        412..424 => Word::Expired,
        424..480 => Word::Signed,
        480..490 => Word::Ahead,
        490..500 => Word::Forged,
        _ => Word::Bound,
    }
}

/// Each team has some 60 services in each environment; a template is always about the same.
fn resources(random: &mut Random, team: &str, environment: &str, template: Option<u64>) -> Vec<String> {
    let mut names: Vec<String> = match template {
        Some(template) => vec![format!("{team}-{}", template % 60)],
        None => (0..=random.below(3)).map(|_| format!("{team}-{}", random.below(60))).collect(),
    };
    names.sort_unstable();
    names.dedup();
    let _ = environment;
    names
}

/// A monitor's run: compares, and says from now on whether it watches.
fn monitor(
    random: &mut Random,
    tenant: &str,
    number: u64,
    start: u64,
    team: &'static str,
    environment: &'static str,
) -> Story {
    let change = format!("MON-{number:08}");
    let mut teller = Teller {
        tenant: tenant.to_owned(),
        change: change.clone(),
        team: "platform",
        environment,
        class: "standard",
        clock_off_s: 0,
        visibility: "team",
        source: "api",
        initiator: "drift-monitor".to_owned(),
        numbered: 0,
    };
    let watches = random.pick(&[Some(true), Some(false), None, None]);
    let mut names: Vec<String> = (0..=random.below(8)).map(|_| format!("{team}-{}", random.below(60))).collect();
    names.sort_unstable();
    names.dedup();
    let listed: Vec<Value> = names.iter().map(|name| json!({"type": "service", "name": name})).collect();
    let mut drift = json!({"baseline_hash": "sha256:bb", "current_hash": "sha256:bb", "diff": []});
    if let Some(watches) = watches {
        drift["monitored"] = watches.into();
    }
    let body = json!({"target": {"cloud": "aws", "cluster_endpoint_id": environment, "resources": listed},
        "verification": {"drift": drift}});
    let happens = names.into_iter().flat_map(|name| {
        let turn = watches.map(|watches| Happens::Watched(name.clone(), watches));
        std::iter::once(Happens::Compared(name)).chain(turn)
    });
    let happens = happens.collect();
    let at = start + random.below(20 * MINUTE_MS);
    let event = teller.event(at, "verify", "monitor", body, What::Monitor, happens);
    Story {
        change,
        course: Course::Good,
        word: Word::None,
        emergency: false,
        denied_first: false,
        has_preflight: false,
        halted: false,
        logs: true,
        rollback_plan: true,
        clock_off: false,
        odd_source: false,
        odd_agent: false,
        odd_visibility: false,
        wide_pipes: false,
        wrong_digest: false,
        planless: false,
        moved: false,
        outside: false,
        is_fix: false,
        fixed_at: None,
        monitor: true,
        events: vec![event],
    }
}
