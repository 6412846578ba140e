//! Evidence of others inside events, through the real programs: the tenant names keys, a producer sends what others signed, and change, views,
//! pack and verifier tell what came of it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{Server, ok, project, run, upm, wait_for};

/// A public file of others, with the key that signed it.
fn given(name: &str) -> String {
    std::fs::read_to_string(project().join("projector/testdata/foreign").join(name)).expect("readable")
}

fn emit(server: &Server, folder: &Path, change: &str, evidence: &str) {
    let evidence: Value = serde_json::from_str(evidence).expect("JSON");
    let event = json!({"provisioning_event": {"id": change, "phase": "plan", "timestamp": "2026-01-02T03:04:05Z",
        "intent": {"source": "api", "initiator": "ines", "tenant": "acme"},
        "plan": {"commands": ["deploy"], "artifacts": [{"name": "image", "evidence": evidence}]}}});
    let file = folder.join(format!("{change}.json"));
    std::fs::write(&file, event.to_string()).expect("written");
    ok(server.upm(&["emit", "--wait"]).arg(file));
}

#[test]
fn evidence_of_others_is_held_against_the_keys_that_the_tenant_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    let (dsse, bundle) = (given("dsse-chainloop-attestation.json"), given("sigstore-v0.3-managed-key.bundle.json"));
    let key = project().join("projector/testdata/foreign/dsse-chainloop-attestation.pub");
    // The line of docs/foreign-evidence.md.
    let line = "openssl pkey -pubin -in \"$1\" -outform DER | base64 -w0";
    let der = ok(Command::new("bash").args(["-o", "pipefail", "-c", line, "bash"]).arg(&key));
    emit(&server, folder.path(), "early", &dsse);
    ok(&mut server.upm(&["tenant", "set", "acme", &format!("evidence.key.build={}", der.trim())]));
    let (code, _, err) = run(&mut server.upm(&["tenant", "set", "acme", "evidence.key.build=x"]));
    assert!(code == 2 && err.contains("ECDSA P-256 or Ed25519"), "{err}");
    emit(&server, folder.path(), "signed", &dsse);
    emit(&server, folder.path(), "forged", &bundle);
    let told = |change: &str| {
        let packed = folder.path().join(format!("{change}.zip"));
        ok(server.upm(&["pack", change, "--tenant", "acme", "-o"]).arg(&packed));
        let script = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('change.json').decode())";
        let document = ok(Command::new("python3").args(["-c", script]).arg(&packed));
        let document: Value = serde_json::from_str(&document).expect("JSON");
        let codes: Vec<String> = document["anomalies"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|anomaly| anomaly["code"].as_str().expect("a code").to_owned())
            .filter(|code| code.starts_with("foreign"))
            .collect();
        (document["foreign"][0]["standing"].as_str().unwrap_or_default().to_owned(), codes, packed)
    };
    let (standing, codes, early) = told("early");
    assert_eq!((standing.as_str(), codes.len()), ("not_checked", 0), "nobody had named a key then");
    let (standing, codes, signed) = told("signed");
    assert_eq!((standing.as_str(), codes.len()), ("signed", 0));
    let (standing, codes, forged) = told("forged");
    assert_eq!((standing.as_str(), codes), ("bad", vec!["foreign_signature_bad".to_owned()]));
    // Views tell the same, a moment later.
    let ask = "SELECT change FROM anomalies WHERE code = 'foreign_signature_bad'";
    let rows = wait_for("the detail tables", || {
        let rows = ok(&mut server.upm(&["sql", "--tenant", "acme", "--json", ask]));
        rows.contains("forged").then_some(rows)
    });
    assert!(!rows.contains("early") && !rows.contains("signed\""), "{rows}");
    let vkey = server.vkey("acme").to_owned();
    assert_eq!(server.stop(), 0);
    let verify = |pack: &Path, more: &[&str]| run(upm(["verify", "--key", &vkey]).args(more).arg(pack));
    let mine = format!("mine={}", key.display());
    let own = ["--evidence-key", &mine];
    for (pack, bare, with) in [(&early, 0, 0), (&signed, 0, 0), (&forged, 0, 1)] {
        let ((code, out, err), (own_code, own_out, _)) = (verify(pack, &[]), verify(pack, &own));
        assert_eq!((code, own_code), (bare, with), "{out}{err}{own_out}");
    }
    assert!(verify(&forged, &[]).1.contains("is not to be believed"), "said without being asked");
    assert!(verify(&early, &own).1.contains("is signed with the key “mine”"), "the verifier's own keys decide");
}
