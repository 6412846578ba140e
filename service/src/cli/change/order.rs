//! `upm change pause|resume|cancel`: an order to whoever executes, as an event of phase audit, so that it is on record who gave it and why.

use std::process::ExitCode;

use pipeline::answer::Status;
use pipeline::produce::Patience;
use pipeline::work::own;
use schemas::admit::{self, Scratch};
use schemas::ids::{ChangeId, Phase, Tenant};
use serde_json::{Value, json};
use workers::build::{self, Fields, Sections};
use workers::ci;

use crate::cli::client::flags;
use crate::cli::client::http::{Client, segment};
use crate::cli::client::lookup::tenant_of;
use crate::cli::client::print;
use crate::cli::client::send::{self, Event, Item, NatsFlags, Outcome, Route};
use crate::cli::{CliError, Globals, emit};
use crate::{clock, env};

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing more is started.
    Pause,
    /// It goes on.
    Resume,
    /// What runs is ended, and nothing more is started.
    Cancel,
    /// What was done is taken back.
    Rollback,
    /// It is proved that what was done, or would be, can be taken back.
    RollbackDryRun,
    /// What was verified is compared with what is there.
    DriftCheck,
}

impl Kind {
    /// Its word in the event: `order.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Rollback => "rollback",
            Self::RollbackDryRun => "rollback_dry_run",
            Self::DriftCheck => "drift_check",
        }
    }
}

/// Options of an order.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The change
    #[arg(value_name = "ID")]
    pub change: ChangeId,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "no reason was given")]
    pub reason: String,
    /// Who says so [default: whom the CI's variables name, else $USER]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    #[command(flatten)]
    pub nats: NatsFlags,
}

/// An order that is on record.
#[derive(Debug, Clone)]
pub struct Given {
    /// Whose change.
    pub tenant: Tenant,
    /// The order's event.
    pub id: String,
    /// Its entry.
    pub index: u64,
}

/// The attempt that an order is about: the last one that was asked for, as workers see it. In a change that nobody asked the workers for, the last one.
pub fn attempt_of(known: &Value) -> Option<u32> {
    let moments = known["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    let number = |moment: &&Value| moment["attempt"].as_u64().and_then(|number| u32::try_from(number).ok());
    let asks = |moment: &&Value| {
        moment["phase"] == "plan" && [own::REQUEST, own::DRIFT].iter().any(|name| moment["producer"] == *name)
    };
    let asked = moments.iter().filter(asks).filter_map(|moment| number(&moment)).max();
    asked.or_else(|| moments.iter().filter_map(|moment| number(&moment)).max())
}

/// Gives the order, waits until it is on record, and says so.
pub fn give(globals: &Globals, kind: Kind, args: &Args) -> Result<ExitCode, CliError> {
    let Given { tenant, index, .. } = record(globals, kind, args)?;
    if globals.json {
        print::json_line(&json!({"tenant": tenant, "change": args.change, "order": kind.as_str(), "index": index}))?;
    } else {
        print::line(&format!(
            "{} of change {} is ordered (entry {index} of {tenant}'s log); follow it: upm change watch {}",
            kind.as_str(),
            print::clean(args.change.as_str()),
            print::clean(args.change.as_str()),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Gives the order and waits until it is on record.
pub fn record(globals: &Globals, kind: Kind, args: &Args) -> Result<Given, CliError> {
    let client = Client::new(globals);
    let tenant = tenant_of(&client, globals, &args.change)?;
    let path = format!("/v1/tenants/{}/changes/{}", segment(tenant.as_str()), segment(args.change.as_str()));
    let known = client.get(&path)?;
    let by = args
        .by
        .clone()
        .or_else(|| ci::defaults(&env::variables()).initiator)
        .ok_or_else(|| CliError::could_not(format!("nobody is named who says {}: add --by NAME", kind.as_str())))?;
    let attempt = attempt_of(&known).filter(|number| *number > 1);
    let text = |name: &str| known[name].as_str().map(str::to_owned);
    let now_ms = clock::unix_ms();
    let fields = Fields {
        id: format!("order-{}", flags::new_id(now_ms)?),
        timestamp: build::rfc3339(i64::try_from(now_ms).unwrap_or(i64::MAX)),
        phase: Phase::Audit,
        change: Some(args.change.to_string()),
        environment: text("environment"),
        class: text("class"),
        attempt,
        probe: known["probe"] == true,
        request: None,
        source: text("source").unwrap_or_else(|| "api".to_owned()),
        // Whoever pauses a change did not ask for it.
        initiator: text("initiator").unwrap_or_else(|| by.clone()),
        tenant: tenant.to_string(),
        reason: None,
        ticket: None,
    };
    let mut sections = Sections::new();
    sections.add("order", json!({"kind": kind.as_str(), "by": by, "reason": args.reason}));
    let bytes = build::event(&fields, &sections);
    let (subject, admitted) = admit::admit_unaddressed(&bytes, &mut Scratch::default()).map_err(|rejection| {
        CliError::no(format!(
            "the order would be rejected: {}",
            emit::reason(&pipeline::answer::Problem::of(&rejection))
        ))
    })?;
    let event = Event { line: 1, subject, names: None, bytes: admitted.payload.into_owned().into() };
    let route = Route::find(globals, &args.nats);
    let mut told = Err(CliError::could_not("no answer came"));
    send::send(&route, std::iter::once(Item::Event(event)), true, &Patience::default(), |(_, _, outcome)| {
        told = match outcome {
            Outcome::Answered { status: Status::Rejected, problem, .. } => {
                Err(CliError::no(problem.as_ref().map(emit::reason).unwrap_or_default()))
            }
            Outcome::Answered { index, .. } => Ok(index),
            Outcome::Unfit(problem) => Err(CliError::no(emit::reason(&problem))),
            Outcome::OnRoad => Err(CliError::could_not("the order is on the road, and no answer came")),
            Outcome::Failed(why) => Err(CliError::could_not(why)),
        };
        Ok(())
    })?;
    Ok(Given { index: told?, id: fields.id, tenant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_about_the_attempt_that_was_asked_for() {
        let moment = |attempt: u64, phase: &str, producer: Option<&str>| json!({"attempt": attempt, "phase": phase, "producer": producer});
        let all = [
            moment(1, "plan", Some("request")),
            moment(2, "plan", Some("request")),
            moment(7, "plan", Some("mallory")),
            moment(1 << 53, "audit", None),
        ];
        assert_eq!(attempt_of(&json!({ "timeline": all })), Some(2));
        assert_eq!(attempt_of(&json!({ "timeline": all[2..] })), Some(7));
        assert_eq!(attempt_of(&json!({})), None);
    }
}
