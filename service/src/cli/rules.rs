//! `upm rules`: the rules of admission that this program has, and recording in a log that they are adopted.

use std::process::ExitCode;

use ledger::governance::Act;
use ledger::hash::Hash;
use serde_json::json;

use super::client::act::{self, ActArgs};
use super::client::print;
use super::{CliError, Globals};

/// Options of `upm rules`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  upm rules show --tenant acme\n  upm rules adopt --tenant acme")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the name (SHA-256) of the rules that this program admits by, and of those that the log adopted last
    Show,
    /// Record in the log that the rules of this program are adopted
    Adopt {
        /// Name of the rules, 64 hex digits [default: those that this program admits by]
        name: Option<String>,
        #[command(flatten)]
        how: ActArgs,
    },
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let tenant = globals.tenant_or_default()?;
    let current = Hash(schemas::rules::current().name);
    match args.action {
        Action::Show => {
            let adopted = act::governance(globals, &tenant)?["rules"].clone();
            if globals.json {
                print::json_line(&json!({ "tenant": tenant, "program": current, "adopted": adopted }))?;
            } else {
                let adopted = adopted.as_str().unwrap_or_default().to_owned();
                let rows = [vec!["program".to_owned(), current.to_string()], vec!["adopted".to_owned(), adopted]];
                print::line(&print::columns(&rows))?;
            }
        }
        Action::Adopt { name, how } => {
            let rules = match name {
                Some(name) => Hash::parse(&name).map_err(|error| CliError::because("rules", &error))?,
                None => current,
            };
            if schemas::rules::by_name(rules.as_bytes()).is_none() {
                return Err(CliError::no(format!("rules {rules} are none that this program has")));
            }
            let done = act::perform(globals, &tenant, &how, None, |_, _| Ok(Act::Rules(rules)))?;
            act::told(globals, &tenant, &done, &format!("rules {rules} are adopted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
