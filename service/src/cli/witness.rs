//! `upm witness`: cosign the checkpoints of others' logs, C2SP tlog-witness.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ledger::cosignature::{Algorithm, Cosigner};
use ledger::note::{KeyName, VerifierKey};
use ledger::policy::{MAX_POLICY_BYTES, Policy};
use ledger::witness::WatchedLogs;
use serde_json::json;

use super::client::print;
use super::limits::some_time;
use super::{CliError, Globals};
use crate::data_dir::{DataDir, Lock};
use crate::http;
use crate::keys_on_disk::{cosigner_or_new, write_private};
use crate::stop::Stop;
use crate::witness::{Limits, Memory, Witness, router};
use crate::{clock, env, logging};

/// Options of `upm witness`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  upm witness keys --data /var/lib/upm-witness --name witness.example.org/w1\n  \
                  upm witness --data /var/lib/upm-witness --log ledger.example/acme+4f1c2d3e+AY0x… --listen 0.0.0.0:7380\n  \
                  upm witness --data /var/lib/upm-witness --logs logs.policy\n\n\
                  A witness holds no ledger: --data must be a directory of its own. Its keys are given to those who verify, in a \
                  policy line `witness <name> <vkey> <url>`. TLS is a reverse proxy's."
)]
pub struct Args {
    /// Show the witness's public keys (made at the first use), and end
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    /// Show the witness's public keys; they are made at the first use
    Keys {
        /// Name of a new witness, fixed at the first use
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Watch this log: its vkey, or ORIGIN=VKEY where the key has another name; again for more logs, or more keys of one
    #[arg(long = "log", value_name = "VKEY")]
    log: Vec<String>,
    /// Watch the logs of a policy file (C2SP tlog-policy, `log` lines)
    #[arg(long, value_name = "FILE")]
    logs: Option<PathBuf>,
    /// Address to serve on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// Name of a new witness, fixed at the first use; by default `<hostname>-<8 hex digits>/witness`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Requests taken in a second, over all logs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long the body of a request may take to arrive (such as 10s, 1m)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    body_time: Duration,
}

/// Its name, its keys, and the right to use them.
struct Identity {
    cosigners: Vec<Cosigner>,
    dir: DataDir,
    _lock: Lock,
}

/// Shows keys, or watches logs until it is told to stop.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    if let Some(Sub::Keys { name }) = args.command {
        let identity = identity(&globals.data, name.as_deref())?;
        print::line(&shown(&identity.cosigners, globals.json, None))?;
        return Ok(ExitCode::SUCCESS);
    }
    logging::init(globals.json);
    let args = args.serve;
    let logs = watched(&args)?;
    let listener = std::net::TcpListener::bind(args.listen);
    let listener = listener.map_err(|error| CliError::because(format!("can't listen on {}", args.listen), &error))?;
    let Identity { cosigners, dir, _lock } = identity(&globals.data, args.name.as_deref())?;
    let address = listener.local_addr().map_err(|error| CliError::because("can't listen", &error))?;
    let banner = shown(&cosigners, globals.json, Some((address, &logs)));
    let witness = Witness::new(logs, cosigners, Memory::at(dir.witness()));
    let witness = witness.map_err(|error| CliError::of(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::because("can't start threads", &error))?;
    let limits = Limits { requests_per_second: args.rate, body_time: args.body_time };
    runtime.block_on(serve(listener, witness, limits, &banner))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    listener: std::net::TcpListener,
    witness: Arc<Witness>,
    limits: Limits,
    banner: &str,
) -> Result<(), CliError> {
    let could_not = |error: std::io::Error| CliError::because("can't serve", &error);
    let mut stop = Stop::listen().map_err(could_not)?;
    listener.set_nonblocking(true).map_err(could_not)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(could_not)?;
    if let Err(error) = print::line(banner) {
        tracing::warn!(%error, "nobody was told that it is ready");
    }
    let (stopping, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let name = stop.wait().await;
        tracing::info!("{name}: stopping");
        stop.hurry();
        stopping.send_replace(true);
    });
    let header_time = limits.body_time;
    http::answer(listener, router(witness, limits), header_time, stopped).await.map_err(could_not)
}

/// The witness of a directory; where there is none, one is born.
fn identity(root: &Path, name: Option<&str>) -> Result<Identity, CliError> {
    let dir = DataDir::create_for_witness(root).map_err(|error| CliError::of(&error))?;
    let lock = dir.lock().map_err(|error| CliError::of(&error))?;
    let name = fixed_name(&dir.keys().join("witness.name"), name)?;
    let key = |file: &str, algorithm| {
        cosigner_or_new(&dir.keys().join(file), &name, algorithm).map_err(|error| CliError::of(&error))
    };
    let cosigners = vec![key("witness.pem", Algorithm::Ed25519)?, key("witness.ml-dsa-44.pem", Algorithm::MlDsa44)?];
    Ok(Identity { cosigners, dir, _lock: lock })
}

/// The name in the file, or the one asked for, or one after this host; a name goes into every cosignature, so it never changes.
fn fixed_name(path: &Path, asked: Option<&str>) -> Result<KeyName, CliError> {
    let parse = |text: &str| KeyName::parse(text).map_err(|error| CliError::of(&error));
    let at = |error: std::io::Error| CliError::because(path.display().to_string(), &error);
    match std::fs::read_to_string(path) {
        Ok(found) => {
            let found = parse(found.trim_end())?;
            match asked {
                Some(asked) if asked != found.as_str() => Err(CliError::could_not(format!(
                    "this witness is named {found:?}, not {asked:?}: a name is fixed at the first use",
                    found = found.as_str()
                ))),
                _ => Ok(found),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = asked.map_or_else(new_name, |name| Ok(name.to_owned()))?;
            let parsed = parse(&name)?;
            write_private(path, format!("{name}\n").as_bytes()).map_err(|error| CliError::of(&error))?;
            Ok(parsed)
        }
        Err(error) => Err(at(error)),
    }
}

fn new_name() -> Result<String, CliError> {
    let mut bytes = [0; 4];
    clock::fill(&mut bytes).map_err(|error| CliError::because("no randomness", &error))?;
    Ok(format!("{}-{}/witness", env::host_label(), hex::encode(bytes)))
}

/// The logs of the command line and of the file.
fn watched(args: &ServeArgs) -> Result<WatchedLogs, CliError> {
    let mut logs = WatchedLogs::default();
    for given in &args.log {
        let (origin, vkey) = parse_log(given)?;
        logs.watch(origin, vkey);
    }
    if let Some(path) = &args.logs {
        for log in read_policy(path)?.logs() {
            logs.watch(log.key.name().as_str(), log.key.clone());
        }
    }
    if logs.is_empty() {
        return Err(CliError::could_not("no log to watch: give --log VKEY, or --logs FILE with `log` lines"));
    }
    Ok(logs)
}

/// `VKEY`, whose name is the origin, or `ORIGIN=VKEY`. An origin may hold anything; what follows the last `=` before the key's
/// first `+` is the key.
fn parse_log(given: &str) -> Result<(&str, VerifierKey), CliError> {
    let name_end = given.find('+').unwrap_or(given.len());
    let (origin, vkey) = match given[..name_end].rfind('=') {
        Some(at) => (Some(&given[..at]), &given[at + 1..]),
        None => (None, given),
    };
    let key = VerifierKey::parse(vkey).map_err(|error| CliError::because("--log", &error))?;
    Ok((origin.unwrap_or(&given[..name_end]), key))
}

/// A policy file; what is wrong with it is one sentence with its line.
pub fn read_policy(path: &Path) -> Result<Policy, CliError> {
    let at = |error: std::io::Error| CliError::because(path.display().to_string(), &error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(at)?;
    file.take(MAX_POLICY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(at)?;
    Policy::parse(&bytes).map_err(|error| CliError::because(path.display().to_string(), &error))
}

/// What a witness says of itself, for a person or a script.
fn shown(cosigners: &[Cosigner], json: bool, serving: Option<(SocketAddr, &WatchedLogs)>) -> String {
    let keys: BTreeMap<String, String> =
        cosigners.iter().map(Cosigner::verifier).map(|key| (key.algorithm().to_string(), key.to_vkey())).collect();
    let url = serving.map(|(address, _)| format!("http://{address}"));
    let logs: Option<Vec<&str>> = serving.map(|(_, logs)| logs.origins().collect());
    if json {
        return json!({ "keys": keys, "http": url, "logs": logs, "pid": std::process::id() }).to_string();
    }
    let mut lines: Vec<String> = keys.into_iter().map(|(algorithm, vkey)| format!("{algorithm:<10} {vkey}")).collect();
    if let (Some(url), Some(logs)) = (url, logs) {
        lines.push(format!("witness    {url}"));
        lines.extend(logs.into_iter().map(|origin| format!("watches    {origin}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMDB: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

    #[test]
    fn a_log_has_the_name_of_its_key_or_another() {
        let check = |given: &str, expect: &str| {
            let (origin, key) = parse_log(given).unwrap();
            assert_eq!((origin, key.to_vkey().as_str()), (expect, SUMDB));
        };
        check(SUMDB, "sum.golang.org");
        check(&format!("go.sum database tree={SUMDB}"), "go.sum database tree");
        check(&format!("a=b={SUMDB}"), "a=b");
        assert!(parse_log("sum.golang.org").is_err());
        assert!(parse_log("x=").is_err());
    }

    #[test]
    fn a_witness_keeps_its_name_and_keys() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("w");
        let keys = |name: Option<&str>| {
            let identity = identity(&root, name)?;
            Ok::<_, CliError>(identity.cosigners.iter().map(|it| it.verifier().to_vkey()).collect::<Vec<_>>())
        };
        let first = keys(Some("w.example/1")).unwrap();
        assert!(first.iter().all(|vkey| vkey.starts_with("w.example/1+")), "{first:?}");
        assert_eq!(keys(None).unwrap(), first);
        assert!(keys(Some("other")).unwrap_err().to_string().contains("is fixed at the first use"));
        let ledger = temp.path().join("l");
        DataDir::create(&ledger).unwrap();
        assert!(identity(&ledger, None).err().unwrap().to_string().contains("is the data directory of a ledger"));
    }
}
