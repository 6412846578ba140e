use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Case {
    rule: String,
    text: Option<String>,
    document: Option<String>,
    /// Absent: stays as it is.
    gives: Option<String>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../rules/1.cases.json")).unwrap()
}

#[test]
fn every_case_of_the_rules() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (input, found) = match (&case.text, &case.document) {
            (Some(text), None) => (text, mask_text(text).0),
            (None, Some(document)) => {
                (document, String::from_utf8(mask_document(document.as_bytes()).unwrap().0).unwrap())
            }
            _ => panic!("a case has a text or a document"),
        };
        let expect = case.gives.as_ref().unwrap_or(input);
        if &found != expect {
            wrong.push(format!("{}\n  in     {input}\n  found  {found}\n  expect {expect}", case.rule));
        }
        if let Some(gives) = &case.gives {
            // A case of a rule shows that rule's mark, or the more exact one that took the place first.
            assert!(gives.contains("[masked:"), "{gives}");
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_cases_of_both_kinds() {
    let mut seen: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    for case in cases() {
        let entry = seen.entry(case.rule).or_default();
        if case.gives.is_some() { entry.0 = true } else { entry.1 = true }
    }
    let lexical = ["not-text", "unsettled"];
    for mark in &TABLE.marks {
        let rule = mark.trim_start_matches("[masked:").trim_end_matches(']');
        if !lexical.contains(&rule) {
            assert_eq!(seen.get(rule), Some(&(true, true)), "{rule} needs cases that must and must not match");
        }
    }
    assert_eq!(seen.len(), TABLE.marks.len() - lexical.len());
}

#[test]
fn no_rule_matches_a_mark() {
    for mark in &TABLE.marks {
        for context in [
            "{}",
            "--token={}",
            "--password \"{}\"",
            "password: {}",
            "Authorization: Bearer {}",
            "a://b:{}@c",
            "{}={}",
            "{}: {}",
        ] {
            let text = context.replace("{}", mark);
            assert_eq!(mask_text(&text).0, text);
        }
    }
}

#[test]
fn cases_hold_lexically_too() {
    for case in cases() {
        let Some(text) = case.text.as_ref() else { continue };
        let (masked, marks) = mask_lexically(text.as_bytes());
        assert_eq!(marks > 0, text.contains("[masked:") || case.gives.is_some(), "{text}");
        assert_eq!(mask_lexically(&masked).0, masked, "{text}");
    }
}

fn lexical(input: &[u8], expect: &str) {
    let (masked, _) = mask_lexically(input);
    assert_eq!(String::from_utf8_lossy(&masked), expect);
}

#[test]
fn bytes_that_cannot_be_scanned() {
    lexical(br#"{"password":"hunter2""#, r#"{"password":"[masked:by-name]""#);
    lexical(br#"{"password":"hunter2"#, r#"{"password":"[masked:by-name]"#);
    lexical(br#"{"secret_key":{"constant_value":"test","x":1},"y":2"#, r#"{"secret_key":[masked:by-name],"y":2"#);
    lexical(br#"{"secret_key":{"constant_value":"test","y":2"#, r#"{"secret_key":[masked:by-name]"#);
    lexical(br#"x" {"secret_key":{"a":"test"}}"#, r#"x" {"secret_key":[masked:by-name]}"#);
    lexical(br#"{"db_password":12345,"a":1"#, r#"{"db_password":[masked:by-name],"a":1"#);
    lexical(b"{\"a\":\"--token=abc\xff\xfe\"", "{\"a\":\"--token=[masked:assignment]\"");
    lexical(br#"{"a":"\u002d\u002dtok\u0065n=abc"#, r#"{"a":"\u002d\u002dtok\u0065n=[masked:assignment]"#);
    lexical(br#"{"p\u0061ssword":"hunter2","a""#, r#"{"p\u0061ssword":"[masked:by-name]","a""#);
    lexical(br#"{"kind":"Secret","data":{"k":"dg=="},"x""#, r#"{"kind":"Secret","data":[masked:kubernetes-data],"x""#);
    lexical(b"p\0a\0s\0s\0", "p[masked:not-text]");
    lexical(b"plain \xff bytes", "plain \u{fffd} bytes");
}

#[test]
fn a_document_keeps_every_other_byte() {
    let document = b" {\r\n\t\"a\" : 1.0e+0 ,\"token\":\"x\" , \"\\u00e9\":\"\\/\\u00E9\" }\n";
    let (masked, marks) = mask_document(document).unwrap();
    assert_eq!(masked, b" {\r\n\t\"a\" : 1.0e+0 ,\"token\":\"[masked:by-name]\" , \"\\u00e9\":\"\\/\\u00E9\" }\n");
    assert_eq!(marks, 1);
}

#[test]
fn a_document_that_cannot_be_scanned_says_why() {
    let rejection = mask_document(b"{\"token\":\"x\"}{}").unwrap_err();
    assert_eq!(rejection.reason, crate::reason::Reason::TrailingData);
    assert_eq!(rejection.payload, b"{\"token\":\"[masked:by-name]\"}{}");
    let large = format!("[\"{}\"]", "x".repeat(2_000_000));
    assert_eq!(mask_document(large.as_bytes()).unwrap().1, 0);
}

/// Pieces that meet the rules at their edges, put together at random.
fn pieces() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let words = prop::sample::select(vec![
        "--token",
        "--password",
        "password",
        "secret",
        "token",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
        "Authorization: Bearer ",
        "bearer ",
        "https://u:p@h/",
        "://",
        "@",
        ":",
        "=",
        " ",
        "\"",
        "'",
        "\\",
        "\\\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "***",
        "[masked:assignment]",
        "[masked:jwt]",
        "[masked:x]",
        "~1",
        "abc123",
        "x",
        "data:",
        "kind: Secret",
        "  k: v\n",
        "|\n",
        "é",
        "-----BEGIN PRIVATE KEY-----",
        "curl -u a:b",
        "\"sensitive\":true",
        "\"value\":",
        "\"kind\":\"Secret\"",
        "\u{0}",
        ";",
        "&",
        "$X",
    ]);
    prop::collection::vec(words, 0..24).prop_map(|words| words.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    #[test]
    fn masking_text_settles(text in pieces()) {
        let (masked, marks) = mask_text(&text);
        proptest::prop_assert_eq!(mask_text(&masked), (masked.clone(), marks));
        proptest::prop_assert!(!masked.contains("-----BEGIN PRIVATE KEY-----"), "{}", masked);
        proptest::prop_assert!(!masked.contains("[masked:unsettled]"), "{}", text);
    }

    #[test]
    fn masking_bytes_settles(text in pieces(), cut in 0_usize..200) {
        let bytes = &text.as_bytes()[..cut.min(text.len())];
        let (masked, marks) = mask_lexically(bytes);
        proptest::prop_assert_eq!(mask_lexically(&masked), (masked.clone(), marks));
    }

    #[test]
    fn masking_documents_settles(texts in proptest::collection::vec(pieces(), 1..6), names in proptest::collection::btree_set(pieces(), 1..6)) {
        let members: serde_json::Map<_, _> =
            names.iter().cloned().zip(texts.into_iter().cycle().map(serde_json::Value::from)).collect();
        let document = serde_json::Value::from(members).to_string();
        let (masked, marks) = mask_document(document.as_bytes()).unwrap();
        proptest::prop_assert_eq!(mask_document(&masked).unwrap(), (masked.clone(), marks));
        proptest::prop_assert!(serde_json::from_slice::<serde_json::Value>(&masked).is_ok());
    }
}
