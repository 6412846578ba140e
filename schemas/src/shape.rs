//! The JSON Schema as a small tree that a tape can be walked with.
//!
//! Compiled at first use from `provisioning_event.v1.schema.json` itself, so that the published text and what admission
//! asks for are one. Only the keywords that the file uses are known here: `type`, `properties`, `required`, `items`,
//! `$ref` into `$defs`, `minLength: 1`; the definitions with a meaning of their own (`timestamp`, `event_id` …) are
//! known by name. That this reads the file as a full JSON Schema implementation does is held by a property test.

use std::sync::LazyLock;

use serde_json::Value;

/// The published file.
pub const SCHEMA: &str = include_str!("../provisioning_event.v1.schema.json");

/// What a place asks of the value that stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    Anything,
    Object,
    Array,
    Text,
    /// Text that attributes, so it may not be empty.
    Filled,
    Boolean,
    Number,
    Whole,
    EventId,
    ChangeId,
    Environment,
    Tenant,
    Phase,
    Timestamp,
}

impl Accept {
    /// Places whose text is never masked: it is an identifier or has a form of its own.
    pub(crate) const fn is_typed_text(self) -> bool {
        matches!(
            self,
            Self::EventId | Self::ChangeId | Self::Environment | Self::Tenant | Self::Phase | Self::Timestamp
        )
    }
}

/// Places that say something about has and outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    None,
    ChangeClass,
    Probe,
    Plan,
    Preflight,
    Verification,
    Step,
    StepRc,
    Check,
    CheckOk,
    Approval,
    ApprovalDecision,
    Policy,
    PolicyMandatory,
    PolicyOk,
    PolicyDecision,
    Executed,
    ExecutedRc,
    ExecutedOutcome,
    Closed,
}

/// Index of a place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u16);

/// A member that an object's place knows.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Box<str>,
    pub(crate) place: Place,
    pub(crate) required: bool,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) accept: Accept,
    pub(crate) role: Role,
    pub(crate) members: Box<[Member]>,
    /// Length, first and last byte of each name: one look settles nearly every comparison.
    tags: Box<[u32]>,
    pub(crate) items: Option<Place>,
}

impl Node {
    /// Finds a member by name.
    #[inline]
    pub(crate) fn member(&self, name: &[u8]) -> Option<usize> {
        let tag = tag(name);
        let mut alike = self.tags.iter().enumerate().filter(|(_, other)| **other == tag);
        alike.find(|(at, _)| self.members[*at].name.as_bytes() == name).map(|(at, _)| at)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a tag only has to be equal for equal names")]
const fn tag(name: &[u8]) -> u32 {
    match name {
        [first, .., last] => (name.len() as u32) << 16 | (*first as u32) << 8 | *last as u32,
        [only] => 1 << 16 | *only as u32,
        [] => 0,
    }
}

/// The whole tree.
#[derive(Debug)]
pub(crate) struct Shape {
    nodes: Vec<Node>,
    pub(crate) root: Place,
}

impl Shape {
    pub(crate) fn node(&self, place: Place) -> &Node {
        &self.nodes[usize::from(place.0)]
    }

    /// The place of a member, if its name is known.
    pub(crate) fn child(&self, place: Place, name: &[u8]) -> Option<Place> {
        let node = self.node(place);
        node.member(name).map(|at| node.members[at].place)
    }

    fn add(&mut self, schema: &Value, defs: &Value, path: &str) -> Place {
        let target = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
        let schema = target.map_or(schema, |name| &defs[name]);
        let accept = target.and_then(named).unwrap_or_else(|| accept(schema));
        let required = schema["required"].as_array();
        let members = schema["properties"].as_object().into_iter().flatten().map(|(name, property)| Member {
            name: name.as_str().into(),
            place: self.add(property, defs, &format!("{path}/{name}")),
            required: required.is_some_and(|list| list.iter().any(|entry| entry == name)),
        });
        let members: Box<[Member]> = members.collect();
        let tags = members.iter().map(|member| tag(member.name.as_bytes())).collect();
        let items = schema.get("items").map(|items| self.add(items, defs, &format!("{path}/*")));
        let place = Place(u16::try_from(self.nodes.len()).unwrap_or(u16::MAX));
        self.nodes.push(Node { accept, role: role(path), members, tags, items });
        place
    }
}

fn named(definition: &str) -> Option<Accept> {
    Some(match definition {
        "event_id" => Accept::EventId,
        "change_id" => Accept::ChangeId,
        "environment" => Accept::Environment,
        "tenant" => Accept::Tenant,
        "phase" => Accept::Phase,
        "timestamp" => Accept::Timestamp,
        "whole" => Accept::Whole,
        _ => return None,
    })
}

fn accept(schema: &Value) -> Accept {
    match schema["type"].as_str() {
        Some("object") => Accept::Object,
        Some("array") => Accept::Array,
        Some("string") if schema.get("minLength").is_some() => Accept::Filled,
        Some("string") => Accept::Text,
        Some("boolean") => Accept::Boolean,
        Some("number") => Accept::Number,
        _ => Accept::Anything,
    }
}

fn role(path: &str) -> Role {
    match path.strip_prefix("/provisioning_event/").unwrap_or_default() {
        "change_class" => Role::ChangeClass,
        "probe" => Role::Probe,
        "plan" => Role::Plan,
        "preflight" => Role::Preflight,
        "verification" => Role::Verification,
        "execution/steps/*" => Role::Step,
        "execution/steps/*/rc" => Role::StepRc,
        "preflight/checks/*" | "verification/checks/*" | "verification/slo/*" => Role::Check,
        "preflight/checks/*/ok" | "verification/checks/*/ok" | "verification/slo/*/ok" => Role::CheckOk,
        "preflight/approvals/*" => Role::Approval,
        "preflight/approvals/*/decision" => Role::ApprovalDecision,
        "preflight/policies/*" => Role::Policy,
        "preflight/policies/*/mandatory" => Role::PolicyMandatory,
        "preflight/policies/*/ok" => Role::PolicyOk,
        "preflight/policies/*/decision" => Role::PolicyDecision,
        "rollback/executed" => Role::Executed,
        "rollback/executed/steps/*/rc" => Role::ExecutedRc,
        "rollback/executed/outcome" => Role::ExecutedOutcome,
        "governance/closed" => Role::Closed,
        _ => Role::None,
    }
}

/// The tree of `provisioning_event.v1.schema.json`.
pub(crate) static EVENT: LazyLock<Shape> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is compiled in, and tests read it")]
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema file is JSON");
    let mut shape = Shape { nodes: Vec::new(), root: Place(0) };
    shape.root = shape.add(&schema, &schema["$defs"], "");
    shape
});

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, accept: Accept, role: Role) {
        let mut place = EVENT.root;
        for name in path.split('/') {
            let found = if name == "*" { EVENT.node(place).items } else { EVENT.child(place, name.as_bytes()) };
            place = found.unwrap_or_else(|| panic!("{path}: {name} is not in the schema"));
        }
        assert_eq!((EVENT.node(place).accept, EVENT.node(place).role), (accept, role), "{path}");
    }

    #[test]
    fn places() {
        check("provisioning_event", Accept::Object, Role::None);
        check("provisioning_event/id", Accept::EventId, Role::None);
        check("provisioning_event/change_id", Accept::ChangeId, Role::None);
        check("provisioning_event/environment", Accept::Environment, Role::None);
        check("provisioning_event/timestamp", Accept::Timestamp, Role::None);
        check("provisioning_event/phase", Accept::Phase, Role::None);
        check("provisioning_event/intent/tenant", Accept::Tenant, Role::None);
        check("provisioning_event/intent/initiator", Accept::Filled, Role::None);
        check("provisioning_event/execution/steps/*/rc", Accept::Whole, Role::StepRc);
        check("provisioning_event/verification/slo/*/ok", Accept::Boolean, Role::CheckOk);
        check("provisioning_event/preflight/policies/*/decision", Accept::Text, Role::PolicyDecision);
        check("provisioning_event/rollback/executed/steps/*/rc", Accept::Whole, Role::ExecutedRc);
        check("provisioning_event/rollback/executed/steps/*/cmd", Accept::Text, Role::None);
        check("provisioning_event/plan/window", Accept::Anything, Role::None);
        check("provisioning_event/governance/closed", Accept::Boolean, Role::Closed);
    }

    #[test]
    fn every_role_has_a_place() {
        let found = EVENT.nodes.iter().filter(|node| node.role != Role::None).count();
        // Check and CheckOk stand in three lists.
        assert_eq!(found, 19 + 4);
    }

    #[test]
    fn required_members() {
        let event = EVENT.node(EVENT.child(EVENT.root, b"provisioning_event").unwrap());
        let mut required: Vec<_> =
            event.members.iter().filter(|member| member.required).map(|member| &*member.name).collect();
        required.sort_unstable();
        assert_eq!(required, ["id", "intent", "phase", "timestamp"]);
    }
}
