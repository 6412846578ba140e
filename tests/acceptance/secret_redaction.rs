//! "Secret redaction — tokens/Authorization headers masked in echoes/logs."

use std::path::Path;

use serde_json::Value;
use upm_tests::{Server, ok};

use crate::house::{Worker, approve, events, version};
use crate::workshop::{add_tool, planned_elsewhere, step_over, verdict_on_own_plan, workshop_with};

/// By shape.
const BEARER: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
/// By its name.
const PASSWORD: &str = "hunter2hunter2";
/// By nothing but that it was handed over as a credential.
const HANDED: &str = "correct-horse-battery-staple";

#[test]
fn secret_redaction() {
    let options = "[[execute.credentials]]\nname = \"vault\"\nprograms = [\"printenv\"]\nprogram = [\"./helper\"]\nmost_ttl_s = 60\n";
    let tools = format!(
        "\n[tools.printenv]\nprogram = \"printenv\"\nversion = \"{}\"\nversion_check = [\"--version\"]\n\n[tools.cat]\nprogram = \"cat\"\nversion = \"{}\"\nversion_check = [\"--version\"]\n",
        version("printenv"),
        version("cat")
    );
    let house = workshop_with(options, &tools);
    add_tool(
        &house,
        "../helper",
        &format!("#!/bin/sh\necho '{{\"environment\": {{\"SESSION\": \"{HANDED}\"}}, \"ttl_s\": 60}}'\n"),
    );
    // Echoed headers, and a log that is too long for an event, with secrets at both ends and in the part that is left out.
    let header = house.path().join("header").display().to_string();
    std::fs::write(&header, format!("> GET / HTTP/1.1\n> Authorization: Bearer {BEARER}\n< 200\n")).expect("written");
    let filler = (0..30_000).map(|number| format!("line {number}")).collect::<Vec<_>>().join("\n") + "\n";
    let line = format!("password={PASSWORD} Authorization: Bearer {BEARER}\n");
    let long = house.path().join("long").display().to_string();
    std::fs::write(&long, format!("{line}{filler}{line}{filler}{line}")).expect("written");

    let server = house.idle();
    let worker = Worker::start(&house, &server, "all");
    planned_elsewhere(&server, "c-1", &[&format!("cat {header}"), "printenv SESSION", &format!("cat {long}")]);
    verdict_on_own_plan(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    let echoed = step_over(&server, "c-1", "command 1");
    assert!(
        echoed["stdout"]
            .as_str()
            .is_some_and(|text| text.starts_with("> GET / HTTP/1.1\n> Authorization: ") && text.contains("[masked:")),
        "{echoed}"
    );
    let handed = step_over(&server, "c-1", "command 2");
    assert_eq!(handed["stdout"], "[masked:credential]\n", "{handed}");
    let execution =
        events(&server, "c-1").into_iter().find(|event| event["execution"]["steps"][0]["id"] == "command 2");
    let credentials = execution.expect("an event")["execution"]["credentials"].clone();
    assert_eq!(
        credentials,
        serde_json::json!({"kind": "vault", "ttl_s": 60}),
        "their kind, and how long they are good"
    );
    let truncated = step_over(&server, "c-1", "command 3");
    let digest =
        truncated["stdout_ref"].as_str().and_then(|text| text.rsplit(':').next()).expect("a reference").to_owned();
    let object = server.data().join("objects/acme").join(&digest[..2]).join(&digest);
    let kept = upm_tests::wait_for("the whole log", || std::fs::read_to_string(&object).ok());
    assert_eq!(kept.matches("[masked:").count(), 6, "three lines with two secrets each");
    assert!(kept.contains("line 29999\n"));

    // A secret on a command line is none that can be approved.
    planned_elsewhere(&server, "c-2", &[&format!("seq 1 3 | grep 'Authorization: Bearer {BEARER}'")]);
    let halts = verdict_on_own_plan(&server, "c-2", "halt");
    assert!(halts["preflight"]["checks"].to_string().contains("of which a secret was masked"), "{halts}");

    let pack = house.path().join("c-1.zip").display().to_string();
    ok(&mut server.upm(&["pack", "c-1", "--tenant", "acme", "-o", &pack]));
    ok(&mut server.upm(&["verify", &pack, "--key", server.vkey("acme")]));
    let unpacked = house.path().join("unpacked");
    ok(std::process::Command::new("unzip").args(["-q", "-d"]).arg(&unpacked).arg(&pack));
    drop(worker);
    let http = everything_told(&server, "c-1");
    server.stop();
    for secret in [BEARER, PASSWORD, HANDED] {
        assert!(!http.contains(secret), "{secret} is told over HTTP");
        // Views, logs, packs, the workers' own directories; the road is encrypted.
        for place in ["unpacked", "data", "data.log", "work.log"] {
            assert_eq!(found(&house.path().join(place), secret), Vec::<String>::new(), "{secret}");
        }
    }
}

fn everything_told(server: &Server, change: &str) -> String {
    let mut told = server.get(&format!("/v1/tenants/acme/changes/{change}")).1;
    told.push_str(&Value::from(events(server, change)).to_string());
    told.push_str(&ok(&mut server.upm(&["change", "show", change, "--tenant", "acme"])));
    told
}

/// Files that hold a text.
fn found(path: &Path, text: &str) -> Vec<String> {
    if path.is_dir() {
        let inside = std::fs::read_dir(path).expect("a directory").flatten();
        return inside.flat_map(|entry| found(&entry.path(), text)).collect();
    }
    let bytes = std::fs::read(path).unwrap_or_default();
    let holds = bytes.windows(text.len()).any(|window| window == text.as_bytes());
    if holds { vec![path.display().to_string()] } else { Vec::new() }
}
