//! `POST /v1/tenants/{tenant}/sql`: a question in SQL, or a saved one, about one tenant.
//!
//! Each question is answered by a process of its own (`upm sql --confined`) that has nothing but the tenant's file of views. What a question costs this server
//! is its text, refused before anything waits where it is too long, and two pieces of its answer: that waits in its process until it is taken, for a while, and
//! the process holds its turn as long. It ends when its time is over or when whoever asked goes away.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use projector_sqlite::ask::{self, AskError, Param, SQL_BYTES_MAX};
use schemas::ids::Tenant;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::app::{App, OpenTenant};
use super::extract::{UrlPath, UrlQuery};
use super::problem::Problem;
use super::streaming;
use super::turns::Turn;
use crate::answers::Format;
use crate::cli::sql::confined::{Head, TOO_MUCH, Task, param, param_json};
use crate::cli::sql::{ROWS, ROWS_MAX, TIMEOUT_S, TIMEOUT_S_MAX};
use crate::env;

/// The largest body: a question of [`SQL_BYTES_MAX`] and as much of parameters, with escapes.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// Bytes of a body that is too long that are read to the end before it is refused.
const LISTENED_BYTES_MAX: usize = 64 << 20;
/// Bytes of all parameters, names and values.
const PARAMS_BYTES_MAX: usize = 100_000;
/// What a process gets beyond the question's own time, to say why it stopped.
const GRACE: Duration = Duration::from_secs(2);
/// Longest first line of a process: a refusal in words.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// How long an answer waits to be taken: each piece of it, and the whole.
const PIECE_PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_PATIENCE: Duration = Duration::from_mins(5);
/// Bytes of an answer that this server holds at once, twice.
const PIECE_BYTES: usize = 64 * 1024;

/// A question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// One SELECT statement, or `@name`.
    sql: String,
    /// Values of its parameters: numbers, texts, null.
    params: Option<BTreeMap<String, Box<RawValue>>>,
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

/// `POST /v1/tenants/{tenant}/sql`: `{"columns": […], "rows": [[…]], "as_of": {"entries", "core", "detail"}}`; `format=csv` or `ndjson` for those.
pub async fn ask(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<SqlQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let open = app.tenant(&tenant)?;
    let mut task = task(&read(request.into_body()).await?)?;
    task.format = match query.format {
        Some(Format::Table) => return Err(Problem::bad_request("format: found table, expected json, csv or ndjson")),
        format => format.unwrap_or(Format::Json),
    };
    app.covered(&tenant, query.at_least).await?;
    let turn = app.questions.take(&tenant).await?;
    task.entries = app.progress(&tenant).map_or(0, |progress| progress.committed);
    answer(&open, &task, turn).await
}

/// What is asked, within all bounds.
fn task(body: &[u8]) -> Result<Task, Problem> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body: {error}; expected {{\"sql\": \"SELECT …\"}}")))?;
    if asked.sql.len() > SQL_BYTES_MAX {
        return Err(limit(&AskError::<()>::Long { found: asked.sql.len() }.to_string()));
    }
    Ok(Task {
        params: params(asked.params.unwrap_or_default())?,
        sql: asked.sql,
        max_rows: rows(asked.max_rows)?,
        timeout_ms: timeout_ms(asked.timeout_ms)?,
        format: Format::Json,
        entries: 0,
    })
}

fn params(given: BTreeMap<String, Box<RawValue>>) -> Result<BTreeMap<String, serde_json::Value>, Problem> {
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.get().len()).sum();
    if bytes > PARAMS_BYTES_MAX {
        return Err(Problem::bad_request(format!("params: found {bytes} bytes, expected at most {PARAMS_BYTES_MAX}")));
    }
    let read = |(name, value): (String, Box<RawValue>)| {
        if !ask::is_name(&name) {
            return Err(Problem::bad_request(format!(
                "params: found the name {name:?}, expected letters, digits and _"
            )));
        }
        let value: Param = param(&value).map_err(|error| Problem::bad_request(format!("params: {name}: {error}")))?;
        Ok((name, param_json(&value)))
    };
    given.into_iter().map(read).collect()
}

/// The body. One that is too long is read on without being kept, because who is still sending does not listen to a refusal.
async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let (mut pieces, mut kept, mut found) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
        found += piece.len();
        if found > LISTENED_BYTES_MAX {
            break;
        }
        if found <= BODY_BYTES_MAX {
            kept.extend_from_slice(&piece);
        }
    }
    if found <= BODY_BYTES_MAX {
        return Ok(kept);
    }
    let more = if found > LISTENED_BYTES_MAX { " or more" } else { "" };
    let detail = format!(
        "the body: found {found} bytes{more}, expected at most {BODY_BYTES_MAX}: a question has at most {SQL_BYTES_MAX} bytes"
    );
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large", detail))
}

/// Lets a process answer, and passes on what it says.
async fn answer(open: &OpenTenant, task: &Task, turn: Turn) -> Result<Response, Problem> {
    let failed = |error: io::Error| Problem::internal("the question could not be asked", &error);
    let asked = serde_json::to_vec(task).map_err(|error| failed(error.into()))?;
    // Dropped before it has ended, it is killed.
    let mut child = process(open)?.spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let mut stdout = BufReader::with_capacity(PIECE_BYTES, stdout);
    let mut head = String::new();
    let telling = async {
        if let Some(mut stdin) = stdin {
            // One that cannot even begin says so by its end.
            let _ = stdin.write_all(&asked).await;
        }
        (&mut stdout).take(HEAD_BYTES_MAX).read_line(&mut head).await
    };
    let told = timeout(Duration::from_millis(task.timeout_ms) + GRACE, telling).await;
    told.map_err(|_| limit("it took too long, and was stopped"))?.map_err(failed)?;
    let length = match serde_json::from_str(&head) {
        Ok(Head::Bytes(length)) => length,
        Ok(Head::Refused { kind, detail }) => return Err(refusal(&kind, detail)),
        // Killed by its limits before it could say so.
        Err(_) => return Err(limit(TOO_MUCH)),
    };
    let kind = match task.format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Ndjson => "application/x-ndjson",
        Format::Json | Format::Table => "application/json",
    };
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    Ok((headers, passed_on(child, stdout, turn)).into_response())
}

fn process(open: &OpenTenant) -> Result<Command, Problem> {
    let exe = env::own_program().ok_or_else(|| Problem::unavailable("this program does not find itself"))?;
    let mut command = Command::new(exe);
    command.args(["sql", "--confined", "--file"]).arg(open.views_path());
    // What tells `serve` its tenants is not what this question is about.
    for name in ["UPM_TENANT", "UPM_SERVER", "UPM_DATA"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// What is left of an answer, a piece at a time. The turn ends with it, or when nobody takes it; what breaks off has no end.
fn passed_on(mut child: Child, mut stdout: BufReader<ChildStdout>, turn: Turn) -> Body {
    let (pieces, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let passing = async {
            loop {
                let piece = stdout.fill_buf().await?;
                if piece.is_empty() {
                    return Ok(());
                }
                let piece = Bytes::copy_from_slice(piece);
                stdout.consume(piece.len());
                let taken = timeout(PIECE_PATIENCE, pieces.send(Ok(piece))).await.map_err(|_| late())?;
                taken.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            }
        };
        let passed = timeout(ANSWER_PATIENCE, passing).await.unwrap_or_else(|_| Err(late()));
        if let Err(error) = passed {
            // Where there is no room for it, the connection lacks the length that was promised.
            let _ = pieces.try_send(Err(error));
        }
        let _ = child.kill().await;
        drop(turn);
    });
    streaming::received(receiver)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken in time")
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

fn timeout_ms(asked: Option<u64>) -> Result<u64, Problem> {
    let most = TIMEOUT_S_MAX * 1000;
    match asked.unwrap_or(TIMEOUT_S * 1000) {
        0 => Err(Problem::bad_request(format!("timeout_ms: found 0, expected 1 to {most}"))),
        ms if ms > most => Err(Problem::bad_request(format!("timeout_ms: found {ms}, expected 1 to {most}"))),
        ms => Ok(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_has_bounds() {
        assert_eq!((rows(None).unwrap(), rows(Some(1)).unwrap()), (ROWS, 1));
        assert!(rows(Some(0)).is_err() && rows(Some(ROWS_MAX + 1)).is_err());
        assert_eq!((timeout_ms(None).unwrap(), timeout_ms(Some(1)).unwrap()), (TIMEOUT_S * 1000, 1));
        assert!(timeout_ms(Some(0)).is_err() && timeout_ms(Some(TIMEOUT_S_MAX * 1000 + 1)).is_err());
        let long = |bytes: usize| task(format!("{{\"sql\": \"{}\"}}", "x".repeat(bytes)).as_bytes());
        assert!(long(SQL_BYTES_MAX).is_ok());
        let told = long(SQL_BYTES_MAX + 7).unwrap_err().to_json();
        assert!(told["status"] == 422 && told["detail"].to_string().contains("has 100007 bytes"), "{told}");
    }

    #[test]
    fn refusals_have_their_status() {
        for (kind, status) in [("not_allowed", 403), ("limit", 422), ("views", 503), ("sql", 400)] {
            assert_eq!(refusal(kind, String::new()).to_json()["status"], status, "{kind}");
        }
    }
}
