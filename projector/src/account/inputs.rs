//! What a plan was made from, so that plans of the same can be compared across changes.

use schemas::event::Event;
use schemas::ids::Environment;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::resources::{Identity, Parts};

/// What a plan was made from, under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inputs {
    /// The first 16 bytes of a SHA-256: wide enough that nobody finds two inputs under one name.
    pub key: [u8; 16],
    /// Told by request, target and environment, because the event has no `plan.inputs_digest`: whoever words a wish otherwise
    /// escapes the comparison.
    pub weak: bool,
}

#[derive(Serialize)]
struct Weak<'a> {
    environment: Option<&'a str>,
    request: &'a str,
    resources: Vec<Identity>,
}

impl Inputs {
    /// `plan.inputs_digest`; without it `intent.request` and `target`, where the event has both. The environment stands beside
    /// these because the plan's digest covers it: the same wish for another environment is another input.
    pub(super) fn of(event: &Event<'_>, environment: Option<&Environment>) -> Option<Self> {
        if let Some(digest) = event.plan.as_ref().and_then(|plan| plan.inputs_digest.as_deref()) {
            return Some(Self { key: named(b"digest", digest.as_bytes()), weak: false });
        }
        let request = event.intent.as_ref().and_then(|intent| intent.request.as_deref())?;
        let target = event.target.as_ref()?;
        let mut resources: Vec<Identity> =
            target.resources.iter().map(|resource| Parts::of(target, resource).identity()).collect();
        if resources.is_empty() {
            return None;
        }
        resources.sort();
        let weak = Weak { environment: environment.map(Environment::as_str), request, resources };
        Some(Self { key: named(b"weak", &serde_json::to_vec(&weak).ok()?), weak: true })
    }
}

fn named(kind: &[u8], text: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::new().chain_update(kind).chain_update([0]).chain_update(text).finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}
