//! What holds in a log, as JSON: for HTTP, for `serve.json` and for the command line.

use ledger::governance::{Governance, LogKeys};
use ledger::note::VerifierKey;
use serde_json::{Value, json};

/// The keys of a log, oldest first: `{vkey, key_id, since, until?, status?, from?, entry?}`. `since` and `until` are the first and
/// last tree size that it signs; `entry` replaced it, and says of it `status` and `from`.
pub fn keys(keys: &LogKeys) -> Value {
    let name = keys.origin().key_name();
    keys.history()
        .iter()
        .map(|key| {
            let verifier = VerifierKey::new(name.clone(), key.key);
            let mut line = json!({
                "vkey": verifier.to_vkey(),
                "key_id": hex::encode(verifier.id()),
                "since": key.since,
            });
            if let Some(end) = key.end {
                line["until"] = json!(key.last_size());
                line["status"] = json!(end.status);
                line["from"] = json!(end.from);
                line["entry"] = json!(end.index);
            }
            line
        })
        .collect()
}

/// Everything that holds in a log.
pub fn as_json(governance: &Governance) -> Value {
    json!({
        "origin": governance.origin().as_str(),
        "counter": governance.counter(),
        "prev": governance.prev(),
        "rules": governance.rules(),
        "facts": governance.facts(),
        "holds": governance.holds().values().collect::<Vec<_>>(),
        "admin_keys": governance.admin_keys(),
        "recovery_key": governance.recovery_key(),
        "log_keys": keys(governance.log_keys()),
    })
}
