//! Debian's chromium opens reports as an auditor does: out of the example packs, and as a server shows them. `tests/browser/report.mjs` says
//! what it holds them to.

use std::path::Path;
use std::process::Command;

use upm_tests::{Server, ok, project, run};

use super::judge;

/// Runs the browser over pages (name and URL); screenshots go to the target directory's `browser/`.
fn held(pages: &[(&str, String)]) {
    // An absolute path stays what it is when joined to the folder of tools.
    let chromium = judge("CHROMIUM", "/usr/bin/chromium");
    let shots = project().join("target/browser");
    std::fs::create_dir_all(&shots).expect("a folder for screenshots");
    let mut node = Command::new("node");
    node.env("BROWSER_TOOLS", judge("BROWSER_TOOLS", "browser-1.65.1"))
        .arg(project().join("tests/browser/report.mjs"))
        .args([&chromium, &shots])
        .args(pages.iter().map(|(name, url)| format!("{name}={url}")));
    let (code, out, err) = run(&mut node);
    assert_eq!(code, 0, "{out}{err}");
}

fn unpacked(zip: &Path, folder: &Path) -> String {
    ok(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(zip).arg(folder));
    format!("file://{}/index.html", folder.display())
}

#[test]
#[ignore = "make interop"]
fn holds_the_reports_of_the_example_packs() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = ["one-event", "rolled-back", "harmful"].map(|name| {
        let zip = project().join("docs/examples").join(format!("{name}.zip"));
        (name, unpacked(&zip, &folder.path().join(name)))
    });
    held(&pages);
}

/// A change whose texts are markup, escapes and a megabyte of letters, through the real server: its page, and its pack's.
#[test]
#[ignore = "make interop"]
fn holds_the_page_of_a_served_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    let events = folder.path().join("events.ndjson");
    let harm = r"<script>window.owned=1</script></td><img src=x onerror=window.owned=1>\u001b[2J\u202egnp.exe\u200b";
    let intent = format!(
        r#""timestamp":"2025-10-09T12:00:00Z","intent":{{"request":"{harm}","source":"{harm}","initiator":"{harm}","tenant":"acme"}}"#
    );
    let long = "A".repeat(900_000);
    let lines = [
        format!(
            r#"{{"provisioning_event":{{"id":"h-1","change_id":"h","phase":"plan",{intent},"plan":{{"commands":["{harm}"]}}}}}}"#
        ),
        format!(
            r#"{{"provisioning_event":{{"id":"h-2","change_id":"h","phase":"execute",{intent},"execution":{{"steps":[{{"cmd":"{long}","rc":1,"stdout":"{harm}"}}]}}}}}}"#
        ),
    ];
    std::fs::write(&events, lines.join("\n") + "\n").expect("written");
    ok(server.upm(&["emit", "--wait"]).arg(&events));
    let pack = folder.path().join("pack.zip");
    ok(server.upm(&["pack", "h", "--tenant", "acme", "-o"]).arg(&pack));
    held(&[
        ("served", format!("{}/tenants/acme/changes/h/", server.http())),
        ("packed", unpacked(&pack, &folder.path().join("unpacked"))),
    ]);
}
