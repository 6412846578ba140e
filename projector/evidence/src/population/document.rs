//! `population.json`: what a population is of, and its totals. RFC 8785, closed: one text for one meaning.

use ledger::hash::Hash;
use serde::{Deserialize, Serialize};

use super::period::Period;
use super::tally::Totals;
use crate::document::DocumentError;
use crate::json::Node;

/// Format of populations written here.
pub(super) const FORMAT: u32 = 1;

/// The content of `population.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopulationDocument {
    /// Index of the last heartbeat before the period; 0 where the log has none before it.
    pub begins: u64,
    /// Cosignatures that the checkpoint carries below the log's own lines: each line without its newline.
    pub cosignatures: Vec<String>,
    /// Whether `details/` is there.
    pub details: bool,
    /// Index of the first heartbeat at or after the end of the period.
    pub ends: u64,
    /// The tree head that the headers follow on: a signed one, or the empty tree.
    pub first: TreeHead,
    /// `FORMAT`.
    pub format: u32,
    /// Beginning of the period, RFC 3339, UTC.
    pub from: String,
    /// The log.
    pub origin: String,
    /// The signed tree head that the headers lead to.
    pub last: TreeHead,
    /// The ledger's own log, which lists the tenants.
    pub tenants: Listed,
    /// End of the period, which is no part of it, RFC 3339, UTC.
    pub to: String,
    /// Totals over the period.
    pub totals: Totals,
}

/// A tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeHead {
    /// Root, lowercase hex.
    pub root: String,
    /// Number of entries.
    pub size: u64,
}

/// What `_ledger` lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Salted commitments in it: each is the log of a tenant, or an act on one. So there are at most as many tenants.
    pub listings: u64,
    /// Its tree.
    pub head: TreeHead,
}

impl TreeHead {
    pub(crate) fn of(size: u64, root: &Hash) -> TreeHead {
        TreeHead { root: root.to_string(), size }
    }
}

impl PopulationDocument {
    /// The bytes of `population.json`.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json_canonicalizer::to_vec(self)
    }

    /// Reads a `population.json`: closed, canonical, of the known format.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let malformed = |error: serde_json::Error| DocumentError::Malformed(error.to_string());
        let Format { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format > u64::from(FORMAT) {
            return Err(DocumentError::NewerFormat { found: format });
        }
        let document: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if document.format != FORMAT {
            return Err(DocumentError::Malformed(format!("format {format} never existed")));
        }
        if document.to_json().map_err(malformed)? != bytes {
            return Err(DocumentError::NotCanonical);
        }
        Ok(document)
    }

    /// Its period.
    pub fn period(&self) -> Result<Period, String> {
        let period = Period::parse(&self.from, &self.to).map_err(|error| error.to_string())?;
        if period.from_text() == self.from && period.to_text() == self.to {
            return Ok(period);
        }
        Err(format!("from and to are not in their one form: {} and {}", period.from_text(), period.to_text()))
    }
}

/// What only payloads say of a change. No header proves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Details {
    /// The change.
    pub change: String,
    /// The cloud that it targets: the last event that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
    /// Who or what executed it, sorted, each once.
    pub executors: Vec<String>,
    /// Who asked: the first event that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// Who owns it: the last event that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it touches: `type/name`, also with `id` and `arn` in the place of the name where they are given; sorted, each once.
    pub resources: Vec<String>,
}

impl Details {
    /// Whether a line, with its line feed, is the one form of details of this change.
    pub(super) fn is_of(line: &[u8], change: &str) -> bool {
        let sorted = |list: &[String]| list.windows(2).all(|pair| pair[0] < pair[1]);
        let Ok(details) = serde_json::from_slice::<Details>(line) else { return false };
        details.change == change
            && sorted(&details.executors)
            && sorted(&details.resources)
            && serde_json::to_vec(&details).is_ok_and(|bytes| line.strip_suffix(b"\n") == Some(&bytes))
    }

    /// Of the payloads of a change, oldest first, those that were erased left out.
    pub fn of(change: &str, payloads: &[Vec<u8>]) -> Details {
        let mut details = Details { change: change.to_owned(), ..Details::default() };
        for payload in payloads {
            let event = Node::parse(payload).get("provisioning_event");
            let said = |path: &[&str]| Some(event.at(path).text()).filter(|text| !text.is_empty());
            details.initiator = details.initiator.or_else(|| said(&["intent", "initiator"]));
            details.owner = said(&["governance", "owner"]).or(details.owner);
            details.cloud = said(&["target", "cloud"]).or(details.cloud);
            details.executors.extend(said(&["execution", "executor"]));
            let listed = event.at(&["target", "resources"]).list().into_iter().chain(event.get("resources").list());
            details.resources.extend(listed.flat_map(names_of));
        }
        for list in [&mut details.resources, &mut details.executors] {
            list.sort_unstable();
            list.dedup();
        }
        details
    }
}

/// `type/name`, `type/id` and `type/arn` of a resource, as far as it has them.
fn names_of(resource: Node<'_>) -> Vec<String> {
    let kind = resource.get("type").text().replace('/', "_");
    let names = ["name", "id", "arn"].map(|member| resource.get(member).text());
    names.into_iter().filter(|name| !name.is_empty()).map(|name| format!("{kind}/{name}")).collect()
}
