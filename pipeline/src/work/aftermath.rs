//! What the workers behind an execution have in common: the course of a change, and saying that it is at its end.

use std::collections::BTreeSet;

use bytes::Bytes;
use schemas::ids::Phase;
use serde_json::json;
use workers::build::Sections;
use workers::course::{Course, Entry, House};
use workers::execute::tls::Fallback;
use workers::preflight::{Answers, Question};

use super::{Case, Emit, Shop, Stored, WorkError, ask, own};

/// The course of its newest attempt; none of a change that did not come in by a request.
pub(crate) fn course(shop: &Shop, case: &Case) -> Option<Course> {
    case.request(case.attempt())?;
    let payloads: Vec<(&Stored, &Bytes)> =
        case.entries.iter().filter_map(|stored| Some((stored, stored.payload.as_ref()?))).collect();
    let entries: Vec<Entry<'_>> = payloads.iter().map(|(stored, payload)| entry(shop, stored, payload)).collect();
    let read = entries.iter().zip(&payloads).map(|(entry, (stored, _))| (entry, stored.event())).collect();
    Course::of(read, |entry| {
        let (_, payload) = payloads.iter().find(|(stored, _)| stored.index == entry.index)?;
        shop.planned(payload).ok()
    })
}

fn entry<'a>(shop: &Shop, stored: &Stored, payload: &'a [u8]) -> Entry<'a> {
    let others = &shop.config.rollback.producers;
    let is_theirs = stored.header.producer.as_ref().is_some_and(|name| others.contains(name.as_str()));
    let takes_back = is_theirs || stored.is_by(own::ROLLBACK);
    Entry { index: stored.index, at_ms: stored.header.at, phase: stored.header.phase, takes_back, payload }
}

/// Answers of commands that look.
pub(crate) struct Looked {
    pub(crate) answers: Answers,
    /// Ids of those that were given without a good certificate.
    pub(crate) insecure: BTreeSet<String>,
}

/// Puts questions; after a certificate error once more without checking certificates, where an execution would do so, too.
pub(crate) async fn look(
    shop: &Shop,
    environment: Option<&str>,
    questions: Vec<Question>,
) -> Result<Looked, WorkError> {
    let mut answers = ask::all(shop, questions.clone()).await?;
    let again = questions.into_iter().filter_map(|question| {
        let answer = answers.get(&question.id).filter(|answer| answer.code != Some(0))?;
        let fallback = fallback(shop, environment, question.argv.first()?)?;
        let argv = fallback.apply(&question.argv);
        (fallback.is_meant(&answer.stderr) && argv != question.argv).then_some(Question { argv, ..question })
    });
    let again: Vec<Question> = again.collect();
    let insecure: BTreeSet<String> = again.iter().map(|question| question.id.clone()).collect();
    if !again.is_empty() {
        answers.extend(ask::all(shop, again).await?);
    }
    Ok(Looked { answers, insecure })
}

/// The way round a certificate that is not good, where the options allow it.
pub(crate) fn fallback<'s>(shop: &'s Shop, environment: Option<&str>, program: &str) -> Option<&'s Fallback> {
    let tool = shop.catalogue.tool_of(program)?;
    tool.tls_fallback.as_ref().filter(|_| shop.config.execute.may_fall_back(environment))
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
    shop.emit_news(case, Emit { id, phase: Phase::Audit, attempt, sections }).await?;
    Ok(())
}

/// Whether work is to end: answers that were cut off say nothing about the world.
pub(crate) fn goes_on(shop: &Shop, what: &str) -> Result<(), WorkError> {
    if shop.stop.is_cancelled() {
        return Err(WorkError::Failed { what: what.to_owned(), reason: "work is to end".to_owned() });
    }
    Ok(())
}
