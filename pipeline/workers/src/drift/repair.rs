//! The request that mends a drift: a change of its own, which passes plan, preflight, approvals and verification like any other.
//!
//! What is gone is made again. What differs is set back where the catalogue has an update that sets exactly the fields concerned; otherwise nothing
//! is guessed, and it is said what is left for a person.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::catalogue::Catalogue;
use crate::course::Course;
use crate::verify::{self, Difference, Expectation};

/// What can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Repair {
    /// The request, as `upm request -f` takes it; `None` where nothing can be asked for.
    pub request: Option<Value>,
    /// Resources that are mended by it.
    pub mends: Vec<String>,
    /// Resources that are not, and why.
    pub leaves: Vec<(String, String)>,
}

/// The request that mends what differs. `expectations` say which place of a read-back is which field.
pub fn repair(
    course: &Course,
    differences: &[Difference],
    catalogue: &Catalogue,
    expectations: &[Expectation],
    reason: &str,
) -> Repair {
    let mut repair = Repair { request: None, mends: Vec::new(), leaves: Vec::new() };
    let Some(plan) = &course.plan else { return repair };
    let all = verify::fields(plan);
    let mut resources = Vec::new();
    let names: BTreeSet<&str> = differences.iter().map(|one| one.resource.as_str()).collect();
    for name in names {
        let own: Vec<&Difference> = differences.iter().filter(|one| one.resource == name).collect();
        let Some(fields) = all.get(name) else {
            repair.leaves.push((name.to_owned(), "the change does not say what was asked for".to_owned()));
            continue;
        };
        let said: Map<String, Value> = fields
            .iter()
            .filter(|(field, _)| *field != "action")
            .map(|(field, value)| (field.clone(), value.as_str().into()))
            .collect();
        if own.iter().any(|one| one.is_gone()) {
            resources.push(Value::Object(said));
            repair.mends.push(name.to_owned());
            continue;
        }
        match update(&own, fields.get("type").map_or("", String::as_str), &said, catalogue, expectations) {
            Ok(action) => {
                let mut members = said;
                members.insert("action".to_owned(), action.into());
                resources.push(Value::Object(members));
                repair.mends.push(name.to_owned());
            }
            Err(why) => repair.leaves.push((name.to_owned(), why)),
        }
    }
    if !resources.is_empty() {
        let mut request = json!({"resources": resources, "reason": reason, "source": "api"});
        for (name, value) in [
            ("environment", plan.environment.as_deref()),
            ("endpoint", plan.event.pointer("/target/cluster_endpoint_id").and_then(Value::as_str)),
        ] {
            if let Some(value) = value {
                request[name] = value.into();
            }
        }
        repair.request = Some(request);
    }
    repair
}

/// The update that sets exactly the fields that differ.
fn update(
    own: &[&Difference],
    kind: &str,
    said: &Map<String, Value>,
    catalogue: &Catalogue,
    expectations: &[Expectation],
) -> Result<String, String> {
    let mut fields = BTreeSet::new();
    for one in own {
        let field = expectations.iter().find(|known| known.kind == kind && known.pointer == one.path);
        let Some(field) = field else {
            let place = if one.path.is_empty() { "its state" } else { one.path.as_str() };
            return Err(format!(
                "nothing says which field {place} is; a person has to look ([[verify.expect]] would say it)"
            ));
        };
        if !said.contains_key(&field.field) {
            return Err(format!("the change did not ask for its {}", field.field));
        }
        fields.insert(field.field.as_str());
    }
    let updates = catalogue.types.get(kind).map(|kind| &kind.updates);
    let fits = updates.into_iter().flatten().find(|(_, update)| {
        let sets: BTreeSet<&str> = update.sets.iter().map(String::as_str).collect();
        sets == fields
    });
    let list: Vec<&str> = fields.into_iter().collect();
    fits.map(|(name, _)| name.clone())
        .ok_or_else(|| format!("the catalogue has no update of {kind} that sets {}", list.join(" and ")))
}
