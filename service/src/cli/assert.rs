//! `upm assert`: a gate for pipelines. Exit code 0 if everything that is asked for holds, 1 if not, with each reason.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use schemas::ids::{ChangeId, Tenant};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::client::http::{Client, segment};
use super::client::lookup::tenant_of;
use super::client::print;
use super::{CliError, Globals, limits};
use crate::clock;

/// How often somebody who waits asks.
const POLL: Duration = Duration::from_secs(2);

/// Options of `upm assert`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Requirements:\n  planned   the highest attempt has a plan\n  approved  its newest plan has the approvals that the tenant's rule and the plan ask for\n  policy    policies were evaluated on that plan, and nothing denied or failed\n  verified  it was executed, checked since, and everything held\n  evidence  everything that a full evidence pack has is on record\n\nWith --artifact or --plan-digest: yes only if exactly that is in the newest plan and that plan is approved.\n\nExamples:\n  upm assert c-42 --requires planned,approved,policy --tenant acme\n  upm assert c-42 --artifact app.tar.gz --wait 10m && ./deploy.sh app.tar.gz\n  upm assert c-42 --requires verified,evidence --json\n\nExit codes: 0 go, 1 stop, 2 could not find out (stop, too)."
)]
pub struct Args {
    /// The change
    #[arg(value_name = "ID")]
    change: ChangeId,
    /// What has to hold, with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',', required_unless_present_any = ["artifact", "plan_digest"])]
    requires: Vec<String>,
    /// The file that is about to be deployed
    #[arg(long, value_name = "FILE", conflicts_with = "plan_digest")]
    artifact: Option<PathBuf>,
    /// The plan that is about to be executed: sha256: and 64 hexadecimal digits
    #[arg(long, value_name = "DIGEST")]
    plan_digest: Option<String>,
    /// Go on asking for so long, until it holds or can no longer hold: 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = limits::time)]
    wait: Option<Duration>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let client = Client::new(globals);
    let query = query(&args)?;
    let started = clock::now();
    loop {
        let verdict = ask(globals, &client, &args.change, &query)?;
        let ok = verdict["ok"].as_bool() == Some(true);
        let waits = args.wait.is_some_and(|wait| started.elapsed() < wait) && verdict["open"].as_bool() == Some(true);
        if ok || !waits {
            if globals.json {
                print::json(&verdict)?;
            } else {
                print::line(&told(&verdict))?;
            }
            return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(1) });
        }
        let left = args.wait.unwrap_or_default().saturating_sub(started.elapsed());
        thread::sleep(POLL.min(left));
    }
}

fn ask(globals: &Globals, client: &Client, change: &ChangeId, query: &str) -> Result<Value, CliError> {
    let tenant: Tenant = match tenant_of(client, globals, change) {
        Ok(tenant) => tenant,
        // Nowhere yet: then it is asked for where it would be.
        Err(CliError::No { .. }) => globals.tenant_or_default()?,
        Err(error) => return Err(error),
    };
    client.get(&format!("/v1/tenants/{}/changes/{}/assert?{query}", segment(tenant.as_str()), segment(change.as_str())))
}

fn query(args: &Args) -> Result<String, CliError> {
    let mut pairs = Vec::new();
    if !args.requires.is_empty() {
        pairs.push(format!("requires={}", segment(&args.requires.join(","))));
    }
    if let Some(file) = &args.artifact {
        pairs.push(format!("artifact={}", segment(&sha256_of(file)?)));
    }
    if let Some(digest) = &args.plan_digest {
        pairs.push(format!("plan_digest={}", segment(digest)));
    }
    Ok(pairs.join("&"))
}

/// `sha256:…` of a file, read in pieces: artifacts are large.
fn sha256_of(path: &Path) -> Result<String, CliError> {
    let cannot = |error: io::Error| CliError::because(format!("can't read {}", path.display()), &error);
    let mut file = File::open(path).map_err(cannot)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece).map_err(cannot)? {
            0 => return Ok(format!("sha256:{}", hex::encode(hash.finalize()))),
            read => hash.update(&piece[..read]),
        }
    }
}

fn told(verdict: &Value) -> String {
    let word = |value: &Value| print::clean(value.as_str().unwrap_or_default());
    let attempt = match verdict["attempt"].as_u64() {
        Some(attempt) if attempt > 1 => format!(", attempt {attempt}"),
        _ => String::new(),
    };
    let go = if verdict["ok"].as_bool() == Some(true) { "go" } else { "stop" };
    let mut lines = vec![format!("{go}: {}{attempt}", word(&verdict["change"]))];
    let reasons = verdict["reasons"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = reasons
        .iter()
        .map(|reason| {
            let mark = if reason["ok"].as_bool() == Some(true) { "  ✓" } else { "  ✗" };
            vec![mark.to_owned(), word(&reason["requires"]).replace('_', " "), word(&reason["text"])]
        })
        .collect();
    lines.push(print::columns(&rows));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_one_word_and_its_reasons() {
        let verdict = serde_json::json!({
            "change": "c-1", "ok": false, "attempt": 2,
            "reasons": [
                {"requires": "planned", "ok": true, "text": "Entry 4 plans attempt 2."},
                {"requires": "plan_digest", "ok": false, "text": "evil\u{1b}[2J"},
            ],
        });
        insta::assert_snapshot!(told(&verdict), @r"
        stop: c-1, attempt 2
          ✓  planned      Entry 4 plans attempt 2.
          ✗  plan digest  evil\u{1b}[2J
        ");
        assert_eq!(told(&Value::Null), "stop: \n");
    }

    #[test]
    fn a_file_is_named_by_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "hello").unwrap();
        let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(sha256_of(&file).unwrap(), digest);
        assert!(sha256_of(&dir.path().join("b")).is_err());
    }
}
