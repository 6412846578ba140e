//! `upm maturity attest`: a named assessor's word that a clause holds, signed with their own SSH key by `ssh-keygen`, and published as an event.
//!
//! The private key is never read here: `ssh-keygen -Y sign` uses it, or an agent does. Without a key the command prints what has to be signed.

use std::path::PathBuf;
use std::process::ExitCode;

use ledger::ssh;
use projector::maturity::attestation;
use schemas::model;
use schemas::time;
use serde_json::{Value, json};
use workers::build;

use crate::bounded::NOTE_MAX;
use crate::cli::client::http::{Client, segment};
use crate::cli::client::{input, print, ssh as ssh_client};
use crate::cli::{CliError, Globals};
use crate::clock;

/// Options of `upm maturity attest`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The key has to be named by a fact of the tenant, once, by an administrator:\n  \
                  upm tenant set acme \"maturity.assessor.dana=$(ssh-keygen -lf dana.pub | cut -d' ' -f2) dana\"\n\n\
                  Examples:\n  upm maturity attest preflight.4.slos --assessor dana --expires 2027-06-30T00:00:00Z \\\n    \
                  --statement 'Read the pipeline of 12 May; preflights end after 60 s.' --key ~/.ssh/id_ed25519\n  \
                  upm maturity attest … > statement     what to sign elsewhere, in the namespace upm-attestation\n  \
                  upm maturity attest … --signature statement.sig\n\nA gate cannot be attested. Assessors are kept for ever: account names, no personal data.")]
pub struct Args {
    /// The clause that holds; `upm maturity` names those that do not
    #[arg(value_name = "CLAUSE")]
    clause: String,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    assessor: String,
    /// What was looked at, and what was seen
    #[arg(long, value_name = "TEXT")]
    statement: String,
    /// Until when it stands, for instance 2027-06-30T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: String,
    /// Sign with this SSH key (`ssh-keygen -Y sign`), and publish
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    key: Option<PathBuf>,
    /// Take a signature that was made elsewhere, and publish
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &Args) -> Result<ExitCode, CliError> {
    check(args)?;
    let tenant = globals.tenant_or_default()?;
    let client = Client::new(globals);
    let keys = client.get(&format!("/logs/{}/keys", segment(tenant.as_str())))?;
    let origin = keys["origin"].as_str().unwrap_or_default();
    let said = attestation::statement(origin, &args.clause, &args.assessor, &args.statement, &args.expires);
    let signature = match (&args.key, &args.signature) {
        (None, None) => {
            print::raw(&String::from_utf8_lossy(&said))?;
            return Ok(ExitCode::SUCCESS);
        }
        (Some(key), _) => ssh_client::sign(key, attestation::NAMESPACE, &said)?,
        (None, Some(file)) => input::text(file, NOTE_MAX)?,
    };
    let signer = ssh::verify(&signature, attestation::NAMESPACE, &said)
        .map_err(|error| CliError::because("the signature would count for nothing", &error))?;
    let (index, change) = publish(&client, tenant.as_str(), args, &signature)?;
    let key = signer.fingerprint();
    if globals.json {
        print::json(&json!({"index": index, "change": change, "clause": args.clause, "signed_by": key}))?;
    } else {
        print::line(&format!(
            "recorded as entry {index}, change {change}, signed by {key}\n\
             it stands until {} if the tenant names that key {}: upm maturity --clause {}",
            args.expires, args.assessor, args.clause
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What would count for nothing is not published.
fn check(args: &Args) -> Result<(), CliError> {
    if model::get().clause(&args.clause).is_none() {
        return Err(CliError::could_not(format!("there is no clause {:?}", args.clause))
            .with_detail(format!("there are: {}", schemas::assessment::clause_ids())));
    }
    let blank = [("--assessor", &args.assessor), ("--statement", &args.statement)];
    if let Some((name, _)) = blank.into_iter().find(|(_, text)| text.trim().is_empty()) {
        return Err(CliError::could_not(format!("{name}: found nothing, expected a text")));
    }
    let now = i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX);
    match time::seconds(&args.expires) {
        None => Err(CliError::could_not(format!("--expires: found {:?}, expected a time of RFC 3339", args.expires))),
        Some(end) if end <= now => Err(CliError::could_not(format!("--expires: {} is over already", args.expires))),
        Some(_) => Ok(()),
    }
}

fn publish(client: &Client, tenant: &str, args: &Args, signature: &str) -> Result<(u64, String), CliError> {
    let now = clock::unix_ms();
    let change = format!("attestation-{now}");
    let event = json!({ "provisioning_event": {
        "id": change,
        "timestamp": build::rfc3339(i64::try_from(now).unwrap_or(i64::MAX)),
        "phase": "audit",
        "intent": {"source": "api", "initiator": args.assessor, "tenant": tenant, "request": format!("Attest {}", args.clause)},
        "attestation": {
            "clause": args.clause, "assessor": args.assessor, "statement": args.statement, "expires": args.expires,
            "signature": signature,
        },
    }});
    let path = format!("/v1/tenants/{}/events", segment(tenant));
    let answer: Value = client.post(&path, "application/json", event.to_string().as_bytes(), &[422])?;
    match answer["index"].as_u64().filter(|_| answer["status"] == "accepted") {
        Some(index) => Ok((index, change)),
        None => Err(CliError::could_not(format!("the attestation was not recorded: {}", answer["status"]))
            .with_detail(answer["problem"].to_string())),
    }
}
