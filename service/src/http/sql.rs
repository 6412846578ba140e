//! `POST /v1/tenants/{tenant}/sql`: a question in SQL, or a saved one, about one tenant.
//!
//! Each question is answered by a process of its own (`upm sql --confined`) that has nothing but the tenant's file of views: whatever it does, this
//! server's memory does not grow, and it ends when its time is over or when whoever asked goes away.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::ids::Tenant;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::app::{App, OpenTenant};
use super::extract::{UrlPath, UrlQuery};
use super::problem::Problem;
use crate::answers::{Answer, Format};
use crate::cli::sql::{ROWS, ROWS_MAX, SERVER_BYTES_MAX, TIMEOUT_S, TIMEOUT_S_MAX};
use crate::env;

/// How long a question waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// What a process gets beyond the question's own time, to say why it stopped.
const GRACE: Duration = Duration::from_secs(2);
/// JSON of an answer is larger than its values: names of members are not repeated, but text may be escaped.
const ANSWER_BYTES_MAX: u64 = 4 * SERVER_BYTES_MAX as u64;

/// A question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// One SELECT statement, or `@name`.
    sql: String,
    /// Values of its parameters: numbers, texts, null.
    #[serde(default)]
    params: BTreeMap<String, Value>,
    max_rows: Option<usize>,
    timeout_ms: Option<u64>,
}

/// How the answer is written, and what it has to cover.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlQuery {
    format: Option<Format>,
    at_least: Option<u64>,
}

/// What `upm sql --confined` says.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Told {
    Answer { answer: Answer },
    Refused { refused: String, detail: String },
}

/// `POST /v1/tenants/{tenant}/sql`: `{"columns": […], "rows": [[…]], "as_of": {"entries", "core", "detail"}}`; `format=csv` or `ndjson` for those.
pub async fn ask(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<SqlQuery>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let open = app.tenant(&tenant)?;
    let asked: Asked = serde_json::from_slice(&body?)
        .map_err(|error| Problem::bad_request(format!("the body: {error}; expected {{\"sql\": \"SELECT …\"}}")))?;
    app.covered(&tenant, query.at_least).await?;
    let _turn = tokio::time::timeout(TURN, app.questions.acquire())
        .await
        .map_err(|_| Problem::unavailable("other questions are being answered"))?;
    let answer = answer(&open, &asked).await?;
    let entries = app.progress(&tenant).map_or(0, |progress| progress.committed);
    let text = |kind: &'static str, text: String| ([(header::CONTENT_TYPE, kind)], text).into_response();
    Ok(match query.format {
        Some(Format::Csv) => text("text/csv; charset=utf-8", answer.csv()),
        Some(Format::Ndjson) => text("application/x-ndjson", answer.ndjson()),
        Some(Format::Table) => return Err(Problem::bad_request("format: found table, expected json, csv or ndjson")),
        Some(Format::Json) | None => Json(answer.document(entries)).into_response(),
    })
}

async fn answer(open: &OpenTenant, asked: &Asked) -> Result<Answer, Problem> {
    let timeout_s = timeout_s(asked.timeout_ms)?;
    let exe = env::own_program().ok_or_else(|| Problem::unavailable("this program does not find itself"))?;
    let mut command = Command::new(exe);
    command.args(["sql", "-", "--confined", "--file"]).arg(open.views_path());
    command.arg("--max-rows").arg(rows(asked.max_rows)?.to_string()).arg("--timeout").arg(timeout_s.to_string());
    for (name, value) in &asked.params {
        command.arg("--param").arg(format!("{name}={}", param(name, value)?));
    }
    // What tells `serve` its tenants is not what this question is about.
    for name in ["UPM_TENANT", "UPM_SERVER", "UPM_DATA"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let told = tokio::time::timeout(Duration::from_secs(timeout_s) + GRACE, told_by(command, &asked.sql)).await;
    let text = told.map_err(|_| limit("it took too long, and was stopped"))??;
    match serde_json::from_slice(&text) {
        Ok(Told::Answer { answer }) => Ok(answer),
        Ok(Told::Refused { refused, detail }) => Err(refusal(&refused, detail)),
        // Killed by its limits before it could say so.
        Err(_) => Err(limit("it needs more memory, time or disk than a question may use")),
    }
}

/// What the process prints. Dropped before it has ended, it is killed.
async fn told_by(mut command: Command, sql: &str) -> Result<Vec<u8>, Problem> {
    let failed = |error: std::io::Error| Problem::internal("the question could not be asked", &error);
    let mut child = command.spawn().map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    if let Some(mut stdin) = stdin {
        // A process that has refused already does not read on.
        let _ = stdin.write_all(sql.as_bytes()).await;
    }
    let mut text = Vec::new();
    if let Some(stdout) = stdout {
        stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut text).await.map_err(failed)?;
    }
    let _ = child.kill().await;
    Ok(text)
}

fn refusal(kind: &str, detail: String) -> Problem {
    match kind {
        "not_allowed" => {
            Problem::new(StatusCode::FORBIDDEN, "sql_not_allowed", "Not a question that is allowed", detail)
        }
        "limit" => limit(&detail),
        "views" => Problem::unavailable(detail),
        _ => Problem::new(StatusCode::BAD_REQUEST, "sql", "Not a question that is understood", detail),
    }
}

fn limit(detail: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "sql_limit", "The question asks for too much", detail)
}

fn rows(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(ROWS) {
        rows @ 1..=ROWS_MAX => Ok(rows),
        rows => Err(Problem::bad_request(format!("max_rows: found {rows}, expected 1 to {ROWS_MAX}"))),
    }
}

fn timeout_s(asked: Option<u64>) -> Result<u64, Problem> {
    let ms = asked.unwrap_or(TIMEOUT_S * 1000);
    if ms == 0 || ms > TIMEOUT_S_MAX * 1000 {
        let most = TIMEOUT_S_MAX * 1000;
        return Err(Problem::bad_request(format!("timeout_ms: found {ms}, expected 1 to {most}")));
    }
    Ok(ms.div_ceil(1000))
}

/// A value as it stands on a command line.
fn param(name: &str, value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(Problem::bad_request(format!("params: {name}: found {other}, expected a number or a text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_asked_has_bounds() {
        assert_eq!((rows(None).unwrap(), rows(Some(1)).unwrap()), (ROWS, 1));
        assert!(rows(Some(0)).is_err() && rows(Some(ROWS_MAX + 1)).is_err());
        assert_eq!((timeout_s(None).unwrap(), timeout_s(Some(1)).unwrap()), (TIMEOUT_S, 1));
        assert!(timeout_s(Some(0)).is_err() && timeout_s(Some(TIMEOUT_S_MAX * 1000 + 1)).is_err());
        assert!(param("x", &json!([])).is_err() && param("x", &json!(1.5)).unwrap() == "1.5");
    }

    #[test]
    fn refusals_have_their_status() {
        for (kind, status) in [("not_allowed", 403), ("limit", 422), ("views", 503), ("sql", 400)] {
            assert_eq!(refusal(kind, String::new()).to_json()["status"], status, "{kind}");
        }
    }
}
