//! A scanned document against the schema's tree, and the facts that its entry header will carry.
//!
//! One walk over the tape: types, names, time and phase of what the schema knows; everything else is stepped over.
//! FORMATS "Entry header" (has, outcome) and "Rejection reasons".

use crate::facts::{Facts, Has, Outcome};
use crate::ids::{ChangeClass, ChangeId, Environment, EventId, IdError, Phase, Tenant};
use crate::reason::Reason;
use crate::rules;
use crate::scan::{self, Kind, Token};
use crate::shape::{Accept, EVENT, Member, Node, Place, Role, Shape};
use crate::time;

/// What stands in the way of an event.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// Where, as an index into the tape.
    pub(crate) token: usize,
    /// The member that is missing there.
    pub(crate) missing: Option<&'static str>,
    pub(crate) expected: &'static str,
}

fn refuse<T>(reason: Reason, token: usize, expected: &'static str) -> Result<T, Refusal> {
    Err(Refusal { reason, token, missing: None, expected })
}

/// An event that can be read and attributed.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) facts: Facts,
    pub(crate) tenant: Tenant,
    /// Tokens of tenant and phase, for a mismatch to point at.
    pub(crate) tenant_at: usize,
    pub(crate) phase_at: usize,
    /// Tokens of what goes into the header as text: id, change id, environment.
    pub(crate) public_at: [Option<usize>; 3],
}

/// Checks a scanned document.
pub(crate) fn check(document: &[u8], tokens: &[Token]) -> Result<Checked, Refusal> {
    let shape = &*EVENT;
    let mut walk = Walk { document, tokens, shape, seen: Seen::default() };
    if tokens.first().is_none_or(|root| root.kind != Kind::Object) {
        return refuse(Reason::NotAnEvent, 0, "an object with the member provisioning_event");
    }
    walk.value(0, shape.root)?;
    walk.seen.finish(walk.document, tokens)
}

/// What the walk came across.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a row of the table of outcomes, and they are independent")]
struct Seen {
    id: Option<(usize, EventId)>,
    change: Option<(usize, ChangeId)>,
    environment: Option<(usize, Environment)>,
    tenant: Option<(usize, Tenant)>,
    phase: Option<(usize, Phase)>,
    seconds: Option<i64>,
    class: Option<ChangeClass>,
    probe: bool,
    has: Has,
    judged: bool,
    failed: bool,
    refused: bool,
    executed: bool,
    rollback_failed: bool,
    /// Of the policy that the walk is in.
    policy: PolicySeen,
}

#[derive(Debug, Default)]
struct PolicySeen {
    optional: bool,
    denied: bool,
}

struct Walk<'a> {
    document: &'a [u8],
    tokens: &'a [Token],
    shape: &'static Shape,
    seen: Seen,
}

impl Walk<'_> {
    /// As deep as the schema, which is no recursion that a document can drive.
    fn value(&mut self, at: usize, place: Place) -> Result<(), Refusal> {
        let node = self.shape.node(place);
        let token = self.tokens[at];
        match (node.accept, token.kind) {
            (Accept::Anything, _) => return Ok(()),
            (Accept::Object, Kind::Object) => self.object(at, node)?,
            (Accept::Array, Kind::Array) => self.array(at, node)?,
            (Accept::Filled, Kind::String) if token.start == token.end => {
                return refuse(Reason::MissingField, at, "a text that is not empty");
            }
            (Accept::Boolean, Kind::True | Kind::False)
            | (Accept::Number, Kind::Number)
            | (Accept::Text | Accept::Filled, Kind::String) => {}
            (Accept::Whole, Kind::Number) => self.whole(at)?,
            (accept, Kind::String) if accept.is_typed_text() => self.typed(at, accept)?,
            (accept, _) => return refuse(Reason::WrongType, at, expected(accept)),
        }
        if node.role != Role::None {
            self.note(at, node.role);
        }
        Ok(())
    }

    fn object(&mut self, at: usize, node: &'static Node) -> Result<(), Refusal> {
        if node.role == Role::Policy {
            self.seen.policy = PolicySeen::default();
        }
        let end = self.tokens[at].next as usize;
        let mut child = at + 1;
        let mut found = 0_u64;
        while child < end {
            let name = self.tokens[child];
            let known = if name.escaped {
                node.member(name.text(self.document).as_bytes())
            } else {
                node.member(name.raw(self.document))
            };
            if let Some(index) = known {
                found |= 1 << index;
                self.value(child + 1, node.members[index].place)?;
            }
            child = self.tokens[child + 1].next as usize;
        }
        let missing = |(index, member): (usize, &'static Member)| {
            (member.required && found >> index & 1 == 0).then_some(&*member.name)
        };
        match node.members.iter().enumerate().find_map(missing) {
            None => Ok(()),
            Some(name) if at == 0 => {
                let reason = Reason::NotAnEvent;
                Err(Refusal {
                    reason,
                    token: at,
                    missing: Some(name),
                    expected: "an object with the member provisioning_event",
                })
            }
            Some(name) => Err(Refusal {
                reason: Reason::MissingField,
                token: at,
                missing: Some(name),
                expected: "a required field",
            }),
        }
    }

    fn array(&mut self, at: usize, node: &'static Node) -> Result<(), Refusal> {
        let Some(items) = node.items else { return Ok(()) };
        let end = self.tokens[at].next as usize;
        let mut item = at + 1;
        while item < end {
            self.value(item, items)?;
            item = self.tokens[item].next as usize;
        }
        Ok(())
    }

    /// `1.0` and `1e2` are integers, here as in the JSON Schema.
    fn whole(&self, at: usize) -> Result<(), Refusal> {
        const LIMIT: f64 = 9_007_199_254_740_992.0;
        let raw = self.tokens[at].raw(self.document);
        if !raw.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            return Ok(());
        }
        let value = scan::float(raw);
        if value.fract() != 0.0 {
            return refuse(Reason::WrongType, at, "integer");
        }
        if value.abs() > LIMIT {
            return refuse(Reason::IntegerTooLarge, at, "an integer up to 2^53");
        }
        Ok(())
    }

    fn typed(&mut self, at: usize, accept: Accept) -> Result<(), Refusal> {
        let text = self.tokens[at].text(self.document);
        let seen = &mut self.seen;
        let id = |_: IdError, reason, expected| Refusal { reason, token: at, missing: None, expected };
        match accept {
            Accept::EventId => {
                let read = EventId::parse(&text).map_err(|error| id(error, Reason::BadId, EventId::EXPECTED))?;
                seen.id = Some((at, read));
            }
            Accept::ChangeId => {
                let read = ChangeId::parse(&text).map_err(|error| id(error, Reason::BadId, ChangeId::EXPECTED))?;
                seen.change = Some((at, read));
            }
            Accept::Environment => {
                let read = Environment::parse(&text)
                    .map_err(|error| id(error, Reason::BadEnvironment, Environment::EXPECTED))?;
                seen.environment = Some((at, read));
            }
            Accept::Tenant => {
                let read = Tenant::parse(&text).map_err(|error| id(error, Reason::BadId, Tenant::EXPECTED))?;
                seen.tenant = Some((at, read));
            }
            Accept::Phase => {
                let read = Phase::parse(&text).map_err(|error| id(error, Reason::UnknownPhase, Phase::EXPECTED))?;
                seen.phase = Some((at, read));
            }
            _ => match time::seconds(&text) {
                Some(seconds) => seen.seconds = Some(seconds),
                None => return refuse(Reason::BadTimestamp, at, "an RFC 3339 date-time"),
            },
        }
        Ok(())
    }

    /// Called for a place of known type, after what it contains.
    fn note(&mut self, at: usize, role: Role) {
        let token = self.tokens[at];
        let is_false = token.kind == Kind::False;
        let text = || token.text(self.document);
        let not_empty = token.next as usize > at + 1;
        let seen = &mut self.seen;
        match role {
            Role::ChangeClass => seen.class = ChangeClass::parse(&text()).ok(),
            Role::Probe => seen.probe = !is_false,
            Role::Plan if not_empty => seen.has.insert(Has::PLAN),
            Role::Preflight if not_empty => seen.has.insert(Has::PREFLIGHT),
            Role::Verification if not_empty => seen.has.insert(Has::VERIFICATION),
            Role::Closed if !is_false => seen.has.insert(Has::CLOSED),
            Role::None | Role::Plan | Role::Preflight | Role::Verification | Role::Closed => {}
            Role::Step => {
                seen.has.insert(Has::EXECUTION);
                seen.judged = true;
            }
            Role::StepRc => seen.failed |= scan::float(token.raw(self.document)) != 0.0,
            Role::Check => seen.judged = true,
            Role::CheckOk => seen.failed |= is_false,
            Role::Approval => {
                seen.has.insert(Has::APPROVALS);
                seen.judged = true;
            }
            Role::ApprovalDecision => seen.refused |= rules::is_refusal(&text()),
            Role::Policy => {
                seen.judged = true;
                seen.refused |= seen.policy.denied && !seen.policy.optional;
            }
            Role::PolicyMandatory => seen.policy.optional = is_false,
            Role::PolicyOk => seen.policy.denied |= is_false,
            Role::PolicyDecision => seen.policy.denied |= rules::is_refusal(&text()),
            Role::Executed => {
                seen.has.insert(Has::ROLLBACK);
                seen.executed = true;
            }
            Role::ExecutedRc => seen.rollback_failed |= scan::float(token.raw(self.document)) != 0.0,
            Role::ExecutedOutcome => seen.rollback_failed |= rules::is_failure(&text()),
        }
    }
}

fn expected(accept: Accept) -> &'static str {
    match accept {
        Accept::Object => "object",
        Accept::Array => "array",
        Accept::Boolean => "boolean",
        Accept::Number => "number",
        Accept::Whole => "integer",
        _ => "string",
    }
}

impl Seen {
    fn outcome(&self) -> Outcome {
        match self {
            Self { executed: true, rollback_failed: true, .. } => Outcome::RollbackFailed,
            Self { executed: true, .. } => Outcome::RolledBack,
            Self { failed: true, .. } => Outcome::Failed,
            Self { refused: true, .. } => Outcome::Refused,
            Self { judged: true, .. } => Outcome::Passed,
            _ => Outcome::None,
        }
    }

    fn finish(mut self, document: &[u8], tokens: &[Token]) -> Result<Checked, Refusal> {
        let outcome = self.outcome();
        let (Some((id_at, id)), Some((tenant_at, tenant)), Some((phase_at, phase)), Some(ts)) =
            (self.id, self.tenant, self.phase, self.seconds)
        else {
            // The schema requires all four, so the walk has refused already; a schema without them would end here.
            return refuse(Reason::MissingField, 0, "id, timestamp, phase and intent.tenant");
        };
        if phase == Phase::Execute {
            self.has.insert(Has::EXECUTION);
        }
        let change_at = self.change.as_ref().map(|(at, _)| *at);
        let change = match self.change {
            Some((_, change)) => change,
            // Both names have the same form, so an event id is a change id.
            None => ChangeId::parse(&tokens[id_at].text(document)).map_err(|_| Refusal {
                reason: Reason::BadId,
                token: id_at,
                missing: None,
                expected: ChangeId::EXPECTED,
            })?,
        };
        let public_at = [Some(id_at), change_at, self.environment.as_ref().map(|(at, _)| *at)];
        let environment = self.environment.map(|(_, environment)| environment);
        let facts =
            Facts { change, id, phase, environment, class: self.class, probe: self.probe, has: self.has, outcome, ts };
        Ok(Checked { facts, tenant, tenant_at, phase_at, public_at })
    }
}
