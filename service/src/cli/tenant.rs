//! `upm tenant`: add and list tenants, through the server that runs on the data directory, else directly on the store.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Subcommand;
use ledger::governance::Act;
use ledger::read::Log;
use projector::approval::{self, Rule};
use projector::maturity::attestation;
use schemas::ids::Tenant;
use serde_json::{Value, json};

mod rule;

use super::client::act::{self, ActArgs};
use super::client::http::Client;
use super::client::print;
use super::{CliError, Globals};
use crate::data_dir::{DataDir, DataDirError};
use crate::home::Home;

/// Options of `upm tenant`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm tenant add acme\n  upm tenant list --json\n  upm tenant set acme owner=platform tier=gold --unset region\n  upm tenant show acme\n  upm tenant rule acme --environments prod --count 2 --grade bound\n  upm tenant signers acme > allowed_signers\n\nFacts are kept for ever: no personal data in them."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a tenant: its log, its keys and its stream
    Add {
        /// The new tenant: lower-case letters, digits and `-`
        name: Tenant,
    },
    /// List the tenants, and the verifier keys of their logs
    List,
    /// Set facts about a tenant, in its log
    Set {
        /// The tenant
        name: Tenant,
        /// Facts to set
        #[arg(value_name = "KEY=VALUE", value_parser = fact, required_unless_present = "unset")]
        facts: Vec<(String, String)>,
        /// A fact to take away; may be given several times
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
        #[command(flatten)]
        how: ActArgs,
    },
    /// Show or set what needs approval, by whom and of which grade
    Rule(Box<rule::Args>),
    /// Print whose approvals which SSH key signs, as an `allowed_signers` file for `ssh-keygen -Y verify`
    Signers {
        /// The tenant
        name: Tenant,
    },
    /// Show what holds in a tenant's log: facts, holds, rules and keys
    Show {
        /// The tenant
        name: Tenant,
    },
}

fn fact(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn signers(globals: &Globals, name: &Tenant) -> Result<(), CliError> {
    let signers = approval::signers(&rule::facts(&act::governance(globals, name)?));
    if globals.json {
        let rows = signers.iter().map(|signer| {
            let mut row = json!({ "approver": signer.approver, "fingerprint": signer.fingerprint });
            if let Some(key) = &signer.key {
                row["key"] = key.line().into();
            }
            row
        });
        return print::json(&json!({ "tenant": name, "signers": rows.collect::<Vec<_>>() }));
    }
    print::raw_lines(&approval::allowed_signers(&signers))
}

/// Who is asked.
enum Door {
    Server(Client),
    Store(Home),
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Set { name, facts, unset, how } => {
            let set: BTreeMap<String, String> = facts.into_iter().collect();
            Rule::check(&set)
                .and_then(|()| attestation::check(&set))
                .map_err(|error| CliError::could_not(error.to_string()))?;
            let act = Act::Facts { set, unset: unset.into_iter().collect() };
            let done = act::perform(globals, &name, &how, None, |_, _| Ok(act.clone()))?;
            act::told(globals, &name, &done, &format!("facts of {name} are set"))?;
        }
        Action::Rule(args) => rule::run(globals, *args)?,
        Action::Signers { name } => signers(globals, &name)?,
        Action::Show { name } => show(globals, &name)?,
        Action::Add { name } => {
            let door = door(globals)?;
            let added = match &door {
                Door::Server(client) => client.put(&format!("/v1/tenants/{name}"))?,
                Door::Store(home) => add(home, &name)?,
            };
            told(globals.json, &added, std::slice::from_ref(&added))?;
        }
        Action::List => {
            let door = door(globals)?;
            let listed = match &door {
                Door::Server(client) => client.get("/v1/tenants")?,
                Door::Store(home) => list(home)?,
            };
            told(globals.json, &listed, listed["tenants"].as_array().map_or(&[], Vec::as_slice))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The server that was named; else the store, unless a server holds it.
fn door(globals: &Globals) -> Result<Door, CliError> {
    if globals.server.is_some() {
        return Ok(Door::Server(Client::new(globals)));
    }
    let dir = match DataDir::existing(&globals.data) {
        // Nothing here: then it is the server at the default address that is meant, if any answers.
        Err(DataDirError::Absent(_)) => return Ok(Door::Server(Client::new(globals))),
        dir => dir.map_err(|error| CliError::of(&error))?,
    };
    match dir.lock() {
        Ok(lock) => {
            let mut home = Home::open_or_found(dir, lock, None).map_err(|error| CliError::of(&error))?;
            home.keep_heads_as_before().map_err(|error| CliError::of(&error))?;
            Ok(Door::Store(home))
        }
        Err(held @ DataDirError::InUse { .. }) => match globals.serve_file() {
            Some(_) => Ok(Door::Server(Client::new(globals))),
            None => Err(CliError::of(&held)
                .with_detail("it is starting or stopping, or it is not a server; try again in a moment")),
        },
        Err(error) => Err(CliError::of(&error)),
    }
}

/// What holds in a tenant's log.
fn show(globals: &Globals, tenant: &Tenant) -> Result<(), CliError> {
    let holds = act::governance(globals, tenant)?;
    if globals.json {
        return print::json(&holds);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut rows = vec![
        vec!["log".to_owned(), text(&holds["origin"])],
        vec!["rules".to_owned(), text(&holds["rules"])],
        vec!["acts".to_owned(), text(&holds["counter"])],
    ];
    for (name, value) in holds["facts"].as_object().into_iter().flatten() {
        rows.push(vec![format!("fact {name}"), text(value)]);
    }
    for hold in holds["holds"].as_array().into_iter().flatten() {
        rows.push(vec![format!("hold {}", text(&hold["id"])), text(&hold["reason"])]);
    }
    for key in holds["log_keys"].as_array().into_iter().flatten() {
        rows.push(vec!["log key".to_owned(), format!("{} from size {}", text(&key["vkey"]), key["since"])]);
    }
    print::line(&print::columns(&rows))
}

/// The log and its keys; the stream is made by the next `serve`.
fn add(home: &Home, tenant: &Tenant) -> Result<Value, CliError> {
    home.tenant_or_new(tenant, None).map_err(|error| CliError::of(&error))?;
    describe(home, tenant)
}

fn list(home: &Home) -> Result<Value, CliError> {
    let tenants = home.tenants().map_err(|error| CliError::of(&error))?;
    let tenants: Result<Vec<_>, _> = tenants.iter().map(|(tenant, ..)| describe(home, tenant)).collect();
    Ok(json!({ "tenants": tenants? }))
}

fn describe(home: &Home, tenant: &Tenant) -> Result<Value, CliError> {
    let setup = home.tenant(tenant).map_err(|error| CliError::of(&error))?;
    let head = Log::open(&*home.kv, setup.log).and_then(|log| log.head()).map_err(|error| CliError::of(&error))?;
    let (origin, vkey) = (head.origin.to_string(), setup.signer.verifier().to_vkey());
    Ok(json!({ "tenant": tenant, "origin": origin, "vkey": vkey, "size": head.size }))
}

fn told(json: bool, whole: &Value, tenants: &[Value]) -> Result<(), CliError> {
    if json {
        return print::json_line(whole);
    }
    for tenant in tenants {
        let text = |member: &str| print::clean(tenant[member].as_str().unwrap_or_default());
        print::line(&format!("{}\t{} entries\t{}", text("tenant"), tenant["size"], text("vkey")))?;
    }
    Ok(())
}
