//! What was asked for, by the event that asked for it. A plan is somebody's word about that: whoever may publish events may publish a plan of a change that
//! somebody else asked for, and have it say of itself whatever opens a lane.

use schemas::ids::ChangeClass;
use serde_json::{Map, Value};

use super::Planned;
use crate::argv;
use crate::catalogue::Catalogue;
use crate::plan::{Plan, plan};
use crate::request::{Request, json};

/// The event by which a change came in.
#[derive(Debug, Clone, Copy)]
pub struct Requested<'a> {
    event: &'a Value,
    class: Option<ChangeClass>,
}

impl<'a> Requested<'a> {
    /// Of an event (what `provisioning_event` holds); none where it asks for nothing.
    pub fn of(event: &'a Value) -> Option<Self> {
        let class = event["change_class"].as_str().and_then(|word| ChangeClass::parse(word).ok());
        let asks = event["request"].is_object();
        asks.then_some(Self { event, class })
    }

    /// With the class of an earlier attempt's request, if it names none: a change keeps its class until somebody asks for another.
    #[must_use]
    pub fn or_class_of(self, earlier: Self) -> Self {
        Self { class: self.class.or(earlier.class), ..self }
    }

    /// Who asked.
    pub fn initiator(&self) -> Option<&'a str> {
        self.event["intent"]["initiator"].as_str()
    }

    /// How urgent it is.
    pub fn class(&self) -> Option<ChangeClass> {
        self.class
    }

    /// Where, if the request says it beside its words.
    pub fn environment(&self) -> Option<&'a str> {
        self.event["environment"].as_str()
    }

    /// How risky whoever asked thinks it is.
    pub fn risk(&self) -> Option<&'a str> {
        self.event["intent"]["risk"].as_str()
    }

    /// Section `intent`, for policies.
    pub fn intent(&self) -> Map<String, Value> {
        self.event["intent"].as_object().cloned().unwrap_or_default()
    }

    /// The document as it was put, with what was said to the event alone.
    pub fn request(&self) -> Result<Request, json::JsonError> {
        let mut request = json::read(self.event["request"].to_string().as_bytes())?;
        request.environment = request.environment.or_else(|| self.environment().map(str::to_owned));
        Ok(request)
    }

    /// The plan that a catalogue makes of it; an external compiler is not asked.
    pub fn plan(&self, catalogue: &Catalogue) -> Result<Plan, String> {
        let request = self.request().map_err(|error| error.to_string())?;
        let mut made = plan(catalogue, &request, None).map_err(|error| error.to_string())?;
        made.class = self.class();
        Ok(made)
    }

    /// Why a plan is not the one that the catalogue makes of it; none where it is, to the letter. The digest of a plan of the catalogue covers all of it, so it is
    /// compared with types, actions, arguments, checks, cost and way back at once.
    pub fn differs(&self, planned: &Planned, catalogue: &Catalogue) -> Option<String> {
        let made = match self.plan(catalogue) {
            Ok(made) if made.digest() == planned.digest => return None,
            Ok(made) => made,
            Err(why) => return Some(format!("the catalogue makes no plan of what was asked for: {why}")),
        };
        let lines = made.steps.iter().map(|step| argv::render(&step.argv));
        let other = planned.steps.iter().zip(lines).find(|(step, line)| step.command != *line);
        Some(match other {
            Some((step, line)) => {
                format!("{} is {:?}, and the catalogue makes {line:?} of what was asked for", step.id, step.command)
            }
            None if planned.steps.len() != made.steps.len() => {
                format!(
                    "it has {} commands, and the catalogue makes {} of what was asked for",
                    planned.steps.len(),
                    made.steps.len()
                )
            }
            None => "it is not the plan that the catalogue makes of what was asked for".to_owned(),
        })
    }
}
