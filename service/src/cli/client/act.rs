//! Administrative acts on a tenant's log: made from what holds there, signed with the keys that were named, published on the road,
//! and answered like an event. Somebody else's act in between makes ours stale; then it is made anew.

use std::path::{Path, PathBuf};

use ledger::checkpoint::Origin;
use ledger::control::ControlOp;
use ledger::entry::Salt;
use ledger::governance::{Act, KeyStatus, Place, message};
use ledger::hash::Hash;
use ledger::signing::{PublicKey, Signer};
use pipeline::answer::Status;
use pipeline::produce::Outgoing;
use schemas::ids::Tenant;
use serde_json::{Value, json};

use super::http::{Client, segment};
use super::print;
use super::send::{NatsFlags, Route, Unanswered, send_one};
use crate::cli::{CliError, Globals};
use crate::{clock, keys_on_disk};

/// How often an act is made anew because something came before it.
const ATTEMPTS: u32 = 5;

/// Whose keys sign an act, and how it travels.
#[derive(Debug, Clone, clap::Args)]
pub struct ActArgs {
    /// Key that signs, PKCS#8 PEM; may be given several times [default: admin.pem, and recovery.pem where it is asked for, in the
    /// data directory's keys/]
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    nats: NatsFlags,
}

impl ActArgs {
    /// The key files that were named.
    pub fn keys(&self) -> &[PathBuf] {
        &self.keys
    }
}

/// What became of an act.
pub struct Done {
    /// Index of its entry.
    pub index: u64,
    /// Whether the same message was accepted before.
    pub duplicate: bool,
    /// The receipt.
    pub receipt: String,
}

/// What holds in a tenant's log, as the server says.
pub fn governance(globals: &Globals, tenant: &Tenant) -> Result<Value, CliError> {
    Client::new(globals).get(&format!("/v1/tenants/{}/governance", segment(tenant.as_str())))
}

/// Performs the act that `make` makes of what holds, and of how often it was made before. `also` signs with the keys that were named, for a change of log key.
pub fn perform(
    globals: &Globals,
    tenant: &Tenant,
    args: &ActArgs,
    also: Option<&Signer>,
    make: impl Fn(&Value, u32) -> Result<Act, CliError>,
) -> Result<Done, Unanswered> {
    let route = Route::find(globals, &args.nats);
    for made in 0.. {
        let holds = governance(globals, tenant)?;
        let act = make(&holds, made)?;
        let bytes = signed(&holds, &act, &globals.data, args, also)?;
        let sent = Outgoing { subject: format!("upm.control.{tenant}"), payload: bytes.into() };
        let answer = send_one(&route, &sent)?;
        let index = answer.index;
        if answer.status != Status::Rejected {
            let receipt = answer.receipt().unwrap_or_default().to_owned();
            return Ok(Done { index, duplicate: answer.status == Status::Duplicate, receipt });
        }
        let problem = answer.problem();
        let (reason, found) = problem.map_or_else(Default::default, |problem| (problem.reason, problem.found));
        // A busy log may have grown past the end of the overlap before the act came.
        let late = matches!(&act, Act::Key(change) if change.status == KeyStatus::Retired && index > change.from);
        if !(late || reason == "control_stale_counter") || made + 1 == ATTEMPTS {
            let line = format!("the ledger refuses it: {reason}: {}", print::clean(&found));
            let error = CliError::no(line).with_detail(format!("the refusal is entry {index} of {tenant}'s log"));
            return Err(error.into());
        }
    }
    Err(CliError::could_not("not tried").into())
}

/// Prints what became of an act.
pub fn told(globals: &Globals, tenant: &Tenant, done: &Done, what: &str) -> Result<(), CliError> {
    if globals.json {
        let status = if done.duplicate { "duplicate" } else { "accepted" };
        return print::json_line(
            &json!({ "tenant": tenant, "index": done.index, "status": status, "receipt": done.receipt }),
        );
    }
    let before = if done.duplicate { ", as before" } else { "" };
    print::line(&format!("{what} (entry {} of {tenant}'s log{before})", done.index))
}

/// A new salt.
pub fn salt() -> Result<Salt, CliError> {
    let mut salt = Salt([0; 16]);
    clock::fill(&mut salt.0).map_err(|error| CliError::because("the system gives no randomness", &error))?;
    Ok(salt)
}

/// Refuses where the keys that were named can't sign such an act: to be asked before anything is made for it.
pub fn refuse_unsigned(holds: &Value, op: ControlOp, data: &Path, args: &ActArgs) -> Result<(), CliError> {
    let keys = load(&place(holds)?.origin, data, &args.keys, needs_recovery(op))?;
    who_signs(&keys, holds, op).map(|_| ())
}

/// Who of `keys` signs such an act, and who its listing in `_ledger`.
fn who_signs<'k>(keys: &'k [Signer], holds: &Value, op: ControlOp) -> Result<(&'k Signer, &'k Signer), CliError> {
    let (on, ledger) = (place(holds)?.origin, place(&holds["ledger"])?.origin);
    let signer = if needs_recovery(op) {
        let recovery = public_keys(&json!([holds["recovery_key"]]))?;
        &keys[pick(keys, &recovery, &format!("the recovery key of {on}"))?]
    } else {
        &keys[pick(keys, &public_keys(&holds["admin_keys"])?, &format!("an admin key of {on}"))?]
    };
    let admins = public_keys(&holds["ledger"]["admin_keys"])?;
    let lister = pick(keys, &admins, &format!("an admin key of {ledger}, which lists every act"))?;
    Ok((signer, &keys[lister]))
}

fn signed(holds: &Value, act: &Act, data: &Path, args: &ActArgs, also: Option<&Signer>) -> Result<Vec<u8>, CliError> {
    let on = place(holds)?;
    let ledger = place(&holds["ledger"])?;
    let keys = load(&on.origin, data, &args.keys, needs_recovery(act.op()))?;
    let (signer, lister) = who_signs(&keys, holds, act.op())?;
    let mut signers: Vec<&Signer> = vec![signer];
    if matches!(act, Act::Key(change) if change.status == KeyStatus::Retired) {
        signers.extend(also);
    }
    let message = message(act, &on, &signers, &ledger, lister, salt()?);
    Ok(message.map_err(|error| CliError::because("the act can't be written", &error))?.print())
}

/// Whether an op is signed by the recovery key.
pub fn needs_recovery(op: ControlOp) -> bool {
    matches!(op, ControlOp::Key | ControlOp::Admin | ControlOp::Recovery)
}

/// The named keys, else those of the data directory.
pub fn load(name: &Origin, data: &Path, named: &[PathBuf], recovery: bool) -> Result<Vec<Signer>, CliError> {
    let keys = data.join("keys");
    let own = [Some(keys.join("admin.pem")), recovery.then(|| keys.join("recovery.pem"))];
    let own: Vec<PathBuf> = own.into_iter().flatten().collect();
    let files = if named.is_empty() { &own } else { named };
    let read = |file: &PathBuf| keys_on_disk::signer(file, name).map_err(|error| CliError::of(&error));
    files.iter().map(read).collect()
}

/// The place of the first of `keys` that may.
pub fn pick(keys: &[Signer], may: &[PublicKey], what: &str) -> Result<usize, CliError> {
    keys.iter().position(|key| may.contains(&key.public_key())).ok_or_else(|| {
        CliError::could_not(format!("none of the keys given is {what}")).with_detail("name its file with --key FILE")
    })
}

/// Public keys out of a JSON array.
pub fn public_keys(value: &Value) -> Result<Vec<PublicKey>, CliError> {
    let keys = value.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str);
    let keys: Result<_, _> = keys.map(PublicKey::from_typed_base64).collect();
    keys.map_err(|error| CliError::because("the server gives a key that is none", &error))
}

fn place(holds: &Value) -> Result<Place, CliError> {
    let wrong = || CliError::could_not("the server does not say where its control entries stand");
    let text = |member: &str| holds[member].as_str().ok_or_else(wrong);
    let origin = Origin::parse(text("origin")?).map_err(|error| CliError::because("origin", &error))?;
    let prev = Hash::parse(text("prev")?).map_err(|error| CliError::because("prev", &error))?;
    Ok(Place { origin, counter: holds["counter"].as_u64().ok_or_else(wrong)?, prev })
}
