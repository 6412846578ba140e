//! cosign checks the attestation of an evidence pack, knowing only a key that did not come with the pack.

use std::process::Command;

use upm_tests::{Server, ok, project, run};

use super::judge;

const MODEL: &str = "e5f2a4a2-86d1-41b6-a6f3-7a7e2b1c7f10";
const PREDICATE_TYPE: &str = "urn:upm-ledger:evidence-pack:v1";

#[test]
#[ignore = "make interop"]
fn accepts_a_pack_and_refuses_changed_sums() {
    let cosign = judge("COSIGN", "cosign-3.1.3");
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    ok(server.upm(&["emit", "--wait"]).arg(project().join("schemas/examples/model.json")));
    let (pack, pem) = (folder.path().join("pack.zip"), folder.path().join("acme.pub"));
    ok(server.upm(&["pack", MODEL, "--tenant", "acme", "-o"]).arg(&pack));
    std::fs::write(&pem, ok(&mut server.upm(&["keys", "show", "--tenant", "acme", "--pem"]))).expect("written");
    let unpacked = folder.path().join("unpacked");
    ok(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&pack).arg(&unpacked));

    let verify = || {
        let mut command = Command::new(&cosign);
        command
            .args(["verify-blob-attestation", "--insecure-ignore-tlog", "--bundle", "attestation.sigstore.json"])
            .arg("--key")
            .arg(&pem)
            .args(["--type", PREDICATE_TYPE, "SHA256SUMS"])
            .current_dir(&unpacked);
        command
    };
    ok(&mut verify());
    let sums = unpacked.join("SHA256SUMS");
    let text = std::fs::read_to_string(&sums).expect("readable");
    std::fs::write(&sums, text.replacen('a', "b", 1)).expect("written");
    let (code, ..) = run(&mut verify());
    assert_ne!(code, 0, "cosign refuses changed sums");
}
