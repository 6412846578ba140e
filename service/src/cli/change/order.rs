//! `upm change pause|resume|cancel`: an order to whoever executes. What it says, and when it is refused, is `workers::order`'s, as for the door over HTTP.

use std::process::ExitCode;

use pipeline::answer::Status;
use pipeline::produce::Patience;
use schemas::admit::{self, Scratch};
use schemas::ids::{ChangeId, Tenant};
use serde_json::json;
use workers::build;
use workers::ci;
use workers::order::{NO_REASON, Naming, Order};

use crate::cli::client::flags;
use crate::cli::client::http::{Client, segment};
use crate::cli::client::lookup::tenant_of;
use crate::cli::client::print;
use crate::cli::client::send::{self, Event, Item, NatsFlags, Outcome, Route};
use crate::cli::{CliError, Globals, emit};
use crate::{clock, env};

pub use workers::order::Kind;

/// Options of an order.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The change
    #[arg(value_name = "ID")]
    pub change: ChangeId,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = NO_REASON)]
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
    let order = Order { kind, by, reason: args.reason.clone() };
    if let Some(why) = order.objection(&known) {
        return Err(CliError::no(print::clean(&why)));
    }
    let now_ms = clock::unix_ms();
    let naming = Naming {
        id: &format!("order-{}", flags::new_id(now_ms)?),
        change: &args.change,
        tenant: tenant.as_str(),
        timestamp: &build::rfc3339(i64::try_from(now_ms).unwrap_or(i64::MAX)),
    };
    let (fields, sections) = order.event(&known, &naming);
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
