//! A stranger's tools on an evidence pack: two programs unpack it, and what they unpack is checked by `sha256sum`, cosign, an in-toto
//! library, torchwood and OpenSSL, each knowing only a key that did not come with the pack.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use upm_tests::{Server, ok, project, run, tool};

use super::judge;

const MODEL: &str = "e5f2a4a2-86d1-41b6-a6f3-7a7e2b1c7f10";
const PREDICATE_TYPE: &str = "urn:upm-ledger:evidence-pack:v1";

/// Two packs of one log, of the model's example and of a change over several events, and the log's key from the server.
struct Packs {
    folder: tempfile::TempDir,
    vkey: String,
}

impl Packs {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
        ok(server.upm(&["emit", "--wait"]).arg(project().join("schemas/examples/model.json")));
        for phase in ["plan", "preflight", "execute", "verify"] {
            let about = ["--tenant", "acme", "--change", "c-1", "--initiator", "ann", "--request", "one more node"];
            ok(server.upm(&["emit", "--wait", "--phase", phase]).args(about));
        }
        for (change, name) in [(MODEL, "pack.zip"), ("c-1", "other.zip")] {
            ok(server.upm(&["pack", change, "--tenant", "acme", "-o"]).arg(folder.path().join(name)));
        }
        let pem = ok(&mut server.upm(&["keys", "show", "--tenant", "acme", "--pem"]));
        std::fs::write(folder.path().join("acme.pub"), pem).expect("written");
        let vkey = server.vkey("acme").to_owned();
        assert_eq!(server.stop(), 0, "nothing below needs a server");
        Self { folder, vkey }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A pack as both programs unpack it.
    fn unpacked(&self, name: &str) -> [PathBuf; 2] {
        let [unzip, python] = ["unzip", "python"].map(|by| self.path(&format!("{name}-{by}")));
        ok(Command::new("unzip").arg("-q").arg(self.path(name)).arg("-d").arg(&unzip));
        ok(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(self.path(name)).arg(&python));
        ok(Command::new("diff").arg("-r").args([&unzip, &python]));
        [unzip, python]
    }
}

#[test]
#[ignore = "make interop"]
fn sha256sum_accepts_what_unzip_and_python_unpack() {
    let packs = Packs::make();
    for folder in packs.unpacked("pack.zip").iter().chain(&packs.unpacked("other.zip")) {
        let check = || {
            let mut command = Command::new("sha256sum");
            command.args(["--strict", "--quiet", "-c", "SHA256SUMS"]).current_dir(folder);
            command
        };
        ok(&mut check());
        append(&folder.join("change.json"));
        assert_eq!(run(&mut check()).0, 1, "a changed file");
    }
}

#[test]
#[ignore = "make interop"]
fn cosign_accepts_the_pack_alone_and_with_its_key_alone() {
    let cosign = judge("COSIGN", "cosign-3.1.3");
    let packs = Packs::make();
    let other = ok(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519"]));
    std::fs::write(packs.path("stranger.pem"), other).expect("written");
    let stranger = ok(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(packs.path("stranger.pem")));
    std::fs::write(packs.path("stranger.pub"), stranger).expect("written");
    let [mine, _] = packs.unpacked("pack.zip");
    let [others, _] = packs.unpacked("other.zip");
    let verify = |bundle: &Path, key: &str, kind: &str, file: &Path| {
        let mut command = Command::new(&cosign);
        command.args(["verify-blob-attestation", "--insecure-ignore-tlog", "--type", kind, "--bundle"]).arg(bundle);
        run(command.arg("--key").arg(packs.path(key)).arg(file)).0
    };
    let (bundle, sums) = (mine.join("attestation.sigstore.json"), mine.join("SHA256SUMS"));
    assert_eq!(verify(&bundle, "acme.pub", PREDICATE_TYPE, &sums), 0, "the pack");
    assert_ne!(verify(&bundle, "stranger.pub", PREDICATE_TYPE, &sums), 0, "a wrong key");
    assert_ne!(verify(&bundle, "acme.pub", "urn:upm-ledger:population:v1", &sums), 0, "another type");
    assert_ne!(verify(&bundle, "acme.pub", PREDICATE_TYPE, &mine.join("pack.json")), 0, "another file");
    assert_ne!(verify(&bundle, "acme.pub", PREDICATE_TYPE, &others.join("SHA256SUMS")), 0, "another pack's list");
    assert_ne!(
        verify(&others.join("attestation.sigstore.json"), "acme.pub", PREDICATE_TYPE, &sums),
        0,
        "another pack's attestation"
    );
    append(&sums);
    assert_ne!(verify(&bundle, "acme.pub", PREDICATE_TYPE, &sums), 0, "a changed list");
}

/// Python's in-toto library finds a valid statement in the envelope, and in it what we say of the pack.
#[test]
#[ignore = "make interop"]
fn an_in_toto_library_reads_the_statement() {
    let library = tool("IN_TOTO", "in-toto-attestation-0.9.3");
    assert!(library.exists(), "{} is missing: `scripts/setup interop` installs it", library.display());
    let packs = Packs::make();
    let [folder, _] = packs.unpacked("pack.zip");
    let read = |bundle: &Path| {
        let script = project().join("tests/python/statement.py");
        run(Command::new("python3").arg(script).arg(bundle).env("PYTHONPATH", &library))
    };
    let (code, out, err) = read(&folder.join("attestation.sigstore.json"));
    assert_eq!(code, 0, "{err}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let pack: Value =
        serde_json::from_slice(&std::fs::read(folder.join("pack.json")).expect("readable")).expect("JSON");
    let digest = ok(Command::new("sha256sum").arg(folder.join("SHA256SUMS")));
    assert_eq!(told["predicate_type"], PREDICATE_TYPE);
    assert_eq!(told["subjects"], serde_json::json!([["SHA256SUMS", {"sha256": &digest[..64]}]]));
    for member in ["origin", "change", "root"] {
        assert_eq!(told["predicate"][member], pack[member], "{member}");
    }
    assert_eq!(told["predicate"]["size"].as_f64(), pack["size"].as_f64());
    // It does tell: a statement without a digest is none.
    let text = std::fs::read_to_string(folder.join("attestation.sigstore.json")).expect("readable");
    let mut bundle: Value = serde_json::from_str(&text).expect("JSON");
    let mut statement = statement(&bundle);
    statement["subject"][0]["digest"] = serde_json::json!({});
    bundle["dsseEnvelope"]["payload"] = BASE64_STANDARD.encode(statement.to_string()).into();
    std::fs::write(packs.path("bad.json"), bundle.to_string()).expect("written");
    let (code, _, err) = read(&packs.path("bad.json"));
    assert_eq!(code, 1, "{err}");
}

#[test]
#[ignore = "make interop"]
fn torchwood_accepts_each_proof() {
    let judge = judge("TLOG_JUDGE", "tlog-judge");
    let packs = Packs::make();
    let mut checked = 0;
    for name in ["pack.zip", "other.zip"] {
        let [folder, _] = packs.unpacked(name);
        for entry in list(&folder.join("entries")) {
            let number = entry.file_stem().expect("a name").to_string_lossy().into_owned();
            let proof = folder.join("proofs").join(format!("{number}.tlog-proof"));
            let judged = |entry: &Path| run(Command::new(&judge).arg("leaf").arg(&proof).arg(entry).arg(&packs.vkey));
            let (code, _, err) = judged(&entry);
            assert_eq!(code, 0, "{number}: {err}");
            let changed = packs.path("changed");
            std::fs::copy(&entry, &changed).expect("copied");
            append(&changed);
            assert_eq!(judged(&changed).0, 1, "a changed entry {number}");
            checked += 1;
        }
        // The checkpoint beside them is the one in each of them.
        let mut command = Command::new(&judge);
        command.arg("cosigned").arg(folder.join("checkpoint")).arg(&packs.vkey);
        let stranger =
            ledger::cosignature::Cosigner::ed25519(ledger::note::KeyName::parse("x.example").expect("a name"), [3; 32]);
        assert_eq!(run(command.arg(stranger.verifier().to_vkey())).0, 1, "nobody else signed it");
    }
    assert_eq!(checked, 5);
}

/// DSSE by hand: the bytes that are signed put together here, the signature checked by OpenSSL.
#[test]
#[ignore = "make interop"]
fn openssl_accepts_the_signature() {
    let packs = Packs::make();
    for name in ["pack.zip", "other.zip"] {
        let [folder, _] = packs.unpacked(name);
        let bundle = std::fs::read(folder.join("attestation.sigstore.json")).expect("readable");
        let bundle: Value = serde_json::from_slice(&bundle).expect("JSON");
        let bytes = |text: &Value| BASE64_STANDARD.decode(text.as_str().expect("text")).expect("base64");
        let envelope = &bundle["dsseEnvelope"];
        let payload = bytes(&envelope["payload"]);
        let kind = envelope["payloadType"].as_str().expect("text");
        let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        signed.extend(payload);
        std::fs::write(packs.path("signature"), bytes(&envelope["signatures"][0]["sig"])).expect("written");
        let verify = |signed: &[u8]| {
            std::fs::write(packs.path("signed"), signed).expect("written");
            let mut command = Command::new("openssl");
            command.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"]).arg(packs.path("acme.pub"));
            run(command.arg("-in").arg(packs.path("signed")).arg("-sigfile").arg(packs.path("signature"))).0
        };
        assert_eq!(verify(&signed), 0, "{name}");
        signed.push(b' ');
        assert_eq!(verify(&signed), 1, "{name}, one byte more");
    }
}

fn statement(bundle: &Value) -> Value {
    let payload = bundle["dsseEnvelope"]["payload"].as_str().expect("text");
    serde_json::from_slice(&BASE64_STANDARD.decode(payload).expect("base64")).expect("JSON")
}

fn append(file: &Path) {
    let mut bytes = std::fs::read(file).expect("readable");
    bytes.push(b'\n');
    std::fs::write(file, bytes).expect("written");
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}
