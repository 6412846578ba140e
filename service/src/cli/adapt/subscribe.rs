//! `upm adapt KIND --subscribe SUBJECT --emit`: foreign messages on NATS become events on the road, one after the other. Admission knows nothing of it: an
//! adapter runs before the road.
//!
//! `CloudEvents` come in either NATS binding (`adapters::cloudevent`). A message that `JetStream` delivered (its reply is `$JS.ACK.…`) is
//! acknowledged once the ledger has answered, and terminated where it can never become an event; so a push consumer on the subject loses nothing.
//! Without one, what is published while nobody listens is not seen, as always with plain NATS. Delivered twice, it becomes the same events, which the
//! ledger recognises.

use std::process::ExitCode;

use adapters::{Given, Program, cloudevent};
use futures::StreamExt as _;
use pipeline::NatsTarget;
use pipeline::answer::Status;
use pipeline::produce::{Outgoing, Patience, Producer};
use serde_json::json;

use super::{Args, given, known, names, print};
use crate::bounded::NOTE_MAX;
use crate::cli::client::input;
use crate::cli::client::send::Route;
use crate::cli::{CliError, Globals, say};

/// What the NATS server shows in its list of connections.
const CLIENT_NAME: &str = "upm adapt";

/// What became of a message.
enum Became {
    /// Every event of it is in the ledger.
    Events,
    /// It is no document that becomes an event, or an event of it was rejected: trying again changes nothing.
    Never,
}

/// Runs until the subject ends or so many messages came.
pub(super) fn run(globals: &Globals, args: &Args, subject: &str) -> Result<ExitCode, CliError> {
    let program = match (&args.program, args.what.as_slice()) {
        (None, [kind]) => known(kind)?.program(),
        (Some(path), []) => {
            let source = input::text(path, NOTE_MAX)?;
            Program::new(path.display().to_string(), source)
        }
        _ => {
            return Err(CliError::could_not(
                "with --subscribe, name the adapter only: upm adapt KIND --subscribe SUBJECT --emit",
            )
            .with_detail(format!("adapters: {}; or --program with a jq program of your own", names())));
        }
    };
    let Route::Nats { target, .. } = Route::find(globals, &args.nats) else {
        return Err(CliError::could_not("a subject is listened to over NATS, and only a server's URL is known")
            .with_detail("name the NATS with --nats URL (UPM_NATS), or a data directory with --data DIR (UPM_DATA)"));
    };
    let given = given(globals, args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::because("can't start", &error))?;
    let ended = runtime.block_on(async {
        let client =
            target.connect(CLIENT_NAME).await.map_err(|error| CliError::because("can't reach NATS", &error))?;
        let producer = Producer::new(client.clone(), Patience::default()).await;
        let producer = producer.map_err(|error| CliError::because("can't publish", &error))?;
        let bus = match &args.from {
            Some(url) => {
                let bus = NatsTarget::plain(url).connect(CLIENT_NAME).await;
                bus.map_err(|error| CliError::because("can't reach the NATS to listen to", &error))?
            }
            None => client,
        };
        let listening = match &args.queue {
            Some(queue) => bus.queue_subscribe(subject.to_owned(), queue.clone()).await,
            None => bus.subscribe(subject.to_owned()).await,
        };
        let mut messages =
            listening.map_err(|error| CliError::because(format!("can't listen to {subject}"), &error))?;
        // So that whoever reads the next line may publish.
        bus.flush().await.map_err(|error| CliError::because("can't reach NATS", &error))?;
        say(&format!("upm: listening to {subject}"));
        let mut all_well = true;
        let mut taken = 0;
        while args.count.is_none_or(|count| taken < count) {
            let Some(message) = messages.next().await else { break };
            taken += 1;
            let became = take(&program, &given, args, globals.json, &producer, &message).await?;
            all_well &= matches!(became, Became::Events);
            if let Some(reply) = message.reply.filter(|reply| reply.starts_with("$JS.ACK.")) {
                let word = if matches!(became, Became::Events) { "+ACK" } else { "+TERM" };
                let told = bus.publish(reply, word.into()).await;
                told.map_err(|error| CliError::because("can't acknowledge", &error))?;
            }
        }
        bus.flush().await.map_err(|error| CliError::because("can't reach NATS", &error))?;
        Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
    });
    runtime.shutdown_background();
    ended
}

/// One message: its events, published one after the other; a line for each.
async fn take(
    program: &Program,
    given: &Given,
    args: &Args,
    as_json: bool,
    producer: &Producer,
    message: &async_nats::Message,
) -> Result<Became, CliError> {
    let document = match document(program, message) {
        Ok(document) => document,
        Err(why) => return refuse(as_json, &message.subject, &why),
    };
    let adapted = match adapters::adapt(program, &document, given) {
        Ok(adapted) => adapted,
        Err(error) => return refuse(as_json, &message.subject, &error.to_string()),
    };
    let mut became = Became::Events;
    for mut one in adapted {
        one.subject.producer = args.producer.clone().or(one.subject.producer);
        let outgoing = Outgoing { subject: one.subject.to_string(), payload: one.event.into() };
        let answer = producer.send(&outgoing).await.map_err(|error| CliError::because(&outgoing.subject, &error))?;
        if answer.status == Status::Rejected {
            became = Became::Never;
        }
        let status = match answer.status {
            Status::Accepted => "accepted",
            Status::Duplicate => "duplicate",
            Status::Rejected => "rejected",
        };
        let (change, id) = (one.facts.change.to_string(), one.facts.id.to_string());
        if as_json {
            print::json_line(&json!({ "status": status, "index": answer.index, "change": change, "id": id }))?;
        } else {
            print::line(&print::clean(&format!("{status}  #{}  change {change}  event {id}", answer.index)))?;
        }
    }
    Ok(became)
}

fn document(program: &Program, message: &async_nats::Message) -> Result<Vec<u8>, String> {
    if program.name() != "cloudevents" {
        return Ok(message.payload.to_vec());
    }
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    let headers: Vec<(String, String)> = headers
        .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())))
        .collect();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    cloudevent::structured(headers, &message.payload).map_err(|error| error.to_string())
}

/// A message that never becomes an event is told and passed over: one bad message must not stop the others.
fn refuse(as_json: bool, subject: &str, why: &str) -> Result<Became, CliError> {
    if as_json {
        print::json_line(&json!({ "status": "unfit", "subject": subject, "why": why }))?;
    } else {
        say(&print::clean(&format!("upm: {subject}: {why}")));
    }
    Ok(Became::Never)
}
