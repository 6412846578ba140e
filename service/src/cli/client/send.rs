//! Events on their way: over NATS, which every producer uses, or over HTTP where only a server's URL is known.
//!
//! Reading, sending and answering overlap; what comes back is handed over in the order of the input. The events of one change come into
//! the log in that order too: each is published when the one before it is on the road.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use pipeline::answer::{Answer, Problem, Status};
use pipeline::produce::{Lanes, Outgoing, Patience, ProduceError, Producer, Turn};
use pipeline::{NatsAuth, NatsTarget, Refusals};
use schemas::admit::Rejection;
use schemas::ids::{Subject, Tenant};
use schemas::object::ObjectRef;
use serde_json::Value;

use super::http::{Client, segment};
use super::{login, print};
use crate::cli::{CliError, Globals};
use crate::clock;
use crate::data_dir::ServeFile;
use crate::http::lines;

/// How to reach NATS.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NatsFlags {
    /// NATS to publish to [default: that of the server on the data directory, else HTTP to --server]
    #[arg(long, value_name = "URL", env = "UPM_NATS", hide_env_values = true, help_heading = "Connection")]
    pub nats: Option<String>,
    /// Credentials file for that NATS
    #[arg(long, value_name = "FILE", requires = "nats", help_heading = "Connection")]
    pub nats_creds: Option<PathBuf>,
    /// Certificate authority of that NATS, PEM
    #[arg(long, value_name = "FILE", requires = "nats", help_heading = "Connection")]
    pub nats_ca: Option<PathBuf>,
    /// File with the URL, user and password of a NATS in one line: to publish as a worker, nats/workers.url in the server's data directory
    #[arg(long, value_name = "FILE", value_parser = login::read, help_heading = "Connection")]
    pub nats_file: Option<Arc<NatsTarget>>,
}

/// The way that events take.
#[derive(Debug, Clone)]
pub enum Route {
    /// Published over NATS.
    Nats {
        /// The NATS server.
        target: NatsTarget,
        /// The data directory whose server it belongs to, where it was found there.
        data: Option<PathBuf>,
    },
    /// Posted to a server.
    Http(Client),
}

impl Route {
    /// From the most to the least explicit: `--nats`, the NATS of the server on the data directory (unless `--server` names
    /// another one), HTTP.
    pub fn find(globals: &Globals, flags: &NatsFlags) -> Self {
        if let Some(target) = &flags.nats_file {
            return Self::Nats { target: NatsTarget::clone(target), data: None };
        }
        if let Some(url) = &flags.nats {
            let mut target = NatsTarget::plain(url);
            target.ca.clone_from(&flags.nats_ca);
            if let Some(creds) = &flags.nats_creds {
                target.auth = NatsAuth::Creds(creds.clone());
            }
            return Self::Nats { target, data: None };
        }
        match globals.serve_file() {
            Some(file) if globals.server.as_ref().is_none_or(|url| *url == file.http) => {
                Self::Nats { target: NatsTarget::plain(file.nats), data: Some(globals.data.clone()) }
            }
            _ => Self::Http(Client::new(globals)),
        }
    }
}

/// One event of the input.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its line in the input, from 1.
    pub line: u64,
    /// Where it goes.
    pub subject: Subject,
    /// Its change and id, where they are known.
    pub names: Option<(String, String)>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What the input holds next.
#[derive(Debug)]
pub enum Item {
    /// An event to send.
    Event(Event),
    /// Something that will not be sent: the line and why.
    Unfit(u64, Box<Rejection>),
    /// The input can't be read any further.
    Broken(io::Error),
}

/// What became of an item.
#[derive(Debug)]
pub enum Outcome {
    /// The ledger has answered.
    Answered {
        /// Accepted, duplicate or rejected.
        status: Status,
        /// Index of the entry.
        index: u64,
        /// The receipt's text, unless rejected.
        receipt: Option<String>,
        /// Why, if rejected.
        problem: Option<Problem>,
    },
    /// It is on the road; the ledger was not waited for.
    OnRoad,
    /// It was not sent: admission would refuse it.
    Unfit(Problem),
    /// It could not be sent, or no answer came.
    Failed(String),
}

/// An item's line, its event if it is one, and what became of it.
pub type Done = (u64, Option<Event>, Outcome);

/// Sends all items and hands over what became of each, in order. `Err`: the server can't be reached at all, or the input broke off.
pub fn send(
    route: &Route,
    items: impl Iterator<Item = Item> + Send + 'static,
    wait: bool,
    patience: &Patience,
    done: impl FnMut(Done) -> Result<(), CliError>,
) -> Result<(), CliError> {
    match route {
        Route::Http(client) => post_all(client, items, done),
        Route::Nats { target, data } => {
            if let (true, Some(data)) = (wait, data) {
                refuse_in_vain(data)?;
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.map_err(|error| CliError::because("can't start", &error))?;
            let result = runtime.block_on(publish_all(target, data.as_deref(), items, wait, patience, done));
            // A reader blocked on a terminal must not keep the process.
            runtime.shutdown_background();
            result
        }
    }
}

/// A server that takes nothing in would let us wait for answers that never come.
fn refuse_in_vain(data: &Path) -> Result<(), CliError> {
    let refusal = ServeFile::of_running(data).and_then(|server| Client::refusal(&server.http));
    match refusal {
        Some(reason) => Err(CliError::could_not("the server takes nothing in now").with_detail(print::clean(&reason))),
        None => Ok(()),
    }
}

/// A message that has no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub error: CliError,
    /// Whether it may be on the road all the same.
    pub sent: bool,
}

impl From<CliError> for Unanswered {
    /// Before anything was sent, or after it was refused.
    fn from(error: CliError) -> Self {
        Self { error, sent: false }
    }
}

impl From<Unanswered> for CliError {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.error
    }
}

/// Sends one message that is no event, such as an administrative act, and waits for its answer.
pub fn send_one(route: &Route, message: &Outgoing) -> Result<Answer, Unanswered> {
    let Route::Nats { target, data } = route else {
        let error = CliError::could_not("an administrative act travels over NATS, and only a server's URL is known");
        return Err(error
            .with_detail(
                "name the ledger's NATS with --nats URL (UPM_NATS), or its data directory with --data DIR (UPM_DATA)",
            )
            .into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::because("can't start", &error))?;
    let answered = runtime.block_on(async {
        let producer = connect(target, data.as_deref(), &Patience::default()).await?;
        let answered = producer.send(message).await;
        answered.map_err(|error| Unanswered { error: CliError::because(&message.subject, &error), sent: true })
    });
    runtime.shutdown_background();
    answered
}

/// Asks over NATS and waits for what is answered.
pub fn ask(route: &Route, subject: String, body: Bytes) -> Result<Bytes, CliError> {
    let Route::Nats { target, data } = route else {
        return Err(CliError::could_not("only a server's URL is known, and this is asked over NATS"));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::because("can't start", &error))?;
    let answered = runtime.block_on(async {
        let client = client(target, data.as_deref()).await?;
        let answer = client.request(subject.clone(), body).await;
        answer.map(|message| message.payload).map_err(|error| CliError::because(&subject, &error))
    });
    runtime.shutdown_background();
    answered
}

/// Puts objects into the tenant's object store, before the event that refers to them is sent.
pub fn put_objects(route: &Route, objects: &[(ObjectRef, Bytes)]) -> Result<(), CliError> {
    let Route::Nats { target, data } = route else {
        return Err(CliError::could_not("an attached file travels over NATS, and only a server's URL is known")
            .with_detail(
                "name the ledger's NATS with --nats URL (UPM_NATS), or its data directory with --data DIR (UPM_DATA)",
            ));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::because("can't start", &error))?;
    let put = runtime.block_on(async {
        let client = client(target, data.as_deref()).await?;
        for (reference, content) in objects {
            let put = pipeline::objects::put(&client, reference, content).await;
            put.map_err(|error| CliError::because("the attached file was not taken, and the event not sent", &error))?;
        }
        Ok(())
    });
    runtime.shutdown_background();
    put
}

/// How long the NATS of a server that runs may take to come back: it restarts a child that died.
const OWN_PATIENCE: Duration = Duration::from_secs(10);
const OWN_POLL: Duration = Duration::from_millis(200);

/// What the NATS server shows in its list of connections.
const CLIENT_NAME: &str = "upm emit";

async fn client(target: &NatsTarget, data: Option<&Path>) -> Result<async_nats::Client, CliError> {
    Ok(reach(target, data).await?.0)
}

async fn reach(target: &NatsTarget, data: Option<&Path>) -> Result<(async_nats::Client, Refusals), CliError> {
    match data {
        Some(data) => reach_own(data, OWN_PATIENCE, || target.connect_hearing(CLIENT_NAME)).await,
        None => target.connect_hearing(CLIENT_NAME).await.map_err(|error| nobody(&error)),
    }
}

async fn connect(target: &NatsTarget, data: Option<&Path>, patience: &Patience) -> Result<Producer, CliError> {
    let (client, refusals) = reach(target, data).await?;
    let producer = Producer::hearing(client, refusals, patience.clone()).await;
    producer.map_err(|error| CliError::because("can't publish", &error))
}

/// Tries again while the server on the data directory lives: it starts its NATS anew where that died.
async fn reach_own<T, E: std::error::Error>(
    data: &Path,
    patience: Duration,
    attempt: impl AsyncFn() -> Result<T, E>,
) -> Result<T, CliError> {
    let started = clock::now();
    loop {
        let error = match attempt().await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let Some(server) = ServeFile::of_running(data) else { return Err(nobody(&error)) };
        if started.elapsed() >= patience {
            return Err(CliError::because("the ledger's NATS is not answering", &error).with_detail(format!(
                "`upm serve` runs (pid {}), but its NATS does not answer; its log and {}/readyz say why",
                server.pid, server.http
            )));
        }
        tokio::time::sleep(OWN_POLL).await;
    }
}

fn nobody(error: &dyn std::error::Error) -> CliError {
    CliError::because("no NATS server to publish to", error)
        .with_detail("start a ledger with `upm serve`, or name its NATS with --nats URL (UPM_NATS)")
}

async fn publish_all(
    target: &NatsTarget,
    data: Option<&Path>,
    items: impl Iterator<Item = Item> + Send + 'static,
    wait: bool,
    patience: &Patience,
    mut done: impl FnMut(Done) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let producer = connect(target, data, patience).await?;
    let (sender, mut read) = tokio::sync::mpsc::channel(patience.window.max(1));
    std::thread::spawn(move || {
        for item in items {
            if sender.blocking_send(item).is_err() {
                break;
            }
        }
    });
    let mut under_way = FuturesOrdered::new();
    let mut lanes = Lanes::default();
    let mut ended = false;
    loop {
        tokio::select! {
            item = read.recv(), if !ended && under_way.len() < patience.window.max(1) => match item {
                Some(Item::Broken(error)) => return Err(broken(&error)),
                Some(item) => {
                    let turn = lane(&item).map_or_else(Turn::default, |lane| lanes.turn(lane));
                    under_way.push_back(one(&producer, item, wait, turn));
                }
                None => ended = true,
            },
            Some(finished) = under_way.next() => done(finished)?,
            else => return Ok(()),
        }
    }
}

fn broken(error: &io::Error) -> CliError {
    CliError::because("the input broke off", error)
}

/// What keeps its order: the events of one change of one tenant.
fn lane(item: &Item) -> Option<(Tenant, String)> {
    let Item::Event(event) = item else { return None };
    let tenant = event.subject.tenant.clone();
    let change = match &event.names {
        Some((change, _)) => Some(change.clone()),
        None => lines::addressed(&tenant, &event.bytes).1,
    };
    Some((tenant, change?))
}

async fn one(producer: &Producer, item: Item, wait: bool, turn: Turn) -> Done {
    let event = match item {
        Item::Event(event) => event,
        Item::Unfit(line, rejection) => return (line, None, Outcome::Unfit(Problem::of(&rejection))),
        Item::Broken(error) => return (0, None, Outcome::Failed(error.to_string())),
    };
    let outgoing = Outgoing { subject: event.subject.to_string(), payload: event.bytes.clone() };
    let outcome = if wait {
        match producer.send_in_turn(&outgoing, turn).await {
            Ok(answer) => Outcome::Answered {
                status: answer.status,
                index: answer.index,
                receipt: answer.receipt().map(str::to_owned),
                problem: answer.problem(),
            },
            Err(error) => Outcome::Failed(why(&error, &event.subject)),
        }
    } else {
        match producer.publish_in_turn(&outgoing, turn).await {
            Ok(_) => Outcome::OnRoad,
            Err(error) => Outcome::Failed(why(&error, &event.subject)),
        }
    };
    (event.line, Some(event), outcome)
}

fn why(error: &ProduceError, subject: &Subject) -> String {
    match error {
        ProduceError::NoRoad { .. } => {
            format!("there is no tenant {0} here; `upm tenant add {0}` makes it", subject.tenant)
        }
        other => other.to_string(),
    }
}

/// Lines of one POST: enough to amortise the round trip, few enough that an answer comes soon.
const BATCH_EVENTS: usize = 500;
const BATCH_BYTES: usize = 4_000_000;

/// Posts runs of events of one tenant as NDJSON; an event of several lines goes alone.
fn post_all(
    client: &Client,
    items: impl Iterator<Item = Item>,
    mut done: impl FnMut(Done) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut batch: Vec<Event> = Vec::new();
    for item in items {
        let event = match item {
            Item::Event(event) => event,
            Item::Broken(error) => return Err(broken(&error)),
            Item::Unfit(line, rejection) => {
                post(client, std::mem::take(&mut batch), &mut done)?;
                done((line, None, Outcome::Unfit(Problem::of(&rejection))))?;
                continue;
            }
        };
        let bytes: usize = batch.iter().map(|event| event.bytes.len()).sum();
        let fits =
            batch.first().is_none_or(|first| first.subject.tenant == event.subject.tenant && !several_lines(first));
        if !fits || several_lines(&event) || batch.len() >= BATCH_EVENTS || bytes + event.bytes.len() > BATCH_BYTES {
            post(client, std::mem::take(&mut batch), &mut done)?;
        }
        batch.push(event);
    }
    post(client, batch, &mut done)
}

fn several_lines(event: &Event) -> bool {
    event.bytes.contains(&b'\n')
}

fn post(
    client: &Client,
    batch: Vec<Event>,
    done: &mut impl FnMut(Done) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let Some(first) = batch.first() else { return Ok(()) };
    let path = format!("/v1/tenants/{}/events", segment(first.subject.tenant.as_str()));
    let content_type = if several_lines(first) { "application/json" } else { "application/x-ndjson" };
    let lines: Vec<&[u8]> = batch.iter().map(|event| event.bytes.as_ref()).collect();
    let answers = match client.post(&path, content_type, &lines.join(&b'\n'), &[422, 503]) {
        // The tenant is unknown: an answer about each of these events, not the end of the others.
        Err(CliError::No { line, .. }) => {
            for event in batch {
                done((event.line, Some(event), Outcome::Failed(line.clone())))?;
            }
            return Ok(());
        }
        other => rows(other?),
    };
    for (number, event) in (1..).zip(batch) {
        let answer = answers.iter().find(|row| row["line"] == number);
        let outcome = answer.map_or_else(|| Outcome::Failed("the server gave no answer for it".to_owned()), outcome_of);
        done((event.line, Some(event), outcome))?;
    }
    Ok(())
}

/// The rows of an answer: a list, or an object that holds one, or a single row.
fn rows(answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(rows) => rows,
        Value::Object(mut members) => match members.remove("events").or_else(|| members.remove("lines")) {
            Some(Value::Array(rows)) => rows,
            _ => vec![Value::Object(members)],
        },
        _ => Vec::new(),
    }
}

fn outcome_of(row: &Value) -> Outcome {
    let status = match row["status"].as_str() {
        Some("accepted") => Status::Accepted,
        Some("duplicate") => Status::Duplicate,
        Some("rejected") => Status::Rejected,
        _ => {
            let said = row["problem"]["detail"]
                .as_str()
                .or(row["problem"]["title"].as_str())
                .unwrap_or("the server's answer can't be read");
            return Outcome::Failed(print::clean(said));
        }
    };
    let Some(index) = row["index"].as_u64() else {
        return Outcome::Failed("the server's answer has no index".to_owned());
    };
    Outcome::Answered {
        status,
        index,
        receipt: row["receipt"].as_str().map(str::to_owned),
        problem: serde_json::from_value(row["problem"].clone()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::*;
    use crate::data_dir::DataDir;

    /// What comes of trying a NATS that answers on attempt `answers`, with a server on the directory or without.
    fn tried(serving: bool, answers: u32, patience: Duration) -> (Result<u32, CliError>, u32) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::create(temp.path()).unwrap();
        if serving {
            let (http, nats) = ("http://127.0.0.1:1".to_owned(), "nats://127.0.0.1:2".to_owned());
            let file = ServeFile {
                pid: std::process::id(),
                http,
                nats,
                ledger: "here".to_owned(),
                logs: BTreeMap::new(),
                keys: BTreeMap::new(),
            };
            dir.write_serve_file(&file).unwrap();
        }
        let attempts = Cell::new(0);
        let attempt = async || {
            attempts.set(attempts.get() + 1);
            if attempts.get() == answers { Ok(7) } else { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let told = runtime.block_on(reach_own(dir.root(), patience, attempt));
        (told, attempts.get())
    }

    #[test]
    fn the_nats_of_a_server_that_lives_is_waited_for() {
        assert!(matches!(tried(true, 2, Duration::from_mins(1)), (Ok(7), 2)));
        let (told, attempts) = tried(false, 2, Duration::from_mins(1));
        assert!(told.unwrap_err().to_string().starts_with("no NATS server to publish to"));
        assert_eq!(attempts, 1, "nobody would start it again");
        let (told, _) = tried(true, u32::MAX, Duration::ZERO);
        assert!(told.unwrap_err().to_string().starts_with("the ledger's NATS is not answering"));
    }
}
