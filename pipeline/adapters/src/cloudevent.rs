//! The two ways in which a `CloudEvent` travels on NATS, made one: the structured form, which the adapter `cloudevents` takes.
//!
//! - *structured*: `Content-Type: application/cloudevents+json` (or `…-batch+json`); the payload is the document;
//! - *binary*: attributes are headers `ce-NAME`, percent-encoded as in the HTTP binding; the payload is `data`, of the type that
//!   `Content-Type` names.
//!
//! `cloudevents/bindings/nats-protocol-binding.md` of the `CloudEvents` specification, 1.0.

use serde_json::{Map, Value};

/// Why a message is no `CloudEvent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOne {
    /// Neither binding fits.
    #[error(
        "no CloudEvent: found Content-Type {content_type:?} and no header ce-specversion; expected \
         application/cloudevents+json, or headers ce-specversion, ce-id, ce-source and ce-type"
    )]
    Neither {
        /// What the message says of itself.
        content_type: String,
    },
    /// A header of the binary form is missing.
    #[error("a CloudEvent in binary form without the header ce-{0}")]
    Missing(&'static str),
    /// A header that cannot be decoded.
    #[error("header {0}: percent-encoded UTF-8 expected")]
    Header(String),
    /// The payload is not what its type says.
    #[error("the payload is no JSON, but Content-Type says {0:?}")]
    NotJson(String),
}

/// The structured form of a message, whichever way it came. Names of headers count without regard to case.
pub fn structured<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    payload: &[u8],
) -> Result<Vec<u8>, NotOne> {
    let mut attributes = Map::new();
    let mut content_type = String::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if name == "content-type" {
            value.clone_into(&mut content_type);
        } else if let Some(attribute) = name.strip_prefix("ce-") {
            let text = decoded(value).ok_or_else(|| NotOne::Header(name.clone()))?;
            attributes.insert(attribute.to_owned(), Value::String(text));
        }
    }
    if content_type.to_ascii_lowercase().starts_with("application/cloudevents") {
        return Ok(payload.to_vec());
    }
    if !attributes.contains_key("specversion") {
        // Whoever sends a document without saying so may still have sent one.
        let is_one = |value: &Value| value.get("specversion").is_some();
        return match serde_json::from_slice::<Value>(payload) {
            Ok(value) if is_one(&value) || value.as_array().is_some_and(|all| all.iter().all(is_one)) => {
                Ok(payload.to_vec())
            }
            _ => Err(NotOne::Neither { content_type }),
        };
    }
    for name in ["id", "source", "type"] {
        if !attributes.contains_key(name) {
            return Err(NotOne::Missing(name));
        }
    }
    binary(attributes, &content_type, payload)
}

fn binary(mut document: Map<String, Value>, content_type: &str, payload: &[u8]) -> Result<Vec<u8>, NotOne> {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !content_type.is_empty() {
        document.insert("datacontenttype".to_owned(), Value::from(content_type));
    }
    if !payload.is_empty() {
        let is_json = media.is_empty() || media == "application/json" || media.ends_with("+json");
        let (name, value) = match serde_json::from_slice::<Value>(payload) {
            // Without a type it is taken for JSON if it is JSON.
            Ok(value) if is_json => ("data", value),
            Err(_) if is_json && !media.is_empty() => return Err(NotOne::NotJson(content_type.to_owned())),
            _ => match std::str::from_utf8(payload) {
                Ok(text) => ("data", Value::from(text)),
                Err(_) => ("data_base64", Value::from(base64(payload))),
            },
        };
        document.insert(name.to_owned(), value);
    }
    Ok(Value::Object(document).to_string().into_bytes())
}

/// Percent-encoded UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digits =
                std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CE: [(&str, &str); 4] =
        [("ce-specversion", "1.0"), ("Ce-Id", "a%20b"), ("ce-source", "/x"), ("CE-Type", "t.plan")];

    fn check(headers: &[(&str, &str)], payload: &[u8], expect: &str) {
        let found = structured(headers.iter().copied(), payload);
        let found = found.map_or_else(|error| error.to_string(), |bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(found, expect);
    }

    #[test]
    fn both_forms_are_one() {
        let around = r#""id":"a b","source":"/x","specversion":"1.0","type":"t.plan"}"#;
        check(&CE, b"", &format!("{{{around}"));
        check(&CE, br#"{"a":1}"#, &format!(r#"{{"data":{{"a":1}},{around}"#));
        check(&CE, b"\xff\xfe", &format!(r#"{{"data_base64":"//4=",{around}"#));
        let typed = |media| [&CE[..], &[("content-type", media)]].concat();
        check(&typed("text/plain"), b"{}", &format!(r#"{{"data":"{{}}","datacontenttype":"text/plain",{around}"#));
        check(&typed("application/json"), b"{", "the payload is no JSON, but Content-Type says \"application/json\"");
        check(&[("Content-Type", "application/cloudevents+json; charset=utf-8")], b"anything", "anything");
        check(&[], br#"[{"specversion":"1.0"}]"#, r#"[{"specversion":"1.0"}]"#);
    }

    #[test]
    fn what_is_none_is_said() {
        let neither = structured([("content-type", "text/html")], b"<p>").unwrap_err().to_string();
        assert!(neither.contains("text/html") && neither.contains("ce-specversion"), "{neither}");
        check(&CE[..3], b"", "a CloudEvent in binary form without the header ce-type");
        check(&[("ce-id", "%zz")], b"", "header ce-id: percent-encoded UTF-8 expected");
        check(&[("ce-id", "%e4")], b"", "header ce-id: percent-encoded UTF-8 expected");
    }

    #[test]
    fn base64_is_rfc_4648s() {
        for (bytes, expect) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), expect);
        }
    }
}
