//! `upm hold`: legal holds. What is held is not erased until the hold is released; both stand in the log for ever.

use std::process::ExitCode;

use ledger::governance::{Act, Hold, Scope};
use schemas::ids::ChangeId;

use super::client::act::{self, ActArgs};
use super::client::print;
use super::{CliError, Globals};

/// Options of `upm hold`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm hold add case-7 --all --reason 'litigation 2026/7' --tenant acme\n  upm hold add case-8 --change c-42 --change c-43 --reason audit --tenant acme\n  upm hold release case-7 --reason 'settled' --tenant acme\n  upm hold list --tenant acme --json\n\nIDs and reasons are kept for ever: no personal data in them."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Hold everything of the tenant, or some changes
    Add {
        /// The hold's name, unique among those that hold
        id: String,
        /// Hold everything of the tenant
        #[arg(long, required_unless_present = "changes", conflicts_with = "changes")]
        all: bool,
        /// Hold this change; may be given several times
        #[arg(long = "change", value_name = "ID")]
        changes: Vec<ChangeId>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        how: ActArgs,
    },
    /// End a hold
    Release {
        /// The hold's name
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        how: ActArgs,
    },
    /// List the holds that hold
    List,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let tenant = globals.tenant_or_default()?;
    match args.action {
        Action::Add { id, changes, reason, how, .. } => {
            let scope = if changes.is_empty() { Scope::All } else { Scope::Changes(changes) };
            let hold = Act::Hold(Hold { id: id.clone(), scope, reason });
            let done = act::perform(globals, &tenant, &how, None, |_, _| Ok(hold.clone()))?;
            act::told(globals, &tenant, &done, &format!("hold {id} holds"))?;
        }
        Action::Release { id, reason, how } => {
            let release = Act::Release { id: id.clone(), reason };
            let done = act::perform(globals, &tenant, &how, None, |_, _| Ok(release.clone()))?;
            act::told(globals, &tenant, &done, &format!("hold {id} is released"))?;
        }
        Action::List => {
            let holds = act::governance(globals, &tenant)?["holds"].clone();
            if globals.json {
                print::json(&serde_json::json!({ "tenant": tenant, "holds": holds }))?;
            } else {
                let rows: Vec<Vec<String>> = holds.as_array().map_or(&[][..], Vec::as_slice).iter().map(row).collect();
                print::line(&if rows.is_empty() {
                    format!("nothing of {tenant} is held")
                } else {
                    print::columns(&rows)
                })?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(hold: &serde_json::Value) -> Vec<String> {
    let changes = hold["scope"]["changes"].as_array();
    let scope = changes.map_or_else(
        || "everything".to_owned(),
        |changes| changes.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(" "),
    );
    vec![
        hold["id"].as_str().unwrap_or_default().to_owned(),
        scope,
        hold["reason"].as_str().unwrap_or_default().to_owned(),
    ]
}
