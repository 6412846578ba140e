//! `upm keys`: the public keys that others verify with, and replacing keys. Nothing secret is read for showing them.
//!
//! A log key is replaced over the road while the server runs; it picks the new key up from `keys/` with the entry that names it. A
//! key that is lost or stolen is replaced in the store itself, with the server stopped: without it nothing could be signed, not
//! even what stands before the message on the road.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ledger::append::LogId;
use ledger::birth::LEDGER_LOG;
use ledger::checkpoint::Origin;
use ledger::control::ControlOp;
use ledger::governance::{Act, KeyChange, KeyStatus};
use ledger::hash::Hash;
use ledger::note::VerifierKey;
use ledger::read::Log;
use ledger::signing::{PublicKey, Signer};
use schemas::ids::Tenant;
use serde_json::{Map, Value, json};

use super::client::act::{self, ActArgs};
use super::client::http::Client;
use super::client::print;
use super::client::send::Unanswered;
use super::{CliError, Globals};
use crate::bounded::{self, NOTE_MAX};
use crate::data_dir::DataDir;
use crate::governed;
use crate::home::{Home, HomeError};
use crate::keys_on_disk::{self, Keys};
use crate::offline::{self, OfflineError};

/// Options of `upm keys`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm keys show\n  upm keys show --tenant acme --pem > acme.pub\n  upm keys show --tenant acme --history\n  upm keys rotate --tenant acme\n  upm keys chain --tenant acme > acme-keys.json\n  upm keys recover lost --tenant acme\n  upm keys admin set alice.pub bob.pub --tenant acme\n  upm keys unused --remove\n\nrotate, admin and recovery are signed by the recovery key (keys/recovery.pem, or --key FILE twice, with an admin key).\nrecover, unused, and everything with --ledger, works on the data directory itself: stop the server first."
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
        /// All keys that the log ever had, with the tree sizes that each signs
        #[arg(long, conflicts_with_all = ["pem", "vkey"])]
        history: bool,
    },
    /// Print how each key of the log leads to the one that signs (for verify --keys)
    Chain {
        /// Of the ledger's own log instead of a tenant's
        #[arg(long)]
        ledger: bool,
    },
    /// Replace a log key; old and new sign together for a while
    Rotate {
        /// How many entries long the old key goes on signing beside the new one, at most 1,000,000
        #[arg(long, value_name = "ENTRIES", default_value_t = 1_000, value_parser = overlap)]
        overlap: u64,
        /// The key of the ledger's own log instead of a tenant's (there both never sign together)
        #[arg(long)]
        ledger: bool,
        #[command(flatten)]
        how: ActArgs,
    },
    /// Replace a log key that is lost or stolen, with the server stopped
    Recover {
        /// What happened to the old key
        status: Ended,
        /// The last tree size that the old key's signature counts for [default: the newest]
        #[arg(long, value_name = "SIZE")]
        from: Option<u64>,
        /// The key of the ledger's own log instead of a tenant's
        #[arg(long)]
        ledger: bool,
        #[command(flatten)]
        how: ActArgs,
    },
    /// List key files that no log names, left by rotations that failed
    Unused {
        /// Remove them; the server must be stopped
        #[arg(long)]
        remove: bool,
    },
    /// List the admin keys of a log, or replace all of them
    Admin {
        #[command(subcommand)]
        action: RoleAction,
    },
    /// Show the recovery key of a log, or replace it
    Recovery {
        #[command(subcommand)]
        action: RoleAction,
    },
}

#[derive(Debug, clap::Subcommand)]
enum RoleAction {
    /// Show the public keys
    List {
        /// Of the ledger's own log instead of a tenant's
        #[arg(long)]
        ledger: bool,
    },
    /// Replace them
    Set {
        /// Public keys, PEM files (as `openssl pkey -pubout` writes them)
        #[arg(required = true, value_name = "FILE")]
        public: Vec<PathBuf>,
        /// Of the ledger's own log instead of a tenant's
        #[arg(long)]
        ledger: bool,
        #[command(flatten)]
        how: ActArgs,
    },
}

/// Entries that both keys may sign at most, as far as the command line asks: for as long the old secret is needed.
const OVERLAP_MAX: u64 = 1_000_000;

/// A number of entries that both keys sign.
fn overlap(text: &str) -> Result<u64, String> {
    let entries = text.parse::<u64>().ok().filter(|entries| *entries <= OVERLAP_MAX);
    entries.ok_or_else(|| {
        format!(
            "expected a number of entries up to {OVERLAP_MAX}: until then both keys sign, and the old one is needed"
        )
    })
}

/// What happened to a key that is replaced without its signature.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Ended {
    /// Nobody has it any more
    Lost,
    /// Somebody else has it
    Compromised,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Show { pem, vkey, history } => show(globals, pem, vkey, history)?,
        Action::Chain { ledger } => {
            let log = if ledger { LEDGER_LOG.to_owned() } else { globals.tenant_or_default()?.to_string() };
            let chain = Client::new(globals).get(&format!("/logs/{log}/keys/chain"))?;
            // Without a line end: it is read back byte for byte.
            print::raw(&chain.to_string())?;
        }
        Action::Rotate { ledger: true, how, .. } => replace(globals, KeyStatus::Retired, None, true, &how)?,
        Action::Rotate { overlap, how, .. } => rotate(globals, overlap, &how)?,
        Action::Recover { status, from, ledger, how } => {
            let status = match status {
                Ended::Lost => KeyStatus::Lost,
                Ended::Compromised => KeyStatus::Compromised,
            };
            replace(globals, status, from, ledger, &how)?;
        }
        Action::Unused { remove } => unused(globals, remove)?,
        Action::Admin { action } => role(globals, action, Role::Admin)?,
        Action::Recovery { action } => role(globals, action, Role::Recovery)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Replaces a tenant's log key over the road of a running server. The new key's file is durable before anybody hears of it.
fn rotate(globals: &Globals, overlap: u64, how: &ActArgs) -> Result<(), CliError> {
    let tenant = globals.tenant_or_default()?;
    let holds = act::governance(globals, &tenant)?;
    let keys = Keys::at(globals.data.join("keys"));
    let (origin, current) = current_key(&holds)?;
    let old = keys.log_signer(&origin, &current).map_err(|error| CliError::of(&error))?;
    act::refuse_unsigned(&holds, ControlOp::Key, &globals.data, how)?;
    let (new, path) = keys.new_log_signer(&origin).map_err(|error| CliError::of(&error))?;
    let change = |holds: &Value, made: u32| -> Result<Act, CliError> {
        let (_, now) = current_key(holds)?;
        if now != current {
            let now = VerifierKey::new(origin.key_name().clone(), now).to_vkey();
            return Err(CliError::no(format!("another change of this key came first: it is {now} now"))
                .with_detail("nothing was done; run it again if you mean to replace that one"));
        }
        let size = holds["size"].as_u64().unwrap_or_default();
        let root = Hash::parse(holds["root"].as_str().unwrap_or_default());
        Ok(Act::Key(KeyChange {
            new: new.public_key(),
            old: current,
            status: KeyStatus::Retired,
            // Longer each time, for a log that grows faster than we ask.
            from: size.saturating_add(overlap.max(made.into()).saturating_mul(10_u64.pow(made))),
            size,
            root: root.map_err(|error| CliError::because("the server's root", &error))?,
        }))
    };
    match act::perform(globals, &tenant, how, Some(&old), change) {
        Ok(done) => {
            let what = format!("the key of {origin} is now {}", new.verifier().to_vkey());
            act::told(globals, &tenant, &done, &what)
        }
        // Refused, or never sent: nobody signs with it, ever.
        Err(Unanswered { error, sent: false }) => {
            let _ = std::fs::remove_file(&path);
            Err(error)
        }
        Err(Unanswered { error, .. }) => Err(error.with_detail(format!(
            "the new key stays in {}: `upm keys show --history` says whether it took over",
            path.display()
        ))),
    }
}

/// Key files that no log names. With the server stopped: one that runs may be about to use one of them.
fn unused(globals: &Globals, remove: bool) -> Result<(), CliError> {
    let home = stopped(globals)?;
    let files = home.unused_keys().map_err(|error| CliError::of(&error))?;
    if remove {
        for path in &files {
            let failed = |error: std::io::Error| CliError::because(format!("can't remove {}", path.display()), &error);
            std::fs::remove_file(path).map_err(failed)?;
        }
    }
    if globals.json {
        return print::json_line(&json!({ "unused": files, "removed": remove }));
    }
    let what = if remove { "removed" } else { "named by no log" };
    if files.is_empty() {
        return print::line("every log key in keys/ is named by its log");
    }
    files.iter().try_for_each(|path| print::line(&format!("{what}: {}", path.display())))
}

/// Replaces a log key in the store itself, while no server runs.
fn replace(
    globals: &Globals,
    status: KeyStatus,
    from: Option<u64>,
    ledger: bool,
    how: &ActArgs,
) -> Result<(), CliError> {
    let home = stopped(globals)?;
    let (id, name) = which(globals, &home, ledger)?;
    let log = Log::open(&*home.kv, id).map_err(|error| CliError::of(&error))?;
    let governance = log.governance().map_err(|error| CliError::of(&error))?;
    let head = log.head().map_err(|error| CliError::of(&error))?;
    // Whoever states that the key was stolen earlier vouches for no more than that.
    let size = from.unwrap_or(head.size).min(head.size).max(1);
    let root = log.root(size).map_err(|error| CliError::of(&error))?;
    let old = home.keys.log_signer(governance.origin(), governance.log_keys().current());
    let old = if status == KeyStatus::Retired { Some(old.map_err(|error| CliError::of(&error))?) } else { None };
    let signing = Signing::load(globals, &home, id, how)?;
    // Last of all that may be refused: a key file that nobody needs must not stay.
    let (new, path) = home.keys.new_log_signer(governance.origin()).map_err(|error| CliError::of(&error))?;
    let current = *governance.log_keys().current();
    let from = from.unwrap_or(head.size);
    let act = Act::Key(KeyChange { new: new.public_key(), old: current, status, from, size, root });
    let done = signing.perform(&home, id, &act, old.as_ref());
    let index = done.map_err(|error| {
        // Refused, or not even sealed: nobody signs with it, ever.
        if !matches!(error, OfflineError::Poisoned(_) | OfflineError::Read(_)) {
            let _ = std::fs::remove_file(&path);
        }
        refused(&error)
    })?;
    let vkey = new.verifier().to_vkey();
    if globals.json {
        return print::json_line(&json!({ "log": name, "index": index, "vkey": vkey }));
    }
    print::line(&format!("the key of {} is now {vkey} (entry {index})", governance.origin()))
}

/// What a key that signs acts may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Rules, facts, holds, tenants.
    Admin,
    /// Replaces all other keys.
    Recovery,
}

impl Role {
    /// Where a log's keys of this role stand in what the server says of it.
    fn member(self) -> &'static str {
        match self {
            Role::Admin => "admin_keys",
            Role::Recovery => "recovery_key",
        }
    }

    fn act(self, keys: &[PublicKey]) -> Result<Act, CliError> {
        match (self, keys) {
            (Role::Admin, keys) => Ok(Act::Admin(keys.to_vec())),
            (Role::Recovery, [key]) => Ok(Act::Recovery(*key)),
            (Role::Recovery, keys) => {
                Err(CliError::could_not(format!("a log has one recovery key; found {} files", keys.len())))
            }
        }
    }

    /// What is left to do when these keys have taken the role on `origin`; nothing where the key that signs by default is one of them.
    fn next(self, data: &Path, origin: &Origin, keys: &[PublicKey]) -> Option<String> {
        let path = Keys::at(data.join("keys")).admin_path();
        match self {
            Role::Recovery => Some(format!(
                "next: keep its secret offline; the recovery key from before replaces nothing in {origin} any more"
            )),
            Role::Admin if keys_on_disk::signer(&path, origin).is_ok_and(|own| keys.contains(&own.public_key())) => {
                None
            }
            Role::Admin if origin.log() == LEDGER_LOG => Some(format!(
                "next: put the secret of one of them into {} (mode 0600): the server lists new tenants with it, and until then none can be added",
                path.display()
            )),
            Role::Admin => Some(format!(
                "next: put the secret of one of them into {} (mode 0600), or name it with --key at each act on {origin}; the acts go on being listed by an admin key of --ledger",
                path.display()
            )),
        }
    }
}

/// Shows the keys of a role, or replaces them.
fn role(globals: &Globals, action: RoleAction, role: Role) -> Result<(), CliError> {
    match action {
        RoleAction::List { ledger } => {
            let holds = held(globals, ledger)?;
            let keys = match &holds[role.member()] {
                Value::Array(keys) => keys.clone(),
                key => vec![key.clone()],
            };
            if globals.json {
                return print::json_line(&json!({ "origin": holds["origin"], "keys": keys }));
            }
            let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
            print::line(&print::clean_lines(&keys.join("\n")))
        }
        RoleAction::Set { public, ledger, how } => {
            let keys: Result<Vec<_>, _> = public.iter().map(|file| public_key(file)).collect();
            let keys = keys?;
            let act = role.act(&keys)?;
            let next = |origin: &Origin| role.next(&globals.data, origin, &keys);
            if ledger {
                let home = stopped(globals)?;
                let signing = Signing::load(globals, &home, LogId::LEDGER, &how)?;
                let done = signing.perform(&home, LogId::LEDGER, &act, None);
                let index = done.map_err(|error| refused(&error))?;
                let next = next(&home.origin(LEDGER_LOG).map_err(|error| CliError::of(&error))?);
                if globals.json {
                    return print::json_line(&json!({ "log": LEDGER_LOG, "index": index, "next": next }));
                }
                print::line(&format!("the keys of {LEDGER_LOG} are replaced (entry {index})"))?;
                return next.map_or(Ok(()), |next| print::line(&next));
            }
            let tenant = globals.tenant_or_default()?;
            let (origin, _) = current_key(&act::governance(globals, &tenant)?)?;
            let done = act::perform(globals, &tenant, &how, None, |_, _| Ok(act.clone()))?;
            act::told(globals, &tenant, &done, &format!("the keys of {tenant}'s log are replaced"))?;
            next(&origin).filter(|_| !globals.json).map_or(Ok(()), |next| print::line(&next))
        }
    }
}

/// What holds in a log: as the server says, or out of the store itself where none runs.
fn held(globals: &Globals, ledger: bool) -> Result<Value, CliError> {
    let running = globals.server.is_some() || globals.serve_file().is_some();
    if !running && globals.data.join("ledger").is_dir() {
        let dir = DataDir::existing(&globals.data).map_err(|error| CliError::of(&error))?;
        let lock = dir.lock().map_err(|error| CliError::of(&error))?;
        let home = Home::open(dir, lock).map_err(|error| CliError::of(&error))?;
        let (id, _) = which(globals, &home, ledger)?;
        let governance = Log::open(&*home.kv, id).and_then(|log| log.governance());
        return governance.map(|governance| governed::as_json(&governance)).map_err(|error| CliError::of(&error));
    }
    if !ledger {
        return act::governance(globals, &globals.tenant_or_default()?);
    }
    // Every tenant's answer says it of the ledger's own log too.
    let tenants = Client::new(globals).get("/v1/tenants")?;
    let tenant = tenants["tenants"][0]["tenant"].as_str().and_then(|name| Tenant::parse(name).ok());
    let tenant = tenant.ok_or_else(|| CliError::no("there is no tenant here yet"))?;
    Ok(act::governance(globals, &tenant)?["ledger"].clone())
}

/// The keys that sign an act which is appended to the store itself.
struct Signing {
    keys: Vec<Signer>,
    /// Which of them is the recovery key.
    recovery: usize,
    /// Which of them lists it in `_ledger`; there an act needs no listing.
    admin: Option<usize>,
}

impl Signing {
    /// The keys that were named, or those in `keys/`, if they may: to be asked before anything is made for the act.
    fn load(globals: &Globals, home: &Home, id: LogId, how: &ActArgs) -> Result<Self, CliError> {
        let governed =
            |id| Log::open(&*home.kv, id).and_then(|log| log.governance()).map_err(|error| CliError::of(&error));
        let (governance, ledger) = (governed(id)?, governed(LogId::LEDGER)?);
        let keys = act::load(governance.origin(), &globals.data, how.keys(), true)?;
        let recovery = format!("the recovery key of {}", governance.origin());
        let recovery = act::pick(&keys, &[*governance.recovery_key()], &recovery)?;
        let admin = format!("an admin key of {}, which lists every act", ledger.origin());
        let admin = (id != LogId::LEDGER).then(|| act::pick(&keys, ledger.admin_keys(), &admin)).transpose()?;
        Ok(Self { keys, recovery, admin })
    }

    /// Signs an act and appends it to the store.
    fn perform(&self, home: &Home, id: LogId, act: &Act, old: Option<&Signer>) -> Result<u64, OfflineError> {
        let mut signers = vec![&self.keys[self.recovery]];
        signers.extend(old);
        match self.admin {
            None => offline::on_ledger(home, act, &signers),
            Some(admin) => offline::on_log(home, id, act, &signers, &self.keys[admin]),
        }
    }
}

/// A refusal is an answer; all else could not be done.
fn refused(error: &OfflineError) -> CliError {
    match error {
        OfflineError::Refused(_) | OfflineError::Act(_) | OfflineError::Extend(_) => CliError::no(error.to_string()),
        error => CliError::of(error),
    }
}

/// The ledger in the data directory, which no server may hold.
fn stopped(globals: &Globals) -> Result<Home, CliError> {
    let dir = DataDir::existing(&globals.data).map_err(|error| CliError::of(&error))?;
    let lock = dir
        .lock()
        .map_err(|error| CliError::of(&error).with_detail("this works on the store itself: stop the server first"))?;
    let mut home = Home::open(dir, lock).map_err(|error| CliError::of(&error))?;
    home.refuse_lost_rounds().map_err(|error| lost(&error))?;
    home.keep_heads_as_before().map_err(|error| CliError::of(&error))?;
    Ok(home)
}

/// With the ways out, where rounds are lost.
pub(super) fn lost(error: &HomeError) -> CliError {
    match error {
        HomeError::Lost(lost) => CliError::of(error).with_detail(lost.ways_out()),
        _ => CliError::of(error),
    }
}

fn which(globals: &Globals, home: &Home, ledger: bool) -> Result<(LogId, String), CliError> {
    if ledger {
        return Ok((LogId::LEDGER, LEDGER_LOG.to_owned()));
    }
    let tenant = globals.tenant_or_default()?;
    let id = ledger::birth::log_of(&*home.kv, &tenant).map_err(|error| CliError::of(&error))?;
    let id = id.ok_or_else(|| CliError::no(format!("there is no tenant {tenant} here")))?;
    Ok((id, tenant.to_string()))
}

/// The log and its newest key, as the server says.
fn current_key(holds: &Value) -> Result<(Origin, PublicKey), CliError> {
    let vkey = holds["log_keys"].as_array().and_then(|keys| keys.last()?["vkey"].as_str()).unwrap_or_default();
    let key = parsed(vkey)?;
    let origin = Origin::parse(key.name().as_str()).map_err(|error| CliError::because("the log's key", &error))?;
    Ok((origin, *key.key()))
}

fn public_key(file: &Path) -> Result<PublicKey, CliError> {
    let named = |error: &dyn std::error::Error| CliError::because(file.display().to_string(), error);
    let text = bounded::text(file, NOTE_MAX).map_err(|error| named(&error))?;
    if text.contains("PRIVATE KEY") {
        return Err(CliError::could_not(format!("{} is a private key; expected the public one", file.display()))
            .with_detail("`openssl pkey -in KEY -pubout` writes it"));
    }
    PublicKey::from_spki_pem(&text).map_err(|error| named(&error))
}

fn show(globals: &Globals, pem: bool, vkey: bool, history: bool) -> Result<(), CliError> {
    if history {
        return show_history(globals);
    }
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
        print::line(text.trim_end())
    } else if globals.json {
        print::json(&Value::Object(keys.iter().map(|(log, key)| (log.clone(), as_json(key))).collect::<Map<_, _>>()))
    } else {
        let shown: Vec<String> = keys.iter().map(|(log, key)| told(log, key)).collect();
        print::line(&shown.join("\n\n"))
    }
}

/// Every key that a tenant's log ever had.
fn show_history(globals: &Globals) -> Result<(), CliError> {
    let tenant = globals.tenant_or_default()?;
    let running = globals.server.is_some() || globals.serve_file().is_some();
    let keys = if running || !globals.data.join("ledger").is_dir() {
        act::governance(globals, &tenant)?["log_keys"].clone()
    } else {
        let home = stopped(globals)?;
        let (id, _) = which(globals, &home, false)?;
        let governance = Log::open(&*home.kv, id).and_then(|log| log.governance());
        governed::keys(governance.map_err(|error| CliError::of(&error))?.log_keys())
    };
    if globals.json {
        return print::json(&json!({ "tenant": tenant, "keys": keys }));
    }
    let row = |key: &Value| {
        let until = key["until"].as_u64().map_or_else(|| "on".to_owned(), |until| format!("to {until}"));
        let status = match key["status"].as_str() {
            Some(status) => format!("{status} by entry {}, counts to size {}", key["entry"], key["from"]),
            None => "current".to_owned(),
        };
        vec![key["vkey"].as_str().unwrap_or_default().to_owned(), format!("sizes {} {until}", key["since"]), status]
    };
    let rows: Vec<Vec<String>> = keys.as_array().map_or(&[][..], Vec::as_slice).iter().map(row).collect();
    print::line(&print::columns(&rows))
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

/// Out of the logs themselves.
fn stored(globals: &Globals) -> Result<BTreeMap<String, VerifierKey>, CliError> {
    let cannot = |error: &dyn std::error::Error| CliError::because("can't read the ledger", error);
    let dir = DataDir::existing(&globals.data).map_err(|error| cannot(&error))?;
    let lock = dir.lock().map_err(|error| cannot(&error))?;
    let home = Home::open(dir, lock).map_err(|error| cannot(&error))?;
    let own = home.verifier().map_err(|error| cannot(&error))?;
    let mut keys = BTreeMap::from([(LEDGER_LOG.to_owned(), own)]);
    for (tenant, id, _) in home.tenants().map_err(|error| cannot(&error))? {
        let governance = Log::open(home.kv.clone(), id).and_then(|log| log.governance());
        keys.insert(tenant.to_string(), governance.map_err(|error| cannot(&error))?.log_keys().verifier());
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
