//! Evidence of others inside events: told in the pack by the tenant's keys, checked by the verifier's own.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use evidence::{PackInput, Report, Status, Trust, Verdict};
use projector::approval::{Rule, Rules, Since};
use projector::foreign::ForeignKey;
use serde_json::Value;

use crate::world::{Files, World, event, files_of, verify, zipped};

pub(crate) const BUNDLE: &str = include_str!("../../../testdata/foreign/sigstore-v0.3-managed-key.bundle.json");
pub(crate) const BUNDLE_KEY: &str = include_str!("../../../testdata/foreign/sigstore-v0.3-managed-key.pub");
pub(crate) const DSSE: &str = include_str!("../../../testdata/foreign/dsse-chainloop-attestation.json");
pub(crate) const DSSE_KEY: &str = include_str!("../../../testdata/foreign/dsse-chainloop-attestation.pub");

/// Change `a`, whose plan carries this evidence.
pub(crate) fn world(evidence: &[&str]) -> World {
    let mut world = World::new();
    let list = evidence.join(",");
    world.add(&event("plan", "a", &format!(r#""plan":{{"commands":["x"],"evidence":[{list}]}}"#)));
    world
}

fn keys(named: &[(&str, &str)]) -> Vec<(String, ForeignKey)> {
    named.iter().map(|(name, pem)| ((*name).to_owned(), ForeignKey::parse(pem).unwrap())).collect()
}

/// A pack of a tenant that named these keys.
fn files(world: &World, named: &[(&str, &str)]) -> Files {
    let evidence_keys = keys(named).into_iter().map(|(name, key)| (name, key.to_base64())).collect();
    let rule = Rule { evidence_keys, ..Rule::default() };
    let mut input: PackInput = world.input("a");
    input.context.rules = Rules::from_changes(world.origin.as_str(), vec![Since { entry: 0, rule }]);
    files_of(&evidence::plan(&input).unwrap().seal(&world.signer).unwrap())
}

#[test]
fn a_pack_tells_what_became_of_the_evidence_of_others() {
    let world = world(&[BUNDLE, DSSE]);
    let both = [("cosign", BUNDLE_KEY), ("build", DSSE_KEY)];
    let told = |named: &[(&str, &str)]| {
        let files = files(&world, named);
        let report = world.verify(&files);
        assert_eq!(report.verdict, Verdict::Ok, "{report}");
        let document: Value = serde_json::from_slice(&files["change.json"]).unwrap();
        let page = String::from_utf8(files["index.html"].clone()).unwrap();
        (document, page, report.says)
    };
    let (document, page, says) = told(&both);
    let standings: Vec<&str> =
        document["foreign"].as_array().unwrap().iter().map(|one| one["standing"].as_str().unwrap()).collect();
    assert_eq!((standings, &document["anomalies"]), (vec!["signed", "signed"], &serde_json::json!([])));
    assert!(!page.contains("not to be believed"));
    assert!(page.contains(r##"<a href="#others">Evidence of others</a>"##), "the contents name it");
    assert!(page.contains("Sigstore bundle at <code>/provisioning_event/plan/evidence/0</code>"), "{page}");
    assert!(page.contains(">signed with the key cosign<") && page.contains(">signed with the key build<"), "{page}");
    assert!(
        says[0]
            .starts_with("events/0000000001-plan.json: The Sigstore bundle at “/provisioning_event/plan/evidence/0”")
    );
    assert!(
        says[1].contains("is signed with the key “build”. (by the keys in pack.json, which the operator states"),
        "{says:?}"
    );
    // Signed by somebody else than the tenant named: an anomaly, first on the page, and no word of trust.
    let (document, page, says) = told(&[("build", DSSE_KEY)]);
    assert_eq!(document["anomalies"][0]["code"], "foreign_signature_bad");
    assert!(page.contains("is not to be believed"), "the page tells of it");
    assert!(page.contains(r#" class="bad">not to be believed: none of the 1 keys"#), "{page}");
    assert!(says[0].contains("is not to be believed: none of the 1 keys"), "{says:?}");
    // Nobody named a key: nothing was checked, which is said, and no anomaly.
    let (document, page, says) = told(&[]);
    assert!(page.contains("not checked: no key is named for it"), "{page}");
    assert_eq!(
        (&document["anomalies"], &document["foreign"][0]["standing"]),
        (&serde_json::json!([]), &"not_checked".into())
    );
    assert!(says[0].contains("was not checked: no key is named for it"), "{says:?}");
}

/// What others say of their evidence is text on the page, as everything is.
#[test]
fn hostile_evidence_is_text() {
    let said = serde_json::json!({"subject": [{"name": "<script>x</script>\u{202e}", "digest": {"sha256": "ab".repeat(32)}}],
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "predicate": {}});
    let envelope = serde_json::json!({"payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "AAAA"}],
        "payload": BASE64_STANDARD.encode(said.to_string())});
    let world = world(&[&envelope.to_string()]);
    let page = String::from_utf8(files(&world, &[("<b>", BUNDLE_KEY)])["index.html"].clone()).unwrap();
    assert!(page.contains("&#60;script&#62;x") && page.contains(r"\u{202e}"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
}

#[test]
fn the_verifiers_own_keys_decide() {
    let world = world(&[BUNDLE, DSSE]);
    // What the operator says of keys counts for nothing here.
    let pack = zipped(&files(&world, &[("cosign", DSSE_KEY)]));
    let with =
        |named: &[(&str, &str)]| -> Report { verify(&pack, &Trust { evidence_keys: keys(named), ..world.trust() }) };
    let report = with(&[("mine", BUNDLE_KEY), ("theirs", DSSE_KEY)]);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    assert!(report.says.iter().all(|line| line.contains("is signed with the key")), "{report}");
    let report = with(&[("mine", BUNDLE_KEY)]);
    assert_eq!(report.refuted(), ["events.foreign"], "{report}");
    let refused = report.checks.iter().find(|check| check.id == "events.foreign").unwrap();
    assert!(refused.detail.contains("events/0000000001-plan.json: The DSSE envelope"), "{}", refused.detail);
    // A pack without any has nothing to refute, and nothing to tell.
    let plain = World::small();
    assert!(!String::from_utf8(plain.files("a")["index.html"].clone()).unwrap().contains("Evidence of others"));
    let report = verify(&plain.pack("a"), &Trust { evidence_keys: keys(&[("mine", BUNDLE_KEY)]), ..plain.trust() });
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    let other = BUNDLE.replace("bundle.v0.3", "bundle.v0.9");
    let newer = self::world(&[&other]);
    let report = verify(&newer.pack("a"), &Trust { evidence_keys: keys(&[("mine", BUNDLE_KEY)]), ..newer.trust() });
    assert_eq!(report.exit_code(), 2, "{report}");
    assert!(report.checks.iter().any(|check| check.id == "events.foreign" && check.status == Status::NotDone));
}
