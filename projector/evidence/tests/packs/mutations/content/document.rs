//! `pack.json`, and JSON with two meanings anywhere.

use serde_json::{Value, json};

use super::{BUNDLE, By, Row, head, nested, pack, replace, text};

pub(super) const JSON: &[Row] = &[
    (
        By::Operator,
        "a member twice",
        |_, files| replace(files, "pack.json", r#""format":1"#, r#""format":1,"format":1"#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a member twice, escaped once",
        |_, files| replace(files, "pack.json", r#""format":1"#, r#""format":1,"\u0066ormat":1"#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a member twice where any JSON may stand",
        |_, files| replace(files, "pack.json", r#""erasures":[]"#, r#""erasures":[{"a":1,"a":1}]"#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "JSON of 65 levels",
        |_, files| replace(files, "pack.json", r#""erasures":[]"#, &format!(r#""erasures":{}"#, nested(64))),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "JSON of 100,000 levels",
        |_, files| replace(files, "pack.json", r#""erasures":[]"#, &format!(r#""erasures":{}"#, nested(100_000))),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a byte order mark",
        |_, files| replace(files, "pack.json", "{", "\u{feff}{"),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a line feed behind",
        |_, files| files.get_mut("pack.json").unwrap().push(b'\n'),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "two documents",
        |_, files| files.get_mut("pack.json").unwrap().extend(b"{}"),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "another order of members",
        |_, files| replace(files, "pack.json", r#""fold":1,"format":1"#, r#""format":1,"fold":1"#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a number with an exponent",
        |_, files| replace(files, "pack.json", r#""size":10"#, r#""size":1e1"#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a number with a fraction",
        |_, files| replace(files, "pack.json", r#""size":10"#, r#""size":10.0"#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a number past 2^53",
        |_, files| replace(files, "pack.json", r#""size":10"#, r#""size":18446744073709551616"#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a number as text",
        |_, files| replace(files, "pack.json", r#""size":10"#, r#""size":"10""#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "null instead of nothing",
        |_, files| replace(files, "pack.json", r#""index":1,"#, r#""index":1,"note":null,"#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "an unknown member",
        |_, files| pack(files, |pack| pack["note"] = json!("trust me")),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a missing member",
        |_, files| pack(files, |pack| drop(pack.as_object_mut().unwrap().remove("root"))),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a list instead of an object",
        |_, files| {
            pack(files, |pack| {
                let values: Vec<Value> = pack.as_object().unwrap().values().cloned().collect();
                *pack = json!(values);
            });
        },
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "bytes that are no UTF-8",
        |_, files| {
            let bytes = files.get_mut("pack.json").unwrap();
            let at = bytes.windows(10).position(|window| window == br#""change":""#).unwrap();
            bytes[at + 10] = 0xff;
        },
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "half a surrogate pair",
        |_, files| replace(files, "pack.json", r#""change":"a""#, r#""change":"\ud800""#),
        "pack.document",
        "pack.json",
    ),
    (
        By::Lister,
        "a member twice in the attestation",
        |_, files| replace(files, BUNDLE, r#""mediaType""#, r#""mediaType":"","mediaType""#),
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Lister,
        "spaces in the attestation",
        |_, files| replace(files, BUNDLE, r#""mediaType":"#, r#""mediaType": "#),
        "attestation.signature",
        BUNDLE,
    ),
];

pub(super) const DOCUMENT: &[Row] = &[
    (
        By::Operator,
        "a format that never was",
        |_, files| pack(files, |pack| pack["format"] = json!(0)),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "no origin",
        |_, files| pack(files, |pack| pack["origin"] = json!("")),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "another log's origin",
        |_, files| pack(files, |pack| pack["origin"] = json!("test-ledger/other")),
        "trust.key",
        "test-ledger/other",
    ),
    (
        By::Operator,
        "an origin that looks the same",
        |_, files| pack(files, |pack| pack["origin"] = json!("test-ledger/\u{430}cme")),
        "trust.key",
        "test-ledger/",
    ),
    (
        By::Operator,
        "no change",
        |_, files| pack(files, |pack| pack["change"] = json!("")),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "a change with a control character",
        |_, files| pack(files, |pack| pack["change"] = json!("a\u{1b}[2J")),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "another change",
        |_, files| pack(files, |pack| pack["change"] = json!("b")),
        "log.chain",
        "entries/0000000001.json",
    ),
    (
        By::Operator,
        "the change in capitals",
        |_, files| pack(files, |pack| pack["change"] = json!("A")),
        "log.chain",
        "entries/0000000001.json",
    ),
    (
        By::Operator,
        "a root in capitals",
        |world, files| pack(files, |pack| pack["root"] = json!(head(world).root.to_string().to_uppercase())),
        "pack.document",
        "pack.json",
    ),
    (
        By::Operator,
        "another root",
        |_, files| pack(files, |pack| pack["root"] = json!("00".repeat(32))),
        "checkpoint.head",
        "checkpoint",
    ),
    (
        By::Operator,
        "another size",
        |_, files| pack(files, |pack| pack["size"] = json!(11)),
        "checkpoint.head",
        "checkpoint",
    ),
    (By::Operator, "no size", |_, files| pack(files, |pack| pack["size"] = json!(0)), "checkpoint.head", "checkpoint"),
    (By::Operator, "no entry", |_, files| pack(files, |pack| pack["entries"] = json!([])), "log.chain", "pack.json"),
    (
        By::Operator,
        "an entry that is not there",
        |_, files| {
            pack(files, |pack| {
                pack["entries"].as_array_mut().unwrap().push(json!({"index": 9, "salt": "00".repeat(16)}));
            });
        },
        "log.entries",
        "entries/0000000009.json",
    ),
    (
        By::Operator,
        "an entry past the tree",
        |_, files| {
            pack(files, |pack| {
                pack["entries"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"index": 4_000_000_000_u64, "salt": "00".repeat(16)}));
            });
            files.insert("entries/4000000000.json".into(), files["entries/0000000008.json"].clone());
            files.insert(
                "proofs/4000000000.tlog-proof".into(),
                text(files, "proofs/0000000008.tlog-proof").replace("index 8", "index 4000000000").into_bytes(),
            );
        },
        "log.inclusion",
        "proofs/4000000000.tlog-proof",
    ),
    (
        By::Operator,
        "a salt in capitals",
        |_, files| pack(files, |pack| pack["entries"][0]["salt"] = json!("0A".repeat(16))),
        "events.commitment",
        "pack.json",
    ),
    (
        By::Operator,
        "a short salt",
        |_, files| pack(files, |pack| pack["entries"][0]["salt"] = json!("01")),
        "events.commitment",
        "pack.json",
    ),
    (
        By::Operator,
        "another salt",
        |_, files| pack(files, |pack| pack["entries"][0]["salt"] = json!("ff".repeat(16))),
        "events.commitment",
        "events/0000000001-plan.json",
    ),
    (
        By::Operator,
        "a cosignature that the checkpoint has not",
        |_, files| pack(files, |pack| pack["cosignatures"] = json!(["\u{2014} w AAAA"])),
        "checkpoint.head",
        "checkpoint",
    ),
    (
        By::Operator,
        "a time before the last entry",
        |_, files| pack(files, |pack| pack["as_of_ms"] = json!(1)),
        "derived.change",
        "pack.json",
    ),
];
