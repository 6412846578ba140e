//! What the verifier already has and trusts: a key, an older checkpoint, a demand. Nothing of it comes out of the pack.

use ledger::checkpoint::Origin;
use ledger::key::PublicKey;
use ledger::note::VerifierKey;
use ledger::policy::Policy;
use ledger::ssh::AllowedSigners;
use projector::foreign::ForeignKey;
use serde::Serialize;

/// How far trust reaches, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// No key was given: nothing is trusted.
    None,
    /// The signatures are the log key's: all rests on whoever holds it.
    OperatorOnly,
    /// The log also continues (or is continued by) a checkpoint that the verifier kept.
    KeptCheckpoint,
    /// As many witnesses cosigned as the verifier's policy asks for.
    Witnessed,
}

impl Reach {
    /// The words a report prints.
    pub fn words(self) -> &'static str {
        match self {
            Self::None => "none (no key was given)",
            Self::OperatorOnly => "operator only",
            Self::KeptCheckpoint => "kept checkpoint",
            Self::Witnessed => "witnessed",
        }
    }
}

/// The log's public key as its holder has it.
#[derive(Clone, Debug)]
pub enum KeyFile {
    /// A C2SP vkey, which also fixes the origin.
    Vkey(VerifierKey),
    /// A PEM `PUBLIC KEY` (`SubjectPublicKeyInfo`), which fixes no origin: the one that the pack states is used.
    Pem(PublicKey),
}

/// Why a text is no key.
#[derive(Debug, thiserror::Error)]
#[error("neither a vkey (name+hash+key) nor a PEM Ed25519 public key: {0}")]
pub struct KeyError(String);

impl KeyFile {
    /// Reads a vkey or a PEM public key; space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with("-----BEGIN") {
            return PublicKey::from_spki_pem(text).map(Self::Pem).map_err(|e| KeyError(e.to_string()));
        }
        VerifierKey::parse(text).map(Self::Vkey).map_err(|e| KeyError(e.to_string()))
    }

    /// The key under the name `origin`; `Err` names the other origin that the vkey is for.
    pub(crate) fn for_origin(&self, origin: &Origin) -> Result<VerifierKey, String> {
        match self {
            Self::Vkey(key) if key.name().as_str() == origin.as_str() => Ok(key.clone()),
            Self::Vkey(key) => Err(format!(
                "the key given is for {}, this is about {origin}: ask the holder of that log for its key (`upm keys show`)",
                key.name()
            )),
            Self::Pem(key) => Ok(VerifierKey::new(origin.key_name().clone(), *key)),
        }
    }
}

/// Everything the verifier brings along.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The log's key; without one, nothing can be more than consistent with itself.
    pub key: Option<KeyFile>,
    /// The way from this key to later ones (`keys/chain.json` of a pack, `upm keys chain`), for what carries none itself.
    pub keys: Option<Vec<u8>>,
    /// A checkpoint (signed note) kept from earlier, of the same log.
    pub known_checkpoint: Option<String>,
    /// Proof between the kept checkpoint and the one at hand, as the body of a C2SP tlog-witness add-checkpoint request.
    pub consistency: Option<String>,
    /// The witnesses whose word counts, and how many of them it takes (C2SP tlog-policy).
    pub policy: Option<Policy>,
    /// Refute whatever reaches less than this.
    pub require: Option<Reach>,
    /// Keys of foreign evidence inside the events, by name: all of it has to be signed with one of them, if there are any.
    pub evidence_keys: Vec<(String, ForeignKey)>,
    /// Whose approvals are signed by which keys; without it, the pack's own word is told.
    pub allowed_signers: Option<AllowedSigners>,
}
