//! Documents made to be slow or to break: each is answered, in time that grows with its size.

use super::*;

/// How many bytes are kept of a document, admitted or rejected.
fn answered(document: &[u8]) -> usize {
    match admit_unaddressed(document, &mut Scratch::default()) {
        Ok((_, admitted)) => admitted.payload.len(),
        Err(rejection) => rejection.payload.len(),
    }
}

/// A third of a megabyte of one piece over and over: as a string of an event, bare, and in a string that never ends.
fn flood(piece: &str) {
    let many = piece.repeat(300_000 / piece.len());
    let document = String::from_utf8(event(json!({"unknown": "PLACE"}))).unwrap();
    assert!(answered(document.replace("\"PLACE\"", &Value::from(many.as_str()).to_string()).as_bytes()) > 0);
    assert!(answered(many.as_bytes()) > 0);
    assert!(answered(format!("{{\"a\":\"{many}").as_bytes()) > 0);
}

#[test]
fn floods() {
    for piece in [
        "\\",
        "\"",
        "\\\"",
        "\\u002d",
        "{",
        "[",
        "{\"a\":",
        "[[",
        "--token ",
        "--token",
        "token=",
        "token: ",
        "\"token\":",
        "\"token\":{",
        "\\\"token\\\":",
        "password:|\n ",
        "a://b:c",
        "a://b:",
        "@",
        "eyJ",
        "eyJaaaaaaaaa.",
        "AKIA",
        "ghp_",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "docker login ",
        "curl -u ",
        "curl ",
        "authorization: digest ",
        "authorization:",
        "bearer ",
        "bearer a",
        "kind: secret\ndata:\n ",
        "[masked:",
        "[masked:x]",
        "\"kind\":\"Secret\",\"data\":{",
        "\"sensitive\":true,\"value\":",
        "secret set --value ",
        "-token-token",
        "secret",
        "\u{1F600}",
        "é",
        "0",
        "9",
        "1e",
        " ",
        "\n",
    ] {
        flood(piece);
    }
}

#[test]
fn many_names() {
    let names = |count: usize, name: &dyn Fn(usize) -> String| {
        let names: Vec<_> = (0..count).map(name).collect();
        format!("{{{}}}", names.join(","))
    };
    let long = "x".repeat(200);
    answered(names(80_000, &|n| format!("\"k{n}\":1")).as_bytes());
    answered(names(4_000, &|n| format!("\"{long}{n}\":1")).as_bytes());
    answered(names(40_000, &|n| format!("\"\\u006b{n}\":1")).as_bytes());
    let secrets = names(20_000, &|n| format!("\"p{n}_token\":\"x\""));
    let (masked, marks) = redact::mask_document(secrets.as_bytes()).unwrap();
    assert_eq!((marks, String::from_utf8_lossy(&masked).contains("\"x\"")), (20_000, false));
    let values = names(20_000, &|n| format!("\"k{n}\":\"x\""));
    let places = names(20_000, &|n| format!("\"k{n}\":true"));
    let change = format!("{{\"after\":{values},\"after_sensitive\":{places}}}");
    assert_eq!(redact::mask_document(change.as_bytes()).unwrap().1, 20_000);
}

#[test]
fn deep_nesting_of_secrets() {
    let document = format!("{}\"hunter2\"{}", "{\"password\":".repeat(62), "}".repeat(62));
    let (masked, _) = redact::mask_document(document.as_bytes()).unwrap();
    assert!(!String::from_utf8_lossy(&masked).contains("hunter2"));
    let text = "{\\\"secret\\\":".repeat(1_000) + "\\\"hunter2\\\"";
    assert!(!redact::mask_text(&text).0.contains("hunter2"));
}

#[test]
fn masking_that_makes_an_event_too_large_is_a_reason() {
    let many = "--token=a ".repeat(90_000);
    let rejection = admit_plan(&event(json!({"x": many}))).unwrap_err();
    assert_eq!(rejection.reason, Reason::TooLarge);
    assert!(!String::from_utf8_lossy(&rejection.payload).contains("--token=a"));
}
