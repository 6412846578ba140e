//! `GET /v1/tenants/{tenant}/changes/{id}/assert?requires=planned,approved[&artifact=sha256:…|&plan_digest=sha256:…]`: the gate. Always
//! 200 with `ok` and each reason where the question could be judged; a change that is not there is a no, not an error, so that whoever waits for
//! it can go on asking. A change that is too large to be judged whole is refused (422), which stops whoever asks.
//!
//! What is decided is `projector::assert`'s. Expiry is judged by the later of this server's clock and the log's newest time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use projector::assert::{Question, Requirement, Subject, assert, digest};
use schemas::ids::{ChangeId, Tenant};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::{App, blocking};
use super::changes::{Recorded, circumstances};
use super::extract::{UrlPath, UrlQuery};
use super::problem::Problem;
use crate::clock;

/// What is asked of the change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssertQuery {
    requires: Option<String>,
    artifact: Option<String>,
    plan_digest: Option<String>,
    at_least: Option<u64>,
}

/// `GET …/assert`
pub async fn one(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    UrlQuery(query): UrlQuery<AssertQuery>,
) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    app.covered(&tenant, query.at_least).await?;
    let question = question(&query)?;
    blocking(move || {
        let recorded = Recorded::of(&app, &open, &change)?;
        let mut context = circumstances(&open)?;
        context.as_of_ms = context.as_of_ms.max(clock::unix_ms());
        let verdict = assert(&change, &recorded.views(), &context, &question);
        let mut answer = json!(verdict);
        answer["open"] = json!(!verdict.ok && verdict.may_still_hold());
        answer["tenant"] = json!(tenant);
        Ok(Json(answer))
    })
    .await
}

fn question(query: &AssertQuery) -> Result<Question, Problem> {
    let exact = |name: &str, text: &str| {
        digest(text).ok_or_else(|| {
            Problem::bad_request(format!("{name}: found {text:?}, expected sha256: and 64 hexadecimal digits"))
        })
    };
    let subject = match (&query.artifact, &query.plan_digest) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("artifact and plan_digest: one question at a time, found both"));
        }
        (Some(text), None) => Some(Subject::Artifact(exact("artifact", text)?)),
        (None, Some(text)) => Some(Subject::Plan(exact("plan_digest", text)?)),
        (None, None) => None,
    };
    let words = query.requires.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    let requires: Vec<Requirement> = words
        .map(|word| {
            Requirement::parse(word).ok_or_else(|| {
                let known = Requirement::ALL.map(Requirement::as_str).join(", ");
                Problem::bad_request(format!("requires: found {word:?}, expected some of {known}"))
            })
        })
        .collect::<Result<_, _>>()?;
    if requires.is_empty() && subject.is_none() {
        // A gate that asks for nothing would always be open.
        let known = Requirement::ALL.map(Requirement::as_str).join(", ");
        return Err(Problem::bad_request(format!("requires: found nothing, expected some of {known}")));
    }
    Ok(Question { requires, subject })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(requires: Option<&str>, artifact: Option<&str>, plan_digest: Option<&str>) -> Result<Question, String> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let query = AssertQuery {
            requires: text(requires),
            artifact: text(artifact),
            plan_digest: text(plan_digest),
            at_least: None,
        };
        question(&query).map_err(|problem| problem.to_json()["detail"].to_string())
    }

    #[test]
    fn a_question_is_read_strictly() {
        let all = ask(Some("planned, approved,policy,verified,evidence"), None, None).unwrap();
        assert_eq!(all.requires, Requirement::ALL);
        let hex = "ab".repeat(32);
        assert_eq!(ask(None, Some(&hex), None).unwrap().subject, Some(Subject::Artifact(format!("sha256:{hex}"))));
        for (requires, artifact, plan, says) in [
            (None, None, None, "found nothing"),
            (Some(","), None, None, "found nothing"),
            (Some("aproved"), None, None, "aproved"),
            (None, Some("sha256:12"), None, "sha256:12"),
            (None, Some(&*hex), Some(&*hex), "found both"),
        ] {
            let detail = ask(requires, artifact, plan).unwrap_err();
            assert!(detail.contains(says), "{detail}");
        }
    }
}
