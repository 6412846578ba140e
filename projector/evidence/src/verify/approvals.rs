//! The signatures of the approvals inside a pack's events: whether each fits what it stands beside, and by whose key it is. What an approval is
//! worth, and whether it counted, `change.json` says, which is derived again; here is what anybody can check with `ssh-keygen -Y verify`.
//!
//! A signature that does not fit refutes no pack: that somebody sent one is what was recorded. But what the pack takes for signed has to be on the list of
//! a verifier who brought one (`--allowed-signers`).

use ledger::ssh::{self, AllowedSigners};
use projector::approval::{NAMESPACE, Rules, statement};
use schemas::event::{Approval, Event};
use schemas::ids::ChangeId;

use super::contents::Files;
use crate::chain::Opened;
use crate::document::PackDocument;
use crate::files;
use crate::report::{Id, Log, counted};
use crate::trust::Trust;

/// Sentences that are said at most.
const SENTENCES_MAX: usize = 50;

/// Checks what there is, if the verifier brought a list, and gives a sentence for each approval.
pub(super) fn check(
    document: &PackDocument,
    change: Option<&ChangeId>,
    opened: Option<&[Opened]>,
    files: &Files<'_>,
    trust: &Trust,
    log: &mut Log,
) -> Vec<String> {
    let list = trust.allowed_signers.as_ref();
    let (Some(opened), Some(change)) = (opened, change) else {
        if list.is_some() {
            log.not_done(Id::EventsApprovals, "not every event could be read");
        }
        return Vec::new();
    };
    let rules = Rules::from_changes(&document.origin, document.approval_rules.clone());
    let mut found = Found::default();
    for entry in opened.iter().filter(|entry| entry.header.has.contains(APPROVALS)) {
        let file = files::event_name(entry.index, entry.header.phase);
        // What could not be read again is told beside the zip's form.
        let payload = files.get(&file).unwrap_or_default();
        let Ok(event) = Event::parse(&payload) else { continue };
        let given = event.preflight.iter().flat_map(|preflight| preflight.approvals.iter());
        for (place, approval) in (1_usize..).zip(given) {
            found.add(&format!("{file}, approval {place}"), &Judged::of(change, entry.index, approval, &rules, list));
        }
    }
    if list.is_some() {
        match (found.unlisted, found.signed) {
            (Some(unlisted), _) => log.refute(Id::EventsApprovals, unlisted),
            (None, 0) => log.ok(Id::EventsApprovals, "none of them is signed"),
            (None, signed) => log.ok(Id::EventsApprovals, counted(signed, "signed approval", "signed approvals")),
        }
    }
    if found.count > SENTENCES_MAX {
        found.says.push(format!("{} more approvals", found.count - SENTENCES_MAX));
    }
    found.says
}

/// The word of a header for an entry with approvals.
const APPROVALS: &str = "approvals";

#[derive(Default)]
struct Found {
    says: Vec<String>,
    count: usize,
    /// Taken for signed by the pack.
    signed: usize,
    /// The first of these that the verifier's list does not have.
    unlisted: Option<String>,
}

impl Found {
    fn add(&mut self, place: &str, judged: &Judged) {
        let sentence = format!("{place}: {}", judged.text);
        self.signed += usize::from(judged.signed);
        if judged.signed && judged.listed == Some(false) {
            self.unlisted.get_or_insert_with(|| sentence.clone());
        }
        self.count += 1;
        if self.count <= SENTENCES_MAX {
            self.says.push(sentence);
        }
    }
}

struct Judged {
    text: String,
    /// It fits, and the tenant's rule in the pack allows its key.
    signed: bool,
    /// Whether the verifier's list allows its key; `None` without a list.
    listed: Option<bool>,
}

impl Judged {
    fn of(
        change: &ChangeId,
        index: u64,
        approval: &Approval<'_>,
        rules: &Rules,
        list: Option<&AllowedSigners>,
    ) -> Self {
        let approver = approval.approver();
        let decision = approval.decision.as_deref().unwrap_or("no decision");
        let role = approval.role.as_deref().map_or_else(String::new, |role| format!(" as {role}"));
        let head = format!("{decision} by {approver}{role}");
        let bare = |text: String| Self { text, signed: false, listed: list.map(|_| false) };
        let Some(signature) = approval.signature.as_deref() else {
            return bare(format!("{head}: not signed"));
        };
        let key = match ssh::verify(signature, NAMESPACE, &statement(&rules.origin, change, approval)) {
            Ok(key) => key,
            Err(error) => return bare(format!("{head}: its signature does NOT fit ({error})")),
        };
        let print = key.fingerprint();
        let signed = rules.at(index).signers.get(&print).is_some_and(|name| name == approver);
        let listed = list.map(|list| list.allows(approver, NAMESPACE, &key));
        let whose = match listed {
            Some(true) => format!("which your list allows for {approver}"),
            Some(false) => format!("which is NOT on your list for {approver}"),
            None if signed => format!(
                "which the tenant's rule allows for {approver} (by pack.json, which the operator states; --allowed-signers takes your list)"
            ),
            None => format!("which the tenant's rule does NOT allow for {approver}"),
        };
        Self { text: format!("{head}: its signature fits, by {print}, {whose}"), signed, listed }
    }
}
