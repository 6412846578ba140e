//! Policies out of a bundle, as a team publishes them: through the running server, pinned, and what is said of one that is broken.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{ok, run, upm};

use crate::house::{House, approve, event_that, request, verdict};

const NAMES: &str = "package house.names\nimport rego.v1\n\npolicy := {\"id\": \"NAMES-1\"}\n\ndeny contains msg if {\n\tsome r in input.plan.target.resources\n\tsome word in data.house.forbidden\n\tstartswith(r.name, word)\n\tmsg := sprintf(\"%s is no name of ours\", [r.name])\n}\n";

/// What goes wrong only when it is asked.
const DIVIDES: &str = "package house.room\nimport rego.v1\n\ndeny contains msg if {\n\tmsg := sprintf(\"%d\", [count(input.plan.commands) / (count(input.plan.commands) - 1)])\n}\n";

/// A house whose policies are the bundle beside its options.
fn house(policies: &[(&str, &str)], more: &str) -> House {
    let house = House::new(&format!("[policy]\nbundle = \"policies.tar.gz\"\n{more}"));
    pack(house.path(), policies);
    house
}

/// A `tar.gz` of files, by the system's own tar.
fn pack(at: &Path, files: &[(&str, &str)]) {
    let folder = at.join("bundle");
    let _ = std::fs::remove_dir_all(&folder);
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    ok(Command::new("tar").arg("-czf").arg(at.join("policies.tar.gz")).arg("-C").arg(&folder).arg("."));
}

fn sha256(path: &Path) -> String {
    ok(Command::new("sha256sum").arg(path)).split(' ').next().expect("a digest").to_owned()
}

/// The words of a mistake, from `upm work check` (which says no) and `upm serve` (which does not start).
fn refused(house: &House) -> String {
    let (code, out, told) = run(upm(["work", "check"]).arg(house.options()));
    assert_eq!((code, out.as_str()), (1, ""), "{told}");
    let serve = ["serve", "--tenant", "acme", "--workers", &house.options(), "--data"];
    let (code, _, err) = run(upm(serve).arg(house.path().join("never")));
    assert!(code == 2 && err.contains(told.trim()), "{code} {err}\n{told}");
    told
}

#[test]
fn a_bundle_decides_and_is_recorded() {
    let files = [
        ("names.rego", NAMES),
        ("names_test.rego", "not rego at all"),
        ("house/data.json", "{\"forbidden\": [\"tmp\"]}"),
        (".manifest", "{\"revision\": \"7\"}"),
    ];
    let house = house(&files, "");
    let pin = sha256(&house.path().join("policies.tar.gz"));
    let text = std::fs::read_to_string(house.options()).expect("text");
    std::fs::write(house.options(), format!("{text}sha256 = \"{pin}\"\n")).expect("written");
    let told = ok(upm(["work", "check"]).arg(house.options()));
    assert!(told.contains("can be used") && told.contains("house.names"), "{told}");

    let server = house.working();
    request(&server, "c-1", "create area north");
    let waits = verdict(&server, "c-1", "wait");
    let passed = json!([{"name": "NAMES-1", "package": "house.names", "mandatory": true, "ok": true, "decision": "allowed", "message": "nothing against it"}]);
    assert_eq!(waits["preflight"]["policies"], passed);
    let digest = waits["preflight"]["policies_digest"].as_str().expect("a digest").to_owned();
    assert!(digest.starts_with("sha256:"), "{digest}");
    approve(&server, "c-1", "olga", "owner");
    event_that(&server, "c-1", "its end", |event| event["governance"]["closed"] == true);
    assert!(house.land().join("north").exists());

    request(&server, "c-2", "create area tmp1 and area south");
    let halts = verdict(&server, "c-2", "halt");
    let denied = &halts["preflight"]["policies"];
    assert_eq!((&denied[0]["decision"], &denied[0]["message"]), (&json!("denied"), &json!("tmp1 is no name of ours")));
    assert_eq!(halts["preflight"]["policies_digest"], digest.as_str(), "the same policies");
    let (code, _, err) = run(&mut server.upm(&["assert", "c-1", "--requires", "policy", "--tenant", "acme"]));
    assert_eq!(code, 0, "{err}");
    let (code, ..) = run(&mut server.upm(&["assert", "c-2", "--requires", "policy", "--tenant", "acme"]));
    assert_eq!(code, 1);
    assert_eq!(server.stop(), 0);
}

/// Whatever is wrong in a bundle is said before anything is asked, with the file; what goes wrong later is a no, with its reason.
#[test]
fn a_broken_bundle_is_an_error_with_its_reason() {
    let broken = house(&[("rules/names.rego", "package house.names\n\ndeny contains msg if {\n\tmsg := \n}\n")], "");
    let told = refused(&broken);
    assert!(told.contains("rules/names.rego, line 4"), "{told}");

    let other = house(&[("names.rego", NAMES)], &format!("sha256 = \"{}\"\n", "0".repeat(64)));
    let found = sha256(&other.path().join("policies.tar.gz"));
    let told = refused(&other);
    assert!(told.contains(&found) && told.contains("expected 0000"), "{told}");

    let cut = house(&[("names.rego", NAMES)], "");
    let whole = std::fs::read(cut.path().join("policies.tar.gz")).expect("bytes");
    std::fs::write(cut.path().join("policies.tar.gz"), &whole[..whole.len() / 2]).expect("written");
    let told = refused(&cut);
    assert!(told.contains("policies.tar.gz") && told.contains("no tar.gz"), "{told}");

    std::fs::remove_file(cut.path().join("policies.tar.gz")).expect("removed");
    assert!(refused(&cut).contains("policies.tar.gz"));

    let divides = house(&[("room.rego", DIVIDES)], "");
    let server = divides.working();
    request(&server, "c-1", "create area north");
    let halts = verdict(&server, "c-1", "halt");
    let said = &halts["preflight"]["policies"];
    assert_eq!(
        (&said[0]["package"], &said[0]["decision"], &said[0]["ok"]),
        (&json!("house.room"), &json!("failed"), &Value::from(false))
    );
    assert!(
        said[0]["message"].as_str().is_some_and(|text| text.contains("divide by zero") || text.contains("division")),
        "{said}"
    );
    assert!(!divides.land().join("north").exists());
}
