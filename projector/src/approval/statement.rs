//! What an approver signs: RFC 8785 of `{v:1, origin, change, plan_digest, approver, role, decision, at, expires}`.

use schemas::event::Approval;
use schemas::ids::ChangeId;
use serde::{Deserialize, Serialize};

/// The version of the statement.
const VERSION: u64 = 1;
/// Bytes of a statement, at most: far more than names and ids can have.
const MAX_BYTES: usize = 16_384;

/// A statement, as somebody means to sign it or has signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    v: u64,
    /// The log.
    pub origin: String,
    /// The change.
    pub change: String,
    /// The plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// Who decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// In which role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The word of the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// When: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Until when it stands: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Why bytes are no statement.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// More than any statement has.
    #[error("found {0} bytes, expected at most {MAX_BYTES}")]
    TooLarge(usize),
    /// Not JSON of these members.
    #[error("expected an object of v, origin, change, plan_digest, approver, role, decision, at, expires: {0}")]
    Json(#[from] serde_json::Error),
    /// A version that is not known.
    #[error("v: found {0}, expected {VERSION}")]
    Version(u64),
    /// The same members, but not in the one form that is signed.
    #[error("it is not in canonical form (RFC 8785), which is the one that is signed; first differs at byte {0}")]
    NotCanonical(usize),
}

impl Statement {
    /// Of nothing yet.
    pub fn new(origin: &str, change: &ChangeId) -> Self {
        Self {
            v: VERSION,
            origin: origin.to_owned(),
            change: change.to_string(),
            plan_digest: None,
            approver: None,
            role: None,
            decision: None,
            at: None,
            expires: None,
        }
    }

    /// Reads exactly the bytes that were signed.
    ///
    /// # Errors
    /// They are no statement, or not in the one form that it has.
    pub fn read(bytes: &[u8]) -> Result<Self, StatementError> {
        if bytes.len() > MAX_BYTES {
            return Err(StatementError::TooLarge(bytes.len()));
        }
        let read: Self = serde_json::from_slice(bytes)?;
        if read.v != VERSION {
            return Err(StatementError::Version(read.v));
        }
        let canonical = read.to_bytes();
        if canonical == bytes {
            return Ok(read);
        }
        let differs = canonical.iter().zip(bytes).position(|(a, b)| a != b);
        Err(StatementError::NotCanonical(differs.unwrap_or(canonical.len().min(bytes.len()))))
    }

    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        // It fails only for numbers that JSON does not have.
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }
}

/// The bytes that the approver of an event's approval signed, as the event gives them; what it does not give is absent.
pub fn statement(origin: &str, change: &ChangeId, approval: &Approval<'_>) -> Vec<u8> {
    let text = |text: &Option<schemas::event::Text<'_>>| text.as_ref().map(|text| text.as_str().to_owned());
    let said = Statement {
        plan_digest: text(&approval.plan_digest),
        approver: text(&approval.approver),
        role: text(&approval.role),
        decision: text(&approval.decision),
        at: text(&approval.at),
        expires: text(&approval.expires),
        ..Statement::new(origin, change)
    };
    said.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = include_str!("../../testdata/approval/statement.json");

    #[test]
    fn one_form_is_read() {
        let read = Statement::read(SIGNED.as_bytes()).unwrap();
        assert_eq!(read.to_bytes(), SIGNED.as_bytes());
        assert_eq!((read.approver.as_deref(), read.role.as_deref()), (Some("bob"), Some("owners")));
        let bare = r#"{"change":"c","origin":"l/acme","v":1}"#;
        assert_eq!(Statement::read(bare.as_bytes()).unwrap(), Statement::new("l/acme", &ChangeId::parse("c").unwrap()));
        for (text, expect) in [
            (format!("{SIGNED}\n"), "not in canonical form"),
            (bare.replace("\"v\":1", "\"v\": 1"), "first differs at byte 36"),
            (bare.replace("\"v\":1", "\"v\":2"), "v: found 2"),
            (bare.replace("\"v\":1", "\"v\":1,\"x\":1"), "unknown field `x`"),
            (bare.replace("\"v\":1", "\"role\":null,\"v\":1"), "not in canonical form"),
            (bare.replace("\"c\"", "7"), "invalid type"),
            (bare.replace("\"c\"", "\"\\u0063\""), "not in canonical form"),
            (String::new(), "EOF"),
            (" ".repeat(20_000), "found 20000 bytes"),
        ] {
            let said = Statement::read(text.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(expect), "{text}: {said}");
        }
    }
}
