//! Lenient, order-free reading of a stored payload for people: a value is asked for by name and shown as text.
//!
//! Whatever has another shape than expected is shown as its JSON, or not at all, but never stops a page: admission refuses
//! what cannot be read, never what is unusual. Slices of the payload are kept as written, so that what is shown does not depend
//! on how a JSON library orders or prints; only line breaks between tokens become spaces.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A place in a JSON document, which may not exist.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Node<'a>(Option<&'a RawValue>);

impl<'a> Node<'a> {
    /// The document itself; nothing if it is no JSON.
    pub(crate) fn parse(bytes: &'a [u8]) -> Self {
        Self(serde_json::from_slice(bytes).ok()).non_null()
    }

    /// The member `key` of an object.
    pub(crate) fn get(self, key: &str) -> Node<'a> {
        Node(self.members().remove(key)).non_null()
    }

    /// The member at a path of keys.
    pub(crate) fn at(self, path: &[&str]) -> Node<'a> {
        path.iter().fold(self, |node, key| node.get(key))
    }

    /// The items of an array; none of anything else.
    pub(crate) fn list(self) -> Vec<Node<'a>> {
        let items: Vec<&RawValue> = self.0.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        items.into_iter().map(|raw| Node(Some(raw))).collect()
    }

    /// The text of a string, the JSON of anything else, empty for nothing.
    pub(crate) fn text(self) -> String {
        let Some(raw) = self.0 else { return String::new() };
        serde_json::from_str(raw.get()).unwrap_or_else(|_| {
            // JSON has these characters between its tokens only: within a string they are escaped.
            raw.get().split(['\n', '\r', '\t']).map(str::trim).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" ")
        })
    }

    /// The texts of the items of an array.
    pub(crate) fn texts(self) -> Vec<String> {
        self.list().into_iter().map(Node::text).collect()
    }

    /// Members of an object, one `name: value` each, but for those named; of anything else its text.
    pub(crate) fn describe(self, but: &[&str]) -> String {
        let members = self.members();
        if members.is_empty() {
            return self.text();
        }
        let shown = members.into_iter().filter(|(key, _)| !but.contains(&key.as_str()));
        shown.map(|(key, raw)| format!("{key}: {}", Node(Some(raw)).text())).collect::<Vec<_>>().join(", ")
    }

    /// The members of an object by name; none of anything else.
    pub(crate) fn sections(self) -> BTreeMap<String, Node<'a>> {
        self.members().into_iter().map(|(key, raw)| (key, Node(Some(raw)).non_null())).collect()
    }

    /// Whether it is a string.
    pub(crate) fn is_text(self) -> bool {
        self.0.is_some_and(|raw| raw.get().starts_with('"'))
    }

    /// Whether there is anything (`null` is nothing).
    pub(crate) fn exists(self) -> bool {
        self.0.is_some()
    }

    fn members(self) -> BTreeMap<String, &'a RawValue> {
        self.0.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    fn non_null(self) -> Self {
        Self(self.0.filter(|raw| raw.get() != "null"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there_and_shows_the_rest_as_it_is() {
        let node = Node::parse(br#"{"a":{"t":"x\ny","n":1.50,"l":["p",{"q":2}],"z":null}}"#);
        let a = node.get("a");
        assert_eq!(a.get("t").text(), "x\ny");
        assert_eq!(a.get("n").text(), "1.50");
        assert_eq!(Node::parse(b"{\n  \"a\": [1,\r\n\t2]\n}").text(), "{ \"a\": [1, 2] }");
        assert_eq!(a.get("l").texts(), ["p", r#"{"q":2}"#]);
        assert_eq!(node.at(&["a", "l"]).list()[1].describe(&[]), "q: 2");
        assert_eq!(a.describe(&["l", "t", "z"]), "n: 1.50");
        assert!(!a.get("z").exists() && !a.get("t").get("u").exists() && !Node::parse(b"{").exists());
        assert_eq!(a.get("t").texts(), Vec::<String>::new());
    }
}
