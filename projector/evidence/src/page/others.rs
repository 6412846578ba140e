//! Evidence of others inside the events: what it is, what it is about, and what came of holding it against the tenant's keys.

use projector::document::ChangeDocument;
use projector::foreign::{Foreign, Standing};

use super::shown::{Cut, cut};

pub(super) struct Other {
    pub(super) index: u64,
    pub(super) what: String,
    /// Where it stands in the event.
    pub(super) pointer: String,
    pub(super) about: Vec<String>,
    pub(super) standing: String,
    pub(super) bad: bool,
}

pub(super) fn others(document: &ChangeDocument) -> Cut<Other> {
    Cut::from(document.foreign.iter().map(one).collect::<Vec<_>>())
}

fn one(found: &Foreign) -> Other {
    let standing = match &found.standing {
        Standing::Signed { by } => format!("signed with the key {by}"),
        Standing::Bad { why } => format!("not to be believed: {why}"),
        Standing::NotChecked => "not checked: no key is named for it".to_owned(),
        Standing::Unsupported { why } => format!("not checked: {why}"),
    };
    Other {
        index: found.index,
        what: found.form.words().to_owned(),
        pointer: cut(&found.pointer),
        about: found.about.iter().map(|subject| cut(subject)).collect(),
        standing: cut(&standing),
        bad: matches!(found.standing, Standing::Bad { .. }),
    }
}
