//! `upm keys`: the public keys that others verify with. Nothing secret is read where a server says them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use ledger::birth::LEDGER_LOG;
use ledger::note::VerifierKey;
use ledger::read::Log;
use serde_json::{Map, Value, json};

use super::client::http::Client;
use super::client::print;
use super::{CliError, Globals};
use crate::data_dir::DataDir;
use crate::home::Home;

/// Options of `upm keys`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm keys show\n  upm keys show --tenant acme --pem > acme.pub\n  upm keys show --tenant acme --vkey > acme.vkey"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the public key of each log, or of --tenant: as vkey, with its key ID
    Show {
        /// Only the key, as PEM (SPKI), as cosign and openssl read it
        #[arg(long, conflicts_with = "vkey")]
        pem: bool,
        /// Only the key, as vkey
        #[arg(long)]
        vkey: bool,
    },
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let Action::Show { pem, vkey } = args.action;
    let mut keys = known(globals)?;
    if let Some(tenant) = globals.tenant() {
        keys.retain(|log, _| log == tenant.as_str());
        if keys.is_empty() {
            return Err(CliError::no(format!("there is no tenant {tenant} here; `upm tenant add {tenant}` makes it")));
        }
    }
    if pem || vkey {
        // Events are verified with the key of their tenant, which needs no name where there is one.
        keys.remove(LEDGER_LOG);
        let [key] = &keys.values().collect::<Vec<_>>()[..] else {
            let names: Vec<&str> = keys.keys().map(String::as_str).collect();
            return Err(
                CliError::could_not("there are several logs: say which with --tenant").with_detail(names.join("\n"))
            );
        };
        let text = if pem { key.spki_pem() } else { key.to_vkey() };
        print::line(text.trim_end())?;
    } else if globals.json {
        print::json(&Value::Object(keys.iter().map(|(log, key)| (log.clone(), as_json(key))).collect::<Map<_, _>>()))?;
    } else {
        let shown: Vec<String> = keys.iter().map(|(log, key)| told(log, key)).collect();
        print::line(&shown.join("\n\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The key of each log: from the server on the data directory, from the server that was named, or from the store itself.
fn known(globals: &Globals) -> Result<BTreeMap<String, VerifierKey>, CliError> {
    if globals.server.is_none() {
        if let Some(file) = globals.serve_file() {
            return file.logs.iter().map(|(log, vkey)| Ok((log.clone(), parsed(vkey)?))).collect();
        }
        if globals.data.join("ledger").is_dir() {
            return stored(globals);
        }
    }
    let answer = Client::new(globals).get("/v1/tenants")?;
    let rows = answer["tenants"].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter()
        .filter_map(|row| Some((row["tenant"].as_str()?, row["vkey"].as_str()?)))
        .map(|(tenant, vkey)| Ok((tenant.to_owned(), parsed(vkey)?)))
        .collect()
}

fn parsed(vkey: &str) -> Result<VerifierKey, CliError> {
    VerifierKey::parse(vkey).map_err(|error| CliError::because("the server gives a key that is none", &error))
}

/// Out of the first entry of each log.
fn stored(globals: &Globals) -> Result<BTreeMap<String, VerifierKey>, CliError> {
    let cannot = |error: &dyn std::error::Error| CliError::because("can't read the ledger", error);
    let dir = DataDir::existing(&globals.data).map_err(|error| cannot(&error))?;
    let lock = dir.lock().map_err(|error| cannot(&error))?;
    let home = Home::open(dir, lock).map_err(|error| cannot(&error))?;
    let own = home.verifier().map_err(|error| cannot(&error))?;
    let mut keys = BTreeMap::from([(LEDGER_LOG.to_owned(), own)]);
    for (tenant, id, origin) in home.tenants().map_err(|error| cannot(&error))? {
        let first = Log::open(home.kv.clone(), id).and_then(|log| log.first()).map_err(|error| cannot(&error))?;
        keys.insert(tenant.to_string(), VerifierKey::new(origin.key_name().clone(), first.log_key));
    }
    Ok(keys)
}

fn as_json(key: &VerifierKey) -> Value {
    json!({ "origin": key.name().as_str(), "vkey": key.to_vkey(), "key_id": hex::encode(key.id()), "pem": key.spki_pem() })
}

fn told(log: &str, key: &VerifierKey) -> String {
    let rows = [("origin", key.name().as_str().to_owned()), ("vkey", key.to_vkey()), ("key ID", hex::encode(key.id()))];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![format!("  {name}"), value]).collect();
    format!("{log}\n{}", print::columns(&rows))
}
