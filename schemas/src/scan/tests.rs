use super::*;

const LIMITS: Limits = Limits { bytes: 1_000_000, depth: 64 };

fn scan(document: &[u8]) -> Result<Tape, Fault> {
    let mut tape = Tape::default();
    tape.scan(document, LIMITS).map(|()| tape)
}

fn check(document: impl AsRef<[u8]>, expect: Result<(), (Reason, &str)>) {
    let document = document.as_ref();
    let found = scan(document);
    let shown = String::from_utf8_lossy(document);
    let shown = shown.chars().take(80).collect::<String>();
    match (found, expect) {
        (Ok(_), Ok(())) => {}
        (Err(fault), Err((reason, path))) => {
            assert_eq!((fault.reason, fault.path.as_str()), (reason, path), "{shown}");
            assert!(fault.at <= fault.until && fault.until <= document.len().max(fault.at), "{shown}");
        }
        (found, expect) => panic!("{shown}: {:?}, expected {expect:?}", found.err()),
    }
}

#[test]
fn documents_that_pass() {
    for text in [
        "{}",
        "[]",
        "0",
        "-0",
        "-0.0e-0",
        "\"\"",
        " \t\r\n{ } ",
        "true",
        "false",
        "null",
        "1e300",
        "1E+2",
        "1.5e-400",
        "9007199254740992",
        "-9007199254740992",
        "9007199254740993.0",
        "9007199254740993e0",
        r#"{"a":1,"b":[1,2,{"a":3}],"":{}}"#,
        r#""\"\\\/\b\f\n\r\tA😀""#,
        "\"😀\u{7f}\"",
        r#"["12345678","1234567\"","123456789\\"]"#,
    ] {
        check(text, Ok(()));
    }
    check(format!("{}{}", "[".repeat(64), "]".repeat(64)), Ok(()));
}

#[test]
fn not_json() {
    let at_top = [
        "",
        " ",
        "{",
        "[",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "nul",
        "+1",
        ".5",
        "-",
        "01",
        "-01",
        "1.",
        "1.e5",
        "1e",
        "1e+",
        "'a'",
        "{,}",
        "{\"a\"",
        "{a:1}",
        "[,]",
        "\u{feff}{}",
        "nan",
        "inf",
        "\"a\nb\"",
        "\"a\0\"",
        "//",
        "\"\\u00",
    ];
    for text in at_top {
        let found = scan(text.as_bytes()).err().map(|fault| fault.reason);
        assert_eq!(found, Some(Reason::NotJson), "{text:?}");
    }
    check(r#"{"a":[1,{"b":tru}]}"#, Err((Reason::NotJson, "/a/1/b")));
    check(r#"{"a":{"x":1},"b/c~":[1,2,}"#, Err((Reason::NotJson, "/b~1c~0/2")));
    check(r#"{"a":1,}"#, Err((Reason::NotJson, "/a")));
    check(r#"{"a":{"x":{"y":0},"b":{"c":[{"d":tru"#, Err((Reason::NotJson, "/a/b/c/0/d")));
    check("[1,]", Err((Reason::NotJson, "/1")));
    check("[1 2]", Err((Reason::NotJson, "/0")));
}

#[test]
fn trailing_data() {
    for text in ["{}{}", "{} x", "1 2", "null,", "{}\u{0}", "[]]", "{}\n{}"] {
        check(text, Err((Reason::TrailingData, "")));
    }
}

#[test]
fn not_utf8() {
    for document in
        [&b"\"\xff\""[..], b"\"\xc3\"", b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\"", b"\"\xc0\xaf\"", b"{}\x80"]
    {
        check(document, Err((Reason::NotUtf8, "")));
    }
}

#[test]
fn lone_surrogates() {
    for text in
        [r#""\ud800""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud83dx\ude00""#, r#""\ud83d\n""#, r#""\uDC00\uD800""#]
    {
        check(text, Err((Reason::LoneSurrogate, "")));
    }
    check(r#"{"\ud800":1}"#, Err((Reason::LoneSurrogate, "")));
    check(r#"{"a":["\ud800"]}"#, Err((Reason::LoneSurrogate, "/a/0")));
}

#[test]
fn duplicate_names_are_compared_as_decoded() {
    check(r#"{"a":1,"b":2,"a":3}"#, Err((Reason::DuplicateKey, "/a")));
    check(r#"{"a":1,"\u0061":2}"#, Err((Reason::DuplicateKey, "/a")));
    check(r#"{"a/b":1,"a\/b":2}"#, Err((Reason::DuplicateKey, "/a~1b")));
    check(r#"{"😀":1,"\ud83d\ude00":2}"#, Err((Reason::DuplicateKey, "/😀")));
    check(r#"{"x":[{"p":{"":1,"":2}}]}"#, Err((Reason::DuplicateKey, "/x/0/p/")));
    check(r#"{"a":1,"A":2,"\\u0061":3,"b":{"a":1}}"#, Ok(()));
    let many: Vec<_> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
    check(format!("{{{}}}", many.join(",")), Ok(()));
    check(format!("{{{},\"k50\":0}}", many.join(",")), Err((Reason::DuplicateKey, "/k50")));
}

#[test]
fn depth_and_size() {
    check(format!("{}{}", "[".repeat(65), "]".repeat(65)), Err((Reason::TooDeep, &"/0".repeat(64))));
    check("[".repeat(1_000_000), Err((Reason::TooDeep, &"/0".repeat(64))));
    let exactly = format!("\"{}\"", "x".repeat(999_998));
    check(&exactly, Ok(()));
    check(exactly + " ", Err((Reason::TooLarge, "")));
}

#[test]
fn numbers() {
    for text in ["NaN", "Infinity", "-Infinity", "1e999", "-1e400", "1e99999999999999999999"] {
        check(text, Err((Reason::NumberNotFinite, "")));
    }
    check(format!("1{}.0", "0".repeat(400)), Err((Reason::NumberNotFinite, "")));
    check(r#"{"a":[NaN]}"#, Err((Reason::NumberNotFinite, "/a/0")));
    for text in ["9007199254740993", "-9007199254740993", "10000000000000000", "18446744073709551616"] {
        check(text, Err((Reason::IntegerTooLarge, "")));
    }
    check("9".repeat(900_000), Err((Reason::IntegerTooLarge, "")));
}

#[test]
fn tokens_and_pointers() {
    use Kind::{Array, Name, Null, Number, Object, String, True};
    let document = br#"{"a":[1,"x\n",{"b/c":null}],"d":true}"#;
    let tape = scan(document).unwrap();
    let kinds: Vec<_> = tape.tokens().iter().map(|token| token.kind).collect();
    assert_eq!(kinds, [Object, Name, Array, Number, String, Object, Name, Null, Name, True]);
    assert_eq!(tape.tokens()[4].text(document), "x\n");
    assert_eq!(tape.tokens()[2].next, 8);
    let pointers: Vec<_> = (0..10).map(|token| tape.pointer(document, token)).collect();
    assert_eq!(pointers, ["", "/a", "/a", "/a/0", "/a/1", "/a/2", "/a/2/b~1c", "/a/2/b~1c", "/d", "/d"]);
}

#[test]
fn decoding_maps_back() {
    let (mut text, mut map) = (String::new(), Vec::new());
    decode_mapped(br"a\u002db\ud83d\ude00\n", &mut text, &mut map);
    assert_eq!(text, "a-b😀\n");
    assert_eq!(map, [0, 1, 7, 8, 8, 8, 8, 20, 22]);
    decode_mapped(br"\ud800\", &mut text, &mut map);
    assert_eq!(text, "\u{fffd}\u{fffd}");
}

proptest::proptest! {
    /// Another reader agrees on what is JSON, where it has the same rules.
    #[test]
    fn agrees_with_serde_json(text in "[\\[\\]{}\",:0-9eE+.\\\\u \\-tfnradls]{0,24}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        match scan(text.as_bytes()) {
            Ok(_) => proptest::prop_assert!(theirs),
            Err(Fault { reason: Reason::NotJson | Reason::TrailingData | Reason::LoneSurrogate, .. }) => {
                proptest::prop_assert!(!theirs);
            }
            Err(_) => {}
        }
    }

    /// A scan never panics, and a tape always covers the document.
    #[test]
    fn any_bytes(document: Vec<u8>) {
        if let Ok(tape) = scan(&document) {
            proptest::prop_assert_eq!(tape.tokens()[0].next as usize, tape.tokens().len());
        }
    }
}
