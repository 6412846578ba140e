//! Signatures of approvals: told of each one, by the pack's own rule and by a verifier's list, with keys that `ssh-keygen` made.

use std::path::Path;
use std::process::Command;

use evidence::{PackInput, Report, Status, Trust, Verdict};
use ledger::ssh::{AllowedSigners, SshKey};
use projector::approval::{Rule, Rules, Since};
use serde_json::{Value, json};

use crate::world::{Files, World, event, files_of, verify, zipped};

fn ssh_keygen(folder: &Path, args: &[&str]) {
    assert!(Command::new("ssh-keygen").args(args).current_dir(folder).status().unwrap().success());
}

fn key(folder: &Path, name: &str) -> SshKey {
    ssh_keygen(folder, &["-q", "-t", "ed25519", "-N", "", "-f", name]);
    SshKey::parse(&std::fs::read_to_string(folder.join(format!("{name}.pub"))).unwrap()).unwrap()
}

/// The plan of change `a`.
fn plan() -> Vec<u8> {
    event("plan", "a", r#""plan":{"commands":["a"]}"#)
}

/// An approval, signed with a key.
fn signed(folder: &Path, key: &str, members: &Value) -> Value {
    let mut said = json!({
        "v": 1, "origin": "test-ledger/acme", "change": "a", "plan_digest": schemas::plan::digest(&plan()).unwrap(),
        "approver": "bob", "role": "owners", "decision": "approved", "at": "2025-10-09T12:00:00Z",
    });
    for (name, value) in members.as_object().unwrap() {
        said[name] = value.clone();
    }
    let _ = std::fs::remove_file(folder.join("said.sig"));
    std::fs::write(folder.join("said"), serde_json_canonicalizer::to_vec(&said).unwrap()).unwrap();
    ssh_keygen(folder, &["-q", "-Y", "sign", "-f", key, "-n", "upm-approval", "said"]);
    said["signature"] = std::fs::read_to_string(folder.join("said.sig")).unwrap().into();
    said
}

/// A pack of change `a` with these approvals, of a tenant that allows bob's key.
fn pack(bob: &SshKey, approvals: &[Value]) -> (World, Files) {
    let mut world = World::new();
    world.add(&plan());
    world.add(&event("preflight", "a", &format!(r#""preflight":{{"approvals":{}}}"#, json!(approvals))));
    let mut rule = Rule::default();
    rule.signers.insert(bob.fingerprint(), "bob".to_owned());
    let mut input: PackInput = world.input("a");
    input.context.rules = Rules::from_changes(world.origin.as_str(), vec![Since { entry: 0, rule }]);
    let files = files_of(&evidence::plan(&input).unwrap().seal(&world.signer).unwrap());
    (world, files)
}

fn said_of(report: &Report) -> Vec<&str> {
    let head = "events/0000000002-preflight.json, approval ";
    report.says.iter().filter_map(|line| line.strip_prefix(head)).collect()
}

#[test]
fn each_approval_is_told_by_its_signature() {
    let folder = tempfile::tempdir().unwrap();
    let (bob, other) = (key(folder.path(), "bob"), key(folder.path(), "other"));
    let mut moved = signed(folder.path(), "bob", &json!({"change": "b"}));
    moved["change"] = "a".into();
    let approvals = [
        signed(folder.path(), "bob", &json!({})),
        signed(folder.path(), "other", &json!({"approver": "eve"})),
        moved,
        json!({"approver": "carl", "decision": "approved"}),
        json!({"signature": "SSH"}),
    ];
    let (world, files) = pack(&bob, &approvals);
    let report = world.verify(&files);
    assert_eq!(report.verdict, Verdict::Ok, "a signature that does not fit was recorded as such: {report}");
    let print = bob.fingerprint();
    let expect = [
        format!(
            "1: approved by bob as owners: its signature fits, by {print}, which the tenant's rule allows for bob (by pack.json, which the operator states; --allowed-signers takes your list)"
        ),
        format!(
            "2: approved by eve as owners: its signature fits, by {}, which the tenant's rule does NOT allow for eve",
            other.fingerprint()
        ),
        "3: approved by bob as owners: its signature does NOT fit (the signature does not fit key and message)"
            .to_owned(),
        "4: approved by carl: not signed".to_owned(),
        "5: no decision by : its signature does NOT fit (not an SSH signature: not base64 between its marks)"
            .to_owned(),
    ];
    assert_eq!(said_of(&report), expect);
}

#[test]
fn a_verifiers_list_refutes_what_the_pack_takes_for_signed() {
    let folder = tempfile::tempdir().unwrap();
    let (bob, other) = (key(folder.path(), "bob"), key(folder.path(), "other"));
    let good = signed(folder.path(), "bob", &json!({}));
    let by_other = signed(folder.path(), "other", &json!({"approver": "eve"}));
    let (world, files) = pack(&bob, &[good.clone(), by_other.clone()]);
    let with = |world: &World, files: &Files, list: &str| {
        let allowed_signers = Some(AllowedSigners::parse(list).unwrap());
        verify(&zipped(files), &Trust { allowed_signers, ..world.trust() })
    };
    let check = |report: &Report| {
        let check = report.checks.iter().find(|check| check.id == "events.approvals").unwrap();
        (report.verdict, check.status, check.detail.clone())
    };
    let line = format!("bob namespaces=\"upm-approval\" {}", bob.line());
    let report = with(&world, &files, &line);
    assert_eq!(check(&report), (Verdict::Ok, Status::Ok, "1 signed approval".to_owned()));
    assert!(said_of(&report)[0].ends_with("which your list allows for bob"), "{report}");
    assert!(said_of(&report)[1].ends_with("which is NOT on your list for eve"), "the pack does not take it for signed");
    for list in [
        String::new(),
        format!("bob {}", other.line()),
        format!("eve {}", bob.line()),
        format!("bob namespaces=\"git\" {}", bob.line()),
    ] {
        let (verdict, status, detail) = check(&with(&world, &files, &list));
        assert_eq!((verdict, status), (Verdict::Refuted, Status::Refuted), "{list}");
        assert!(detail.contains("NOT on your list for bob"), "{detail}");
    }
    let (world, files) = pack(&bob, &[by_other]);
    assert_eq!(check(&with(&world, &files, "")), (Verdict::Ok, Status::Ok, "none of them is signed".to_owned()));
    assert!(world.verify(&files).checks.iter().all(|check| check.id != "events.approvals"), "nobody asked");
    let many = vec![good; 60];
    let (world, files) = pack(&bob, &many);
    let says = with(&world, &files, &line).says;
    assert_eq!((says.len(), says[50].as_str()), (51, "10 more approvals"));
}
