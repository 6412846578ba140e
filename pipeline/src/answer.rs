//! The answer to a producer: its headers and bodies on the wire, and where it may be sent (FORMATS, "Subjects and streams").
//!
//! Pure: nothing is sent here. A receipt's text is `ledger::receipt`'s.

use async_nats::HeaderMap;
use schemas::admit::Rejection;
use schemas::ids::Tenant;
use schemas::reason::Reason;
use serde::{Deserialize, Serialize};

/// The producer's header: where the answer is to go.
pub const RECEIPT_HEADER: &str = "Upm-Receipt";
/// The answer's header: what became of the event.
pub const STATUS_HEADER: &str = "Upm-Status";
/// The answer's header: the index of the entry.
pub const INDEX_HEADER: &str = "Upm-Index";

/// A subject longer than this is no inbox of any client that we know.
const MAX_REPLY_BYTES: usize = 256;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is an entry now.
    Accepted,
    /// The same bytes were an entry before.
    Duplicate,
    /// It was refused, and the refusal is an entry.
    Rejected,
}

impl Status {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Accepted, Self::Duplicate, Self::Rejected].into_iter().find(|status| status.as_str() == word)
    }
}

/// Why an event was rejected, as `problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:upm-ledger:problem:<reason>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For a person.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Code from the closed list of FORMATS.
    pub reason: String,
    /// JSON pointer to the place; empty for the whole document.
    pub path: String,
    /// What stood there, masked, at most 64 characters.
    pub found: String,
    /// What should have stood there.
    pub expected: String,
    /// Index of the rejection's entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The subject it came on; only in notices on `upm.rejected.<tenant>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Problem {
    /// From the parts of a rejection that may be told to everybody.
    pub fn new(reason: Reason, path: &str, found: &str, expected: &str) -> Self {
        Self {
            kind: format!("urn:upm-ledger:problem:{reason}"),
            title: reason.title().to_owned(),
            status: 422,
            reason: reason.to_string(),
            path: path.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
            index: None,
            subject: None,
        }
    }

    /// From a rejection.
    pub fn of(rejection: &Rejection) -> Self {
        Self::new(rejection.reason, &rejection.path, &rejection.found, &rejection.expected)
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// An answer, as its producer reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What became of the event.
    pub status: Status,
    /// Index of its entry (of the rejection's entry, if rejected).
    pub index: u64,
    /// The receipt's text, or the problem's JSON.
    pub body: Vec<u8>,
}

/// A message that is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an answer: header {header} is {found}")]
pub struct NoAnswer {
    /// The header that is wrong.
    pub header: &'static str,
    /// What it says.
    pub found: String,
}

impl Answer {
    /// Reads headers and body.
    pub fn parse(headers: Option<&HeaderMap>, body: &[u8]) -> Result<Self, NoAnswer> {
        let value = |header: &'static str| {
            let found = headers.and_then(|headers| headers.get(header)).map(async_nats::HeaderValue::as_str);
            found.ok_or(NoAnswer { header, found: "missing".to_owned() })
        };
        let (status, index) = (value(STATUS_HEADER)?, value(INDEX_HEADER)?);
        let wrong = |header, found: &str| NoAnswer { header, found: found.chars().take(32).collect() };
        Ok(Self {
            status: Status::parse(status).ok_or_else(|| wrong(STATUS_HEADER, status))?,
            index: index.parse().map_err(|_| wrong(INDEX_HEADER, index))?,
            body: body.to_vec(),
        })
    }

    /// The receipt, unless rejected.
    pub fn receipt(&self) -> Option<&str> {
        if self.status == Status::Rejected { None } else { std::str::from_utf8(&self.body).ok() }
    }

    /// Why it was rejected, if it was.
    pub fn problem(&self) -> Option<Problem> {
        if self.status == Status::Rejected { serde_json::from_slice(&self.body).ok() } else { None }
    }

    /// The headers that carry status and index.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(STATUS_HEADER, self.status.as_str());
        headers.insert(INDEX_HEADER, self.index.to_string().as_str());
        headers
    }
}

/// Whether an event on `tenant`'s road may name this subject for its answer. Anything else would let a producer make us publish
/// where it may not: onto another road, or into the server's own API.
pub fn may_answer_to(subject: &str, tenant: &Tenant) -> bool {
    let rest = subject.strip_prefix("_INBOX.").or_else(|| {
        let receipts = subject.strip_prefix("upm.receipts.")?;
        receipts.strip_prefix(tenant.as_str())?.strip_prefix('.')
    });
    let token_ok = |token: &str| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*' && byte != b'>')
    };
    subject.len() <= MAX_REPLY_BYTES && rest.is_some_and(|rest| rest.split('.').all(token_ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_only_where_answers_go() {
        let acme = Tenant::parse("acme").expect("a tenant");
        let long = format!("_INBOX.{}", "x".repeat(MAX_REPLY_BYTES));
        let cases = [
            ("_INBOX.abc", true),
            ("_INBOX.abc.1", true),
            ("upm.receipts.acme.ci-7", true),
            ("upm.receipts.acme.a.b", true),
            ("upm.receipts.acme", false),
            ("upm.receipts.acme.", false),
            ("upm.receipts.acmex.a", false),
            ("upm.receipts.other.a", false),
            ("_INBOX", false),
            ("_INBOX.", false),
            ("_INBOX..a", false),
            ("_INBOX.>", false),
            ("_INBOX.a.*", false),
            ("_INBOX.a b", false),
            ("_INBOX.a\r\nPUB x 1", false),
            ("_INBOX.ü", false),
            ("_INBOXES.a", false),
            ("upm.events.acme.plan", false),
            ("upm.control.acme", false),
            ("$JS.API.STREAM.DELETE.UPM_acme", false),
            ("", false),
            (long.as_str(), false),
        ];
        for (subject, expect) in cases {
            assert_eq!(may_answer_to(subject, &acme), expect, "{subject:?}");
        }
    }

    #[test]
    fn an_answer_survives_the_wire() {
        for (status, body) in [(Status::Accepted, "receipt"), (Status::Duplicate, "receipt"), (Status::Rejected, "{}")]
        {
            let answer = Answer { status, index: 42, body: body.as_bytes().to_vec() };
            assert_eq!(Answer::parse(Some(&answer.headers()), body.as_bytes()), Ok(answer.clone()));
            assert_eq!(answer.receipt().is_some(), status != Status::Rejected);
        }
    }

    #[test]
    fn what_is_no_answer_says_which_header_is_wrong() {
        let headers = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, *value);
            }
            headers
        };
        let cases = [
            (headers(&[]), STATUS_HEADER),
            (headers(&[(STATUS_HEADER, "accepted")]), INDEX_HEADER),
            (headers(&[(STATUS_HEADER, "ACCEPTED"), (INDEX_HEADER, "1")]), STATUS_HEADER),
            (headers(&[(STATUS_HEADER, "accepted"), (INDEX_HEADER, "-1")]), INDEX_HEADER),
        ];
        for (headers, expect) in cases {
            assert_eq!(Answer::parse(Some(&headers), b"").map_err(|error| error.header), Err(expect));
        }
        assert_eq!(Answer::parse(None, b"").map_err(|error| error.header), Err(STATUS_HEADER));
    }

    #[test]
    fn a_problem_names_its_reason_and_round_trips() {
        let mut problem = Problem::new(Reason::MissingField, "/provisioning_event/id", "nothing", "a string");
        problem.index = Some(7);
        let json = problem.to_json();
        assert_eq!(serde_json::from_slice::<Problem>(&json).expect("JSON"), problem);
        let text = String::from_utf8(json).expect("UTF-8");
        assert!(
            text.contains(r#""type":"urn:upm-ledger:problem:missing_field""#) && !text.contains("subject"),
            "{text}"
        );
    }
}
