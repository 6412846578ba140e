//! `upm approve` and `upm refuse`: a person's word on a plan, signed with their own SSH key.
//!
//! What is shown is what is signed: the plan is read from its entry and its digest is made here, so that no server can show one plan and have another
//! one signed. The statement is written here too, by `projector::approval::Statement`. The server says whether it would count, before it publishes it.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::ssh;
use projector::approval::{NAMESPACE, Statement};
use schemas::ids::{ChangeId, Tenant};
use schemas::time;
use serde_json::{Value, json};
use workers::build;

use super::client::http::{Client, segment};
use super::client::lookup::tenant_of;
use super::client::print;
use super::client::ssh::{Signing, agent_keys};
use super::{CliError, Globals, limits};
use crate::clock;

mod changed;
mod shown;

/// What `--key` says of a key that an agent holds.
const AGENT: &str = "agent";

/// Options of `upm approve` and `upm refuse`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It shows the plan (commands, digest, impact, cost, window, who asked, what is asked for and missing), asks, signs the \
                  statement with `ssh-keygen -Y sign -n upm-approval`, publishes it and waits for the receipt. Whose approvals a key signs, an administrator says once:\n  \
                  upm tenant rule acme --allow bob=bob.pub\n\n\
                  Examples:\n  upm approve c-42 --role owners --tenant acme\n  upm approve c-42 --role owners --key ~/.ssh/id_ed25519 --expires 8h --comment 'after the backup'\n  \
                  upm approve c-42 --role owners --plan-digest sha256:… --yes      a script, for exactly this plan\n  \
                  upm refuse c-42 --comment 'not before the audit'\n\n\
                  Exit codes: 0 recorded, 1 it would not count (then nothing is published), or you said no, 2 could not do it."
)]
pub struct Args {
    /// The change
    #[arg(value_name = "ID")]
    change: ChangeId,
    /// In words, beside the decision; it is recorded and not signed
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// In which role [default: the one that is asked for, where it is one]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Who decides [default: whose approvals the key signs, by the tenant's rule]
    #[arg(long, value_name = "NAME")]
    approver: Option<String>,
    /// The SSH key that signs: its file, or `agent` for one that an ssh-agent holds
    #[arg(long, value_name = "FILE|agent", default_value = AGENT)]
    key: String,
    /// Until when it stands: a time, or a span such as 8h
    #[arg(long, value_name = "TIME|SPAN")]
    expires: Option<String>,
    /// When it was decided, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Only this plan: no, where another one is the newest
    #[arg(long, value_name = "DIGEST")]
    plan_digest: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Write the receipt into this file
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

/// Approves.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    decide(globals, &args, "approved")
}

/// Refuses.
pub fn refuse(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    decide(globals, &args, "refused")
}

fn decide(globals: &Globals, args: &Args, decision: &str) -> Result<ExitCode, CliError> {
    let client = Client::new(globals);
    let tenant = tenant_of(&client, globals, &args.change)?;
    let path = format!("/v1/tenants/{}/changes/{}/approvals", segment(tenant.as_str()), segment(args.change.as_str()));
    let told = client.get(&path)?;
    let (plan, payload) = plan(&client, &tenant, args, &told)?;
    let signing = signing(args, &told)?;
    let said = said(args, decision, &told, &plan, &signing)?;
    if !globals.json {
        print::line(&shown::plan(&told, &plan, &since(&client, &tenant, &told, &payload)?))?;
        print::line(&shown::statement(&said, &signing.public.fingerprint()))?;
    }
    if !args.yes && !agrees(decision)? {
        return Err(CliError::no("nothing was signed"));
    }
    let bytes = said.to_bytes();
    let signature = signing.sign(NAMESPACE, &bytes)?;
    ssh::verify(&signature, NAMESPACE, &bytes)
        .map_err(|error| CliError::because("what ssh-keygen signed does not fit", &error))?;
    let statement = String::from_utf8(bytes).map_err(|error| CliError::because("the statement", &error))?;
    let mut body = json!({ "statement": statement, "signature": signature });
    if let Some(comment) = &args.comment {
        body["comment"] = comment.as_str().into();
    }
    match client.post_or_refused(&path, &body)? {
        Ok(answer) => recorded(globals, args, &told, &body, answer),
        Err(problem) => Err(refused(&problem)),
    }
}

/// The payload of the entry whose plan is the newest, which has that digest; read, and as it stands.
fn plan(client: &Client, tenant: &Tenant, args: &Args, told: &Value) -> Result<(Value, Vec<u8>), CliError> {
    let (Some(digest), Some(entry)) = (told["plan_digest"].as_str(), told["plan_entry"].as_u64()) else {
        return Err(CliError::no(format!(
            "attempt {} of {} has no plan on record",
            told["attempt"],
            print::clean(args.change.as_str())
        )));
    };
    if let Some(wanted) = args.plan_digest.as_ref().filter(|wanted| *wanted != digest) {
        return Err(CliError::no(format!("the newest plan is {}, not {}", print::clean(digest), print::clean(wanted))));
    }
    let payload = payload(client, tenant, entry)?;
    let own = schemas::plan::digest(&payload);
    if own.as_deref() != Some(digest) {
        return Err(CliError::could_not(format!(
            "the server says the plan of entry {entry} is {}",
            print::clean(digest)
        ))
        .with_detail(format!(
            "the digest of what it shows is {}",
            own.as_deref().unwrap_or("none: there is no plan in it")
        )));
    }
    let plan = serde_json::from_slice(&payload).map_err(|error| CliError::because("the plan", &error))?;
    Ok((plan, payload))
}

fn payload(client: &Client, tenant: &Tenant, entry: u64) -> Result<Vec<u8>, CliError> {
    let document = client.get(&format!("/v1/tenants/{}/events/{entry}", segment(tenant.as_str())))?;
    Ok(document["payload"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default())
}

/// What became another since the plan before it, where the attempt had one.
fn since(client: &Client, tenant: &Tenant, told: &Value, now: &[u8]) -> Result<Vec<String>, CliError> {
    let Some(entry) = told["plan_before"].as_u64() else { return Ok(Vec::new()) };
    let before = payload(client, tenant, entry)?;
    let subject = |payload: &[u8]| -> Value {
        let bytes = schemas::plan::subject(payload).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    let mut lines = vec![format!("since the plan of entry {entry}, which is another one:")];
    lines.extend(changed::changed(&subject(&before), &subject(now)).into_iter().map(|line| format!("     {line}")));
    Ok(lines)
}

/// The key, and what signs with it.
fn signing(args: &Args, told: &Value) -> Result<Signing, CliError> {
    if args.key != AGENT {
        return Signing::with_file(Path::new(&args.key));
    }
    let held = agent_keys()?;
    let is_allowed = |print: &str| {
        let named = |row: &&Value| row["fingerprint"] == *print;
        let row = list_of(told, "signers").iter().find(named);
        row.is_some_and(|row| args.approver.as_ref().is_none_or(|approver| row["approver"] == **approver))
    };
    let mut may: Vec<_> = held.iter().filter(|key| is_allowed(&key.fingerprint())).collect();
    match (may.pop(), may.is_empty()) {
        (Some(only), true) => Signing::with_agent(only.clone()),
        (Some(_), false) => Err(CliError::could_not("the agent holds several keys that may sign approvals here")
            .with_detail("say which with --approver NAME, or --key FILE.pub")),
        (None, _) => {
            let held: Vec<String> = held.iter().map(|key| format!("the agent holds {key}")).collect();
            Err(CliError::no("the agent holds no key whose approvals the tenant's rule allows").with_detail(
                format!("{}\nupm tenant rule TENANT --allow NAME=FILE.pub allows one", held.join("\n")).trim(),
            ))
        }
    }
}

/// What is to be signed.
fn said(args: &Args, decision: &str, told: &Value, plan: &Value, signing: &Signing) -> Result<Statement, CliError> {
    let print = signing.public.fingerprint();
    let of_key = list_of(told, "signers").iter().find(|row| row["fingerprint"] == *print);
    let approver = args.approver.clone().or_else(|| of_key.and_then(|row| row["approver"].as_str()).map(str::to_owned));
    let approver = approver.ok_or_else(|| {
        CliError::no(format!("the tenant's rule does not say whose approvals {print} signs"))
            .with_detail("an administrator allows it: upm tenant rule TENANT --allow NAME=FILE.pub")
    })?;
    let now = told["now"].as_str().unwrap_or_default();
    let at = args.at.clone().unwrap_or_else(|| now_text().unwrap_or_else(|| now.to_owned()));
    if time::seconds(&at).is_none() {
        return Err(CliError::could_not(format!("--at: found {:?}, expected a time of RFC 3339", print::clean(&at))));
    }
    let mut said = Statement::new(told["origin"].as_str().unwrap_or_default(), &args.change);
    said.plan_digest = told["plan_digest"].as_str().map(str::to_owned);
    said.approver = Some(approver);
    said.role = Some(role(args, decision, told, plan)?);
    said.decision = Some(decision.to_owned());
    said.expires = args.expires.as_deref().map(|text| end(text, &at)).transpose()?;
    said.at = Some(at);
    Ok(said)
}

fn now_text() -> Option<String> {
    let text = build::rfc3339(i64::try_from(clock::unix_ms()).ok()?);
    Some(format!("{}Z", text.split_once('.')?.0))
}

/// A time as it stands, or a span from `at` on.
fn end(text: &str, at: &str) -> Result<String, CliError> {
    if time::seconds(text).is_some() {
        return Ok(text.to_owned());
    }
    let span = limits::time(text).map_err(|_| {
        CliError::could_not(format!(
            "--expires: found {:?}, expected a time such as 2027-06-30T18:00:00Z, or a span such as 8h",
            print::clean(text)
        ))
    })?;
    let end = time::seconds(at).and_then(|at| at.checked_add(i64::try_from(span.as_secs()).ok()?)?.checked_mul(1000));
    let end = end.ok_or_else(|| CliError::could_not("--expires: longer than there are times"))?;
    let text = build::rfc3339(end);
    Ok(text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z")))
}

/// The role: as said, else the one that is asked for.
fn role(args: &Args, decision: &str, told: &Value, plan: &Value) -> Result<String, CliError> {
    if let Some(role) = &args.role {
        return Ok(role.clone());
    }
    let of_rule = list_of(&told["rule"], "roles").iter();
    let of_plan = list_of(&plan["provisioning_event"]["plan"], "approvals").iter();
    let mut asked: Vec<&str> = of_rule.chain(of_plan).filter_map(Value::as_str).collect();
    asked.sort_unstable();
    asked.dedup();
    match (asked.as_slice(), decision) {
        ([only], _) => Ok((*only).to_owned()),
        // Whoever refuses needs no role for it to stand.
        ([], "refused") => Ok("none".to_owned()),
        _ => {
            let asked: Vec<String> = asked.iter().map(|role| print::clean(role)).collect();
            let which = if asked.is_empty() {
                "nobody asks for a certain one".to_owned()
            } else {
                format!("asked for: {}", asked.join(", "))
            };
            Err(CliError::could_not("say in which role, with --role ROLE").with_detail(which))
        }
    }
}

/// Asks on the terminal.
fn agrees(decision: &str) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::could_not("there is no terminal to ask on").with_detail(
            "look at the plan with `upm change show`, and say --yes (with --plan-digest, for exactly that plan)",
        ));
    }
    let verb = if decision == "approved" { "Approve" } else { "Refuse" };
    let asked = |error: io::Error| CliError::because("can't ask", &error);
    write!(io::stderr(), "\n{verb} this plan? [y/N] ").and_then(|()| io::stderr().flush()).map_err(asked)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(asked)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn recorded(globals: &Globals, args: &Args, told: &Value, body: &Value, answer: Value) -> Result<ExitCode, CliError> {
    if let (Some(file), Some(receipt)) = (&args.receipt, answer["receipt"].as_str()) {
        fs::write(file, receipt)
            .map_err(|error| CliError::because(format!("can't write {}", file.display()), &error))?;
    }
    if globals.json {
        let mut answer = answer;
        for member in ["tenant", "preflight"] {
            if let Some(value) = told.get(member) {
                answer[member] = value.clone();
            }
        }
        answer["statement"] = body["statement"].clone();
        answer["signature"] = body["signature"].clone();
        print::json(&answer)?;
    } else {
        print::line(&shown::recorded(&answer, told))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each reason on a line of its own.
fn refused(problem: &Value) -> CliError {
    let reasons: Vec<String> =
        list_of(problem, "reasons").iter().filter_map(|reason| reason["text"].as_str()).map(print::clean).collect();
    match reasons.as_slice() {
        [] => CliError::could_not(print::clean(problem["detail"].as_str().unwrap_or("the server refuses it"))),
        [only] => CliError::no(format!("not published, it would not count: {only}")),
        several => CliError::no("not published, it would not count").with_detail(several.join("\n")),
    }
}

fn list_of<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value[member].as_array().map_or(&[][..], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_span() {
        let at = "2026-01-02T03:04:05Z";
        assert_eq!(end("8h", at).unwrap(), "2026-01-02T11:04:05Z");
        assert_eq!(end("2026-02-01T00:00:00+01:00", at).unwrap(), "2026-02-01T00:00:00+01:00");
        let said = end("soon", at).unwrap_err().to_string();
        assert!(said.contains("found \"soon\""), "{said}");
    }

    #[test]
    fn one_reason_is_the_line_and_several_are_the_detail() {
        let of = |texts: &[&str]| {
            let reasons: Vec<Value> = texts.iter().map(|text| json!({"code": "x", "text": text})).collect();
            refused(&json!({ "reasons": reasons, "detail": "server says" }))
        };
        let CliError::No { line, detail } = of(&["it had expired"]) else { panic!() };
        assert_eq!((line.as_str(), detail.as_str()), ("not published, it would not count: it had expired", ""));
        let CliError::No { detail, .. } = of(&["a", "b\u{1b}[2J"]) else { panic!() };
        assert_eq!(detail, "a\nb\\u{1b}[2J");
        assert!(matches!(of(&[]), CliError::CouldNot { .. }));
    }
}
