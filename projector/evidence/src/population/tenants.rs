//! The ledger's own log in a population: every entry of `_ledger`, which lists each tenant as a salted commitment, and what opens the
//! commitment of the one tenant that the population is of. So a second tenant cannot hide unseen, and its name is not told.
//!
//! A listing is the log of a tenant or an act on such a log (`ledger::birth`, `ledger::governance::Act::Listed`); from outside the two
//! look the same, so that their number is an upper bound of the number of tenants.

use base64::{Engine, prelude::BASE64_STANDARD};
use ledger::birth::{LEDGER_LOG, Opening};
use ledger::checkpoint::{self, Origin};
use ledger::control::ControlOp;
use ledger::dsse::Envelope;
use ledger::entry::{Header, Salt, commitment};
use ledger::frontier::Frontier;
use ledger::hash::{self, Hash};
use ledger::note::VerifierKey;
use serde::{Deserialize, Serialize};

use super::document::{Listed, TreeHead};
use crate::parts::PackFile;

const ENTRIES: &str = "tenants/entries.ndjson";
const NOTE: &str = "tenants/checkpoint";
const VKEY: &str = "tenants/ledger.vkey";
const OWN: &str = "tenants/own.json";

/// `_ledger`, as it stands when the population is made.
#[derive(Clone, Debug)]
pub struct TenantsInput {
    /// Its signed tree head.
    pub checkpoint: String,
    /// All its entries under that head.
    pub entries: Vec<Vec<u8>>,
    /// The key that signs it.
    pub verifier: VerifierKey,
    /// What opens the listing of the population's own tenant; none where that was deleted.
    pub own: Option<OwnListing>,
}

/// What opens one listing.
#[derive(Clone, Debug)]
pub struct OwnListing {
    /// Index of the listing in `_ledger`.
    pub index: u64,
    /// The control envelope that its entry commits to.
    pub envelope: Vec<u8>,
    /// Salt of that commitment.
    pub envelope_salt: Salt,
    /// What the envelope commits to.
    pub opening: Vec<u8>,
    /// Salt of that commitment.
    pub opening_salt: Salt,
}

/// The same as a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnFile {
    envelope: String,
    envelope_salt: String,
    index: u64,
    opening: String,
    opening_salt: String,
}

/// What was found in `_ledger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Salted commitments.
    pub listings: u64,
    /// Index of the listing that is this tenant's, opened; none where it was not shipped.
    pub own: Option<u64>,
}

/// The files, sorted by name.
pub(crate) fn files(input: &TenantsInput) -> Result<Vec<PackFile>, serde_json::Error> {
    let mut files = vec![
        (NOTE.to_owned(), input.checkpoint.clone().into_bytes()),
        (ENTRIES.to_owned(), input.entries.iter().flat_map(|entry| [entry, &b"\n"[..]].concat()).collect()),
        (VKEY.to_owned(), vkey_text(&input.verifier).into_bytes()),
    ];
    if let Some(own) = &input.own {
        let file = OwnFile {
            envelope: BASE64_STANDARD.encode(&own.envelope),
            envelope_salt: own.envelope_salt.to_hex(),
            index: own.index,
            opening: BASE64_STANDARD.encode(&own.opening),
            opening_salt: own.opening_salt.to_hex(),
        };
        files.push((OWN.to_owned(), serde_json_canonicalizer::to_vec(&file)?));
    }
    files.sort();
    Ok(files)
}

fn vkey_text(key: &VerifierKey) -> String {
    format!("{}\n", key.to_vkey())
}

/// What `population.json` says of the files.
pub(crate) fn listed(input: &TenantsInput) -> Result<Listed, String> {
    let head = checkpoint::peek(&input.checkpoint).map_err(|error| error.to_string())?;
    let listings = input.entries.iter().filter(|entry| is_listing(entry)).count() as u64;
    Ok(Listed { listings, head: TreeHead::of(head.size, &head.root) })
}

/// Checks the files against each other and against what `population.json` says. `get` gives a file by name.
pub(crate) fn check<'a>(
    origin: &Origin,
    listed: &Listed,
    first_leaf: Option<&Hash>,
    get: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Listing, String> {
    let text = |name: &str| {
        let bytes = get(name).ok_or_else(|| format!("{name} is missing"))?;
        std::str::from_utf8(bytes).map_err(|_| format!("{name} is not text"))
    };
    let vkey = text(VKEY)?;
    let key = VerifierKey::parse(vkey.trim_end()).map_err(|error| format!("{VKEY}: {error}"))?;
    if vkey != vkey_text(&key) {
        return Err(format!("{VKEY} is not a vkey and a line feed"));
    }
    let head = checkpoint::open(text(NOTE)?, &key).map_err(|error| format!("{NOTE}: {error}"))?;
    let own_log = Origin::of(origin.ledger(), LEDGER_LOG).map_err(|error| error.to_string())?;
    if head.origin != own_log {
        return Err(format!("{NOTE} is of {}, expected {own_log}", head.origin));
    }
    if TreeHead::of(head.size, &head.root) != listed.head {
        return Err(format!("{NOTE} has another size or root than population.json says"));
    }
    let entries = text(ENTRIES)?;
    let lines: Vec<&[u8]> = entries.split_terminator('\n').map(str::as_bytes).collect();
    let mut tree = Frontier::default();
    for line in &lines {
        tree.push(hash::leaf(line));
    }
    if (tree.size(), tree.root()) != (head.size, head.root) || !entries.ends_with('\n') {
        return Err(format!("the entries in {ENTRIES} give another tree than {NOTE} signs"));
    }
    let mut listings = 0;
    for (index, line) in lines.iter().enumerate() {
        Header::decode(line).map_err(|error| format!("entry {index} of {own_log}: {error}"))?;
        listings += u64::from(is_listing(line));
    }
    if listings != listed.listings {
        return Err(format!("{listings} listings, population.json says {}", listed.listings));
    }
    let own = get(OWN).map(|bytes| opened(origin, bytes, &lines, first_leaf)).transpose()?;
    Ok(Listing { listings, own })
}

/// Names of the files that may be there.
pub(crate) fn names(with_own: bool) -> Vec<&'static str> {
    let mut names = vec![NOTE, ENTRIES, VKEY];
    names.extend(with_own.then_some(OWN));
    names.sort_unstable();
    names
}

/// Whether the tenant's own listing is shipped.
pub(crate) fn has_own<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| name == OWN)
}

fn is_listing(entry: &[u8]) -> bool {
    matches!(Header::decode(entry), Ok(Header::Control(control)) if control.op == ControlOp::Tenant)
}

/// Index of the listing, if it opens to this log.
fn opened(origin: &Origin, bytes: &[u8], entries: &[&[u8]], first_leaf: Option<&Hash>) -> Result<u64, String> {
    let bad = |why: String| format!("{OWN}: {why}");
    let own: OwnFile = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    if serde_json_canonicalizer::to_vec(&own).map_err(|error| bad(error.to_string()))? != bytes {
        return Err(bad("not RFC 8785".to_owned()));
    }
    let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|error| bad(error.to_string()));
    let salt = |text: &str| Salt::from_hex(text).ok_or_else(|| bad("a salt is malformed".to_owned()));
    let (envelope, opening) = (decode(&own.envelope)?, decode(&own.opening)?);
    let entry = usize::try_from(own.index).ok().and_then(|index| entries.get(index));
    let entry = entry.ok_or_else(|| bad(format!("there is no entry {}", own.index)))?;
    let Ok(Header::Control(control)) = Header::decode(entry) else {
        return Err(bad(format!("entry {} is no control entry", own.index)));
    };
    if control.op != ControlOp::Tenant || control.commit != commitment(&salt(&own.envelope_salt)?, &envelope) {
        return Err(bad(format!("entry {} does not commit to this envelope", own.index)));
    }
    let commit = listed_commit(&envelope).ok_or_else(|| bad("the envelope lists nothing".to_owned()))?;
    if commit != commitment(&salt(&own.opening_salt)?, &opening).to_string() {
        return Err(bad("the envelope does not commit to this opening".to_owned()));
    }
    let opening: Opening = serde_json::from_slice(&opening).map_err(|error| bad(error.to_string()))?;
    if opening.origin != origin.as_str() || opening.tenant != origin.log() {
        return Err(bad(format!("it lists {}, the population is of {origin}", opening.origin)));
    }
    match first_leaf {
        Some(leaf) if leaf.to_string() != opening.first => {
            Err(bad("it lists a log with another first entry".to_owned()))
        }
        _ => Ok(own.index),
    }
}

/// `body.commit` of a control envelope.
fn listed_commit(envelope: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Message {
        body: Body,
    }
    #[derive(Deserialize)]
    struct Body {
        commit: String,
    }
    let envelope = Envelope::parse(envelope).ok()?;
    serde_json::from_slice::<Message>(&envelope.payload).ok().map(|message| message.body.commit)
}
