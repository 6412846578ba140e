//! The command line of verification, shared by `upm-verify` and `upm verify`.
//!
//! Reads the named files and prints the report; decides nothing itself. Exit codes: 0 all checks held, 1 refuted, 2 could not.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};

use ledger::policy::{Policy, PolicyError};
use ledger::ssh::{AllowedError, AllowedSigners};
use projector::foreign::{ForeignKey, ForeignKeyError};

use crate::population::{verify_pack_with, verify_population};
use crate::report::Report;
use crate::text::{visible, visible_lines};
use crate::trust::{KeyError, KeyFile, Reach, Trust};
use crate::verify::{verify_pack, verify_receipt};

/// Name of the first file of a population, where the name stands in a zip; a pack's first file is its list of digests.
const POPULATION_START: (usize, &[u8]) = (30, b"headers/");

/// First line of a C2SP tlog-proof, by which a receipt is recognised. Anything else is checked as a pack.
const RECEIPT_START: &[u8] = b"c2sp.org/tlog-proof@";

/// Largest key, checkpoint, proof, receipt or event that is read, in bytes: an event may have 1,000,000, and a receipt that carries
/// one twice encodes it in base64.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Example shown below `--help`.
pub const EXAMPLE: &str = "\
Examples:
  upm-verify pack.zip --key ledger.example+4f1c2d3e+AY0x…       a pack, with a vkey as text
  upm-verify pack.zip --key my-copy.pub --json                 the same with a PEM file, for scripts
  upm-verify receipt.txt --key my-copy.vkey --event event.json a receipt and the event it was given for
  upm-verify pack.zip --key my-copy.vkey --known-checkpoint last-year.txt --consistency proof.txt
  upm-verify population.zip --key my-copy.vkey                 the complete list of a period
  upm-verify pack.zip --key my-copy.vkey --population population.zip
  upm-verify pack.zip --key my-copy.vkey --evidence-key build=cosign.pub
  upm-verify pack.zip --key my-copy.vkey --allowed-signers my-copy.allowed_signers
  upm-verify pack.zip --key my-copy.vkey --witness-policy witnesses.policy --require witnessed

Exit code: 0 every check held; 1 refuted, wrong key or unmet --require; 2 could not decide.";

/// What a verification is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// Evidence pack (zip), population (zip) or receipt
    pub file: PathBuf,
    /// The log's public key, from a source other than the pack: vkey or PEM, as a file or as text
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub key: Option<String>,
    /// The way from that key to later ones of the same log (`upm keys chain`), for a receipt or a pack that carries none
    #[arg(long, value_name = "FILE", requires = "key")]
    pub keys: Option<PathBuf>,
    /// A population, to show that the pack leaves out none of its change's entries (packs only)
    #[arg(long, value_name = "FILE")]
    pub population: Option<PathBuf>,
    /// The event as it was sent (receipts only)
    #[arg(long, value_name = "FILE")]
    pub event: Option<PathBuf>,
    /// A checkpoint of the same log, kept from earlier
    #[arg(long, value_name = "FILE")]
    pub known_checkpoint: Option<PathBuf>,
    /// Proof between that checkpoint and this one (body of a tlog-witness add-checkpoint request)
    #[arg(long, value_name = "FILE", requires = "known_checkpoint")]
    pub consistency: Option<PathBuf>,
    /// The witnesses whose cosignatures count, and how many it takes (C2SP tlog-policy); the log's key too, where it names one log
    #[arg(long, value_name = "FILE")]
    pub witness_policy: Option<PathBuf>,
    /// A key that evidence of others inside the events (Sigstore bundles, DSSE) has to be signed with: PEM, ECDSA P-256 or Ed25519;
    /// may be given several times (packs only)
    #[arg(long, value_name = "NAME=FILE.pub", value_parser = parse_named)]
    pub evidence_key: Vec<(String, PathBuf)>,
    /// Whose approvals are signed by which SSH keys, from a source other than the pack: the `allowed_signers` file of ssh-keygen(1) (packs only)
    #[arg(long, value_name = "FILE")]
    pub allowed_signers: Option<PathBuf>,
    /// Refute whatever rests on less than this: kept-checkpoint or witnessed
    #[arg(long, value_name = "REACH", value_parser = parse_require)]
    pub require: Option<Reach>,
}

/// Why nothing could be checked at all (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", named(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key is no key, and no file either.
    #[error("--key {given:?} is not a key and not a file with one: {why}")]
    Key {
        /// What was given.
        given: String,
        /// Why it is no key.
        why: String,
    },
    /// A key of foreign evidence is none.
    #[error("--evidence-key {}: {source}", named(path))]
    EvidenceKey {
        /// The file.
        path: PathBuf,
        /// What it should be.
        source: ForeignKeyError,
    },
    /// The list of signers is none.
    #[error("--allowed-signers {}: {source}", named(path))]
    AllowedSigners {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        source: AllowedError,
    },
    /// The policy is none.
    #[error("cannot read {}: {source}", named(path))]
    Policy {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        source: PolicyError,
    },
    /// There is nothing in the file to verify.
    #[error("cannot verify {}: the file is empty", named(path))]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no UTF-8 text where text is expected.
    #[error("{} is not text", named(path))]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A file other than a pack is larger than anything it could be.
    #[error("{} has more than {MAX_TEXT_BYTES} bytes: not a key, checkpoint, proof, receipt or event", named(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// `--event` was given with a pack, which carries its own events.
    #[error("--event goes with a receipt; a pack carries its events")]
    EventWithPack,
    /// `--evidence-key` was given with something else than a pack.
    #[error("--evidence-key goes with an evidence pack, whose events may carry evidence of others")]
    EvidenceKeyWithOther,
    /// `--allowed-signers` was given with something else than a pack.
    #[error("--allowed-signers goes with an evidence pack, whose events may carry signed approvals")]
    AllowedSignersWithOther,
    /// `--population` was given with something else than a pack.
    #[error("--population goes with an evidence pack, and names a population")]
    PopulationWithOther,
    /// The report could not be written.
    #[error("cannot write the report: {0}")]
    Write(#[from] io::Error),
    /// The report could not be encoded.
    #[error("cannot encode the report: {0}")]
    Encode(#[from] serde_json::Error),
}

/// Verifies what `args` names, prints the report to `out` (JSON if `json`), and gives the exit code.
///
/// An `Err` means that nothing was decided: print it and exit with 2.
pub fn run(args: &VerifyArgs, json: bool, out: &mut impl Write) -> Result<u8, CliError> {
    let report = check(args, json)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(report.exit_code())
}

fn check(args: &VerifyArgs, json: bool) -> Result<Report, CliError> {
    let policy = args.witness_policy.as_deref().map(read_policy).transpose()?;
    // A policy that accepts exactly one log says which key is the log's.
    let of_policy = match policy.as_ref().map(Policy::logs) {
        Some([log]) => Some(KeyFile::Vkey(log.key.clone())),
        _ => None,
    };
    let trust = Trust {
        key: args.key.as_deref().map(read_key).transpose()?.or(of_policy),
        keys: args.keys.as_deref().map(read).transpose()?,
        known_checkpoint: args.known_checkpoint.as_deref().map(read_text).transpose()?,
        consistency: args.consistency.as_deref().map(read_text).transpose()?,
        policy,
        require: args.require,
        evidence_keys: args.evidence_key.iter().map(read_evidence_key).collect::<Result<_, _>>()?,
        allowed_signers: args.allowed_signers.as_deref().map(read_signers).transpose()?,
    };
    let unread = |source| CliError::Read { path: args.file.clone(), source };
    let mut file = File::open(&args.file).map_err(unread)?;
    let start = beginning(&mut file).map_err(unread)?;
    if start.is_empty() {
        return Err(CliError::Empty { path: args.file.clone() });
    }
    if args.population.is_some() && (start.starts_with(RECEIPT_START) || is_population(&start)) {
        return Err(CliError::PopulationWithOther);
    }
    if !args.evidence_key.is_empty() && (start.starts_with(RECEIPT_START) || is_population(&start)) {
        return Err(CliError::EvidenceKeyWithOther);
    }
    if args.allowed_signers.is_some() && (start.starts_with(RECEIPT_START) || is_population(&start)) {
        return Err(CliError::AllowedSignersWithOther);
    }
    if start.starts_with(RECEIPT_START) {
        let text = read_text(&args.file)?;
        let event = args.event.as_deref().map(read).transpose()?;
        return Ok(verify_receipt(&text, event.as_deref(), &trust));
    }
    if args.event.is_some() {
        return Err(CliError::EventWithPack);
    }
    if is_population(&start) {
        return Ok(verify_population(file, &trust, &mut progress(json)));
    }
    let Some(path) = &args.population else {
        // Read from its beginning, and never more of it than a pack may have.
        return Ok(verify_pack(file, &trust));
    };
    let unread = |source| CliError::Read { path: path.clone(), source };
    let mut population = File::open(path).map_err(unread)?;
    if !is_population(&beginning(&mut population).map_err(unread)?) {
        return Err(CliError::PopulationWithOther);
    }
    Ok(verify_pack_with(file, population, &trust, &mut progress(json)))
}

/// The first bytes of a file, by which its kind is recognised.
fn beginning(file: &mut File) -> io::Result<Vec<u8>> {
    let (at, name) = POPULATION_START;
    let mut start = Vec::new();
    file.take((at + name.len()) as u64).read_to_end(&mut start)?;
    Ok(start)
}

fn is_population(start: &[u8]) -> bool {
    let (at, name) = POPULATION_START;
    start.get(at..) == Some(name)
}

/// Says to a person at a terminal how far a long verification is; to nobody where the answer is `json`, for a program.
pub fn progress(json: bool) -> impl FnMut(u64, u64) {
    let shown = !json && io::stderr().is_terminal();
    let mut last = 0;
    move |done, total| {
        let percent = done.saturating_mul(100) / total.max(1);
        if shown && percent > last {
            last = percent;
            let end = if done == total { "\n" } else { "" };
            // Nobody is left to tell where standard error is closed.
            let _ = write!(io::stderr(), "\r{done} of {total} headers ({percent} %){end}");
        }
    }
}

/// Trust in a key alone: vkey or PEM, as text or as the name of a file.
pub fn trust_in(key: Option<&str>) -> Result<Trust, CliError> {
    Ok(Trust { key: key.map(read_key).transpose()?, ..Trust::default() })
}

/// What a program says when its own command line cannot be read, in the form of its other errors.
pub fn usage(program: &str, error: &clap::Error) -> String {
    let text = error.render().to_string();
    visible_lines(&format!("{program}: {}", text.strip_prefix("error: ").unwrap_or(&text)))
}

/// A file's name for a person.
fn named(path: &Path) -> String {
    visible(&path.display().to_string())
}

fn parse_named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("expected NAME=FILE.pub")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

fn parse_require(word: &str) -> Result<Reach, String> {
    match word {
        "witnessed" => Ok(Reach::Witnessed),
        "kept-checkpoint" => Ok(Reach::KeptCheckpoint),
        _ => Err("expected witnessed or kept-checkpoint".to_owned()),
    }
}

/// A key as text, or the name of a file that holds one.
fn read_key(given: &str) -> Result<KeyFile, CliError> {
    let literal = KeyFile::parse(given);
    if literal.is_ok() || given.trim_start().starts_with("-----BEGIN") {
        return literal.map_err(|why: KeyError| CliError::Key { given: "(PEM text)".to_owned(), why: why.to_string() });
    }
    let path = Path::new(given);
    if !path.exists() {
        let why = "no such file".to_owned();
        return Err(CliError::Key { given: given.to_owned(), why });
    }
    KeyFile::parse(&read_text(path)?).map_err(|why| CliError::Key { given: given.to_owned(), why: why.to_string() })
}

fn read_evidence_key((name, path): &(String, PathBuf)) -> Result<(String, ForeignKey), CliError> {
    let key = ForeignKey::parse(&read_text(path)?);
    Ok((name.clone(), key.map_err(|source| CliError::EvidenceKey { path: path.clone(), source })?))
}

fn read_signers(path: &Path) -> Result<AllowedSigners, CliError> {
    AllowedSigners::parse(&read_text(path)?)
        .map_err(|source| CliError::AllowedSigners { path: path.to_owned(), source })
}

fn read_policy(path: &Path) -> Result<Policy, CliError> {
    Policy::parse(&read(path)?).map_err(|source| CliError::Policy { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let unread = |source| CliError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes)).map_err(unread)?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(CliError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

fn read_text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(read(path)?).map_err(|_| CliError::NotText { path: path.to_owned() })
}
