//! What the workers behind an execution have in common: the course of a change, and saying that it is at its end.

use schemas::ids::Phase;
use serde_json::json;
use workers::build::Sections;
use workers::course::{Course, Entry, House};

use super::{Case, Emit, Shop, WorkError};

/// The change as it is now.
pub(crate) async fn fresh(shop: &Shop, case: &Case) -> Result<Case, WorkError> {
    let entries = shop.record.change(&case.tenant, &case.change).await?;
    Ok(Case::new(case.tenant.clone(), case.change.clone(), entries))
}

/// The course of its newest attempt; none of a change that did not come in by a request.
pub(crate) fn course(shop: &Shop, case: &Case) -> Option<Course> {
    case.request(case.attempt())?;
    let entries: Vec<Entry<'_>> = case
        .entries
        .iter()
        .filter_map(|stored| {
            let payload = stored.payload.as_deref()?;
            Some(Entry { index: stored.index, at_ms: stored.header.at, phase: stored.header.phase, payload })
        })
        .collect();
    Course::read(&entries, &shop.catalogue)
}

/// What the options say about the end of a change.
pub(crate) fn house(shop: &Shop) -> House<'_> {
    House { automatic: &shop.config.rollback.automatic, closes: shop.config.verify.close }
}

/// Closes an attempt.
pub(crate) async fn close(shop: &Shop, case: &Case, attempt: u64, because: &str) -> Result<(), WorkError> {
    let mut sections = Sections::new();
    sections.add("governance", json!({"closed": true}));
    sections.add("closing", json!({ "because": because }));
    let id = case.event_id(attempt, "closed");
    shop.emit(case, Emit { id, phase: Phase::Audit, attempt, sections }).await?;
    Ok(())
}

/// Whether work is to end: answers that were cut off say nothing about the world.
pub(crate) fn goes_on(shop: &Shop, what: &str) -> Result<(), WorkError> {
    if shop.stop.is_cancelled() {
        return Err(WorkError::Failed { what: what.to_owned(), reason: "work is to end".to_owned() });
    }
    Ok(())
}
