//! The log as it is published: what C2SP tlog-tiles asks of paths, headers and status; proofs of any entry under any checkpoint, over
//! HTTP, on the command line with a server and without; and a log carried away as files.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use upm_tests::{Server, ok, python, run, upm, wait_for};
use ureq::http::Response;
use ureq::{Agent, Body};

/// What a request came back with.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
}

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

fn answer(mut response: Response<Body>) -> Answer {
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned())).collect();
    let status = response.status().as_u16();
    Answer { status, headers, body: response.body_mut().read_to_vec().expect("a body") }
}

fn get(server: &Server, path: &str, known: Option<&str>) -> Answer {
    let mut request = agent().get(format!("{}{path}", server.http()));
    if let Some(known) = known {
        request = request.header("if-none-match", known);
    }
    answer(request.call().expect("the server answers"))
}

fn event(tenant: &str, number: u64, command: &str) -> String {
    json!({"provisioning_event": {
        "id": format!("e-{}", number % 5), "change_id": format!("c-{number}"), "timestamp": "2026-01-02T03:04:05Z", "phase": "plan",
        "intent": {"source": "api", "initiator": "jane", "tenant": tenant}, "plan": {"commands": [command]},
    }})
    .to_string()
}

/// A server whose tenant acme has entry 0, `events` events in rounds of their own sizes, and the events.
fn grown(folder: &Path, events: u64) -> (Server, Vec<String>) {
    let server = Server::start(&folder.join("data"), &["--tenant", "acme"]);
    let events: Vec<String> = (0..events).map(|number| event("acme", number, "true")).collect();
    // The first one alone, so that there are several checkpoints.
    for part in [&events[..1], &events[1..]] {
        let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", part.join("\n").as_bytes());
        assert_eq!(status, 200, "{body}");
    }
    (server, events)
}

fn sizes(server: &Server) -> Vec<u64> {
    let answer = server.json("/logs/acme/checkpoints");
    answer["sizes"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect()
}

#[test]
fn headers_and_refusals_are_those_of_the_specification() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, events) = grown(folder.path(), 300);
    let size = *sizes(&server).last().expect("a signed size");
    assert!(size > events.len() as u64, "{size}");
    let partial = size - 256;

    let newest = get(&server, "/logs/acme/checkpoint", None);
    assert_eq!((newest.status, newest.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert_eq!(newest.header("cache-control"), "no-cache");
    for path in [
        "tile/0/000".to_owned(),
        format!("tile/0/001.p/{partial}"),
        "tile/0/000.p/7".to_owned(),
        "tile/1/000.p/1".to_owned(),
        "tile/entries/000".to_owned(),
        format!("tile/entries/001.p/{partial}"),
    ] {
        let path = format!("/logs/acme/{path}");
        let found = get(&server, &path, None);
        assert_eq!((found.status, found.header("content-type")), (200, "application/octet-stream"), "{path}");
        assert_eq!(found.header("cache-control"), "max-age=31536000, immutable", "{path}");
        let known = get(&server, &path, Some(found.header("etag")));
        assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, found.header("etag")), "{path}");
        let head = answer(agent().head(format!("{}{path}", server.http())).call().expect("the server answers"));
        assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, found.header("etag")), "{path}");
        assert_eq!(head.header("content-length"), found.body.len().to_string(), "{path}");
    }
    assert_eq!(get(&server, "/logs/acme/tile/0/000", None).body.len(), 8_192);
    assert_eq!(get(&server, "/logs/_ledger/tile/0/000.p/1", None).body.len(), 32);

    let beyond = partial + 1;
    for path in [
        format!("tile/0/001.p/{beyond}"),
        "tile/0/001".to_owned(),
        "tile/0/002.p/1".to_owned(),
        "tile/1/000.p/2".to_owned(),
        "tile/1/000".to_owned(),
        "tile/2/000.p/1".to_owned(),
        "tile/63/000".to_owned(),
        "tile/entries/001".to_owned(),
        "tile/0/000.p/0".to_owned(),
        "tile/0/000.p/256".to_owned(),
        "tile/0/000.p/01".to_owned(),
        "tile/00/000".to_owned(),
        "tile/0/0000".to_owned(),
        "tile/0/0".to_owned(),
        "tile/0/x000/000".to_owned(),
        "tile/0/%30%30%30".to_owned(),
        "tile/64/000".to_owned(),
        "tile/data/000".to_owned(),
        "checkpoint/999999".to_owned(),
        "checkpoint/0".to_owned(),
        "tile/".to_owned(),
        "tile".to_owned(),
    ] {
        let refused = get(&server, &format!("/logs/acme/{path}"), None);
        assert_eq!(refused.status, 404, "{path}: {}", String::from_utf8_lossy(&refused.body));
        assert_eq!(refused.header("cache-control"), "no-store", "{path}: it may be there the next moment");
    }
    assert_eq!(get(&server, "/logs/nobody/tile/0/000", None).status, 404);
    assert_eq!(get(&server, "/logs/nobody/checkpoint", None).status, 404);
}

#[test]
fn every_old_checkpoint_is_there_by_its_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, _) = grown(folder.path(), 40);
    let sizes = sizes(&server);
    assert!(sizes.len() >= 3, "{sizes:?}");
    for size in &sizes {
        let (status, note) = server.get(&format!("/logs/acme/checkpoint/{size}"));
        assert_eq!((status, note.lines().nth(1)), (200, Some(size.to_string().as_str())));
        assert_eq!(ok(&mut server.upm(&["log", "checkpoint", "--tenant", "acme", "--size", &size.to_string()])), note);
    }
    for (query, size) in [(String::new(), sizes[sizes.len() - 1]), (format!("?size={}", sizes[1]), sizes[1])] {
        // Entry 0 has no payload; its receipt proves the entry alone.
        for index in [0, 1] {
            let (status, receipt) = server.get(&format!("/v1/tenants/acme/events/{index}/receipt{query}"));
            assert_eq!((status, receipt.lines().any(|line| line == size.to_string())), (200, true), "{receipt}");
        }
    }
    assert_eq!(server.get("/v1/tenants/acme/events/1/receipt?size=1").0, 404);
    assert_eq!(server.get("/v1/tenants/acme/events/99/receipt").0, 404);
    let page = server.json("/logs/acme/checkpoints?limit=1");
    assert_eq!((&page["sizes"], &page["next"]), (&json!([sizes[0]]), &json!(sizes[1])));
    let (status, body) = server.get(&format!("/logs/acme/checkpoint/{}", sizes[1] + 1));
    if !sizes.contains(&(sizes[1] + 1)) {
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &problem["next"]), (404, &json!(sizes[2])), "the next one is named");
    }
}

/// Files that the checks below share.
struct Files {
    folder: PathBuf,
    key: PathBuf,
}

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn verify(&self, receipt: &str, event: &str) -> i32 {
        let (receipt, event) = (self.write("receipt", receipt), self.write("event.json", event));
        let (code, out, err) = run(upm(["verify"]).arg(receipt).arg("--event").arg(event).arg("--key").arg(&self.key));
        assert!(code != 2, "{out}{err}");
        code
    }
}

#[test]
fn an_entry_is_proved_by_index_id_or_its_own_bytes_with_a_server_and_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, events) = grown(folder.path(), 12);
    let secret = event("acme", 99, "deploy --password=hunter2");
    let (status, body) = server.post("/v1/tenants/acme/events", "application/json", secret.as_bytes());
    assert_eq!(status, 200, "{body}");
    let files = Files { folder: folder.path().to_owned(), key: folder.path().join("acme.vkey") };
    std::fs::write(&files.key, server.vkey("acme")).expect("written");
    let data = server.data().to_owned();

    let asked = |upm: &dyn Fn(&[&str]) -> std::process::Command| {
        let mut told = String::new();
        // Of old entries, under the newest checkpoint and under one that is as old.
        let first = ok(&mut upm(&["log", "proof", "1", "--tenant", "acme"]));
        assert_eq!((files.verify(&first, &events[0]), files.verify(&first, &events[1])), (0, 1));
        let then = ok(&mut upm(&["log", "proof", "1", "--tenant", "acme", "--size", "2"]));
        assert!(then.lines().any(|line| line == "2") && !first.lines().any(|line| line == "2"), "{then}");
        assert_eq!(files.verify(&then, &events[0]), 0);
        told += &(first + &then);
        // Ids are not unique: e-3 is of the 4th and the 9th event.
        let all = ok(&mut upm(&["log", "proof", "--event", "e-3", "--tenant", "acme", "--json"]));
        let all: Value = serde_json::from_str(&all).expect("JSON");
        let indices: Vec<u64> =
            all["proofs"].as_array().expect("a list").iter().filter_map(|p| p["index"].as_u64()).collect();
        assert_eq!(indices, [4, 9]);
        for (proof, event) in all["proofs"].as_array().expect("a list").iter().zip([&events[3], &events[8]]) {
            assert_eq!(files.verify(proof["proof"].as_str().expect("text"), event), 0);
        }
        // By its own bytes: as they were sent, masked or not; the event names its tenant.
        for event in [&events[7], &secret] {
            let file = files.write("sent.json", event);
            let proof = ok(upm(&["log", "proof", "--file"]).arg(file));
            assert_eq!(files.verify(&proof, event), 0);
            told += &proof;
        }
        let stranger = files.write("sent.json", &events[7].replace("true", "false"));
        let (code, _, err) = run(upm(&["log", "proof", "--file"]).arg(stranger));
        assert_eq!(code, 1, "{err}");
        for (arguments, code) in [
            (&["log", "proof", "77", "--tenant", "acme"][..], 1),
            (&["log", "proof", "--event", "nobody", "--tenant", "acme"], 1),
            (&["log", "proof", "--tenant", "acme"], 2),
            (&["log", "proof", "1", "--tenant", "acme", "--size", "1"], 1),
            (&["log", "checkpoint", "--tenant", "acme", "--size", "77"], 1),
            (&["log", "consistency", "77", "--tenant", "acme"], 1),
            (&["log", "consistency", "5", "2", "--tenant", "acme"], 1),
            (&["log", "entries", "77", "--tenant", "acme"], 1),
            (&["log", "entries", "2", "2", "--tenant", "acme"], 1),
        ] {
            let (found, out, err) = run(&mut upm(arguments));
            assert_eq!(found, code, "{arguments:?}: {out}{err}");
        }
        for (arguments, expected) in [
            (&["log", "consistency", "1501", "5"][..], "from 1501 to 5: the first size must not be the greater one"),
            (&["log", "entries", "18446744073709551615"], "there is no entry 18446744073709551615 yet; the log has"),
            (
                &["log", "entries", "0", "18446744073709551615"],
                "there is no entry 18446744073709551614 yet; the log has",
            ),
            (&["log", "proof", "--file", "/dev/zero"], "more than 67108864 bytes"),
        ] {
            let (code, _, err) = run(upm(arguments).args(["--tenant", "acme"]));
            assert!(code != 0 && err.contains(expected), "{arguments:?}: {code} {err}");
        }
        told += &ok(&mut upm(&["log", "proof", "0", "--ledger"]));
        told += &ok(&mut upm(&["log", "entries", "0", "13", "--tenant", "acme"]));
        told += &ok(&mut upm(&["log", "checkpoint", "--list", "--tenant", "acme"]));
        told
    };
    wait_for("the views to hold all events", || {
        let found = server.json("/v1/tenants/acme/proofs/inclusion?event=e-4");
        (found["proofs"].as_array()?.len() == 3).then_some(())
    });
    let online = asked(&|arguments| server.upm(arguments));

    // What grew is proved to whoever kept a checkpoint.
    let known = files.write("known", &ok(&mut server.upm(&["log", "checkpoint", "--tenant", "acme", "--size", "2"])));
    let grew = files.write("grew", &ok(&mut server.upm(&["log", "consistency", "2", "--tenant", "acme"])));
    let receipt = files.write("receipt", &ok(&mut server.upm(&["log", "proof", "5", "--tenant", "acme"])));
    let event = files.write("event.json", &events[4]);
    let mut verify = upm(["verify", "--require", "kept-checkpoint"]);
    verify.arg(receipt).arg("--event").arg(event).arg("--key").arg(&files.key);
    let told = ok(verify.arg("--known-checkpoint").arg(known).arg("--consistency").arg(grew));
    assert!(told.contains("trust reaches: kept checkpoint"), "{told}");

    assert_eq!(server.stop(), 0);
    let offline = asked(&|arguments| {
        let mut command = upm(arguments);
        command.env("UPM_DATA", &data);
        command
    });
    assert_eq!(online, offline, "the store says what the server said");
}

/// Three events that differ in a secret alone are the same bytes once it is masked: each proves its own entry, not the others'.
#[test]
fn own_bytes_prove_the_entry_that_was_made_from_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, _) = grown(folder.path(), 2);
    let sent: Vec<String> = (0..3).map(|at| event("acme", 50, &format!("deploy --password=hunter{at}"))).collect();
    for event in &sent {
        let (status, body) = server.post("/v1/tenants/acme/events", "application/json", event.as_bytes());
        assert_eq!(status, 200, "{body}");
    }
    let head = server.json("/v1/tenants/acme/governance")["size"].as_u64().expect("a size");
    let mine: Vec<u64> = (head - 3..head).collect();
    let stored = server.json(&format!("/v1/tenants/acme/events/{}", mine[0]));
    let stored = STANDARD.decode(stored["payload"].as_str().expect("a payload")).expect("base64");
    let ask = |bytes: &[u8], query: &str| {
        let (status, body) =
            server.post(&format!("/v1/tenants/acme/proofs/inclusion{query}"), "application/json", bytes);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        (status, body)
    };
    let told = |body: &Value| -> Vec<(u64, String)> {
        let proofs = body["proofs"].as_array().expect("a list").iter();
        proofs
            .map(|proof| (proof["index"].as_u64().expect("an index"), proof["holds"].as_str().expect("how").to_owned()))
            .collect()
    };
    for (event, index) in sent.iter().zip(&mine) {
        let (status, body) = ask(event.as_bytes(), "");
        assert_eq!((status, told(&body)), (200, vec![(*index, "sent".to_owned())]), "{body}");
    }
    // What is kept of them is the same of all three, and told as such, a page at a time.
    let kept = |index: u64| (index, "stored".to_owned());
    let (_, first) = ask(&stored, "?limit=2");
    assert_eq!((told(&first), &first["next"]), (vec![kept(mine[0]), kept(mine[1])], &json!(mine[2])));
    let (_, rest) = ask(&stored, &format!("?limit=2&from={}", mine[2]));
    assert_eq!((told(&rest), &rest["next"]), (vec![kept(mine[2])], &Value::Null));
    // Bytes that nobody sent, though masked they are the same.
    let stranger = event("acme", 50, "deploy --password=hunter9");
    assert_eq!(ask(stranger.as_bytes(), "").0, 404);

    let file = folder.path().join("sent.json");
    std::fs::write(&file, &sent[1]).expect("written");
    let online = ok(server.upm(&["log", "proof", "--json", "--file"]).arg(&file));
    let data = server.data().to_owned();
    assert_eq!(server.stop(), 0);
    let offline = |arguments: &[&str]| run(upm(arguments).arg(&file).env("UPM_DATA", &data));
    assert_eq!(offline(&["log", "proof", "--json", "--file"]), (0, online, String::new()));
    // Without the tenant's key nobody can tell them apart, and that is said of each.
    std::fs::rename(data.join("keys/acme.dedupe"), folder.path().join("acme.dedupe")).expect("taken away");
    let (code, out, err) = offline(&["log", "proof", "--json", "--file"]);
    let body: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, told(&body)), (0, mine.iter().map(|index| (*index, "masked".to_owned())).collect()));
    assert_eq!(err.matches("only the tenant's dedupe key tells").count(), 3, "{err}");
}

#[test]
fn a_log_is_carried_away_as_files_while_it_grows() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, _) = grown(folder.path(), 20);
    let dir = folder.path().join("www/acme");
    let export = |tenant: &str| run(server.upm(&["log", "export", "--tenant", tenant, "--json"]).arg(&dir));
    let (code, out, err) = export("acme");
    assert_eq!(code, 0, "{err}");
    let first: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&first["from"], first["size"].as_u64() >= Some(21)), (&Value::Null, true), "{first}");
    let (status, _) = server.post("/v1/tenants/acme/events", "application/json", event("acme", 500, "true").as_bytes());
    assert_eq!(status, 200);
    let second: Value = serde_json::from_str(&export("acme").1).expect("JSON");
    assert_eq!((&second["from"], &second["files"]), (&first["size"], &json!(2)), "{second}");
    let size = second["size"].as_u64().expect("a number");
    for path in ["checkpoint".to_owned(), format!("tile/0/000.p/{size}"), format!("tile/entries/000.p/{size}")] {
        let published = get(&server, &format!("/logs/acme/{path}"), None).body;
        assert_eq!(std::fs::read(dir.join(&path)).expect("readable"), published, "{path}");
    }
    let third: Value = serde_json::from_str(&export("acme").1).expect("JSON");
    assert_eq!((&third["files"], &third["bytes"]), (&json!(0), &json!(0)));

    // What lies there is compared with the checkpoint when that is asked for.
    let tile = dir.join(format!("tile/0/000.p/{size}"));
    let kept = std::fs::read(&tile).expect("readable");
    ok(server.upm(&["log", "export", "--tenant", "acme", "--check"]).arg(&dir));
    std::fs::write(&tile, &kept[1..]).expect("written");
    let (code, _, err) = run(server.upm(&["log", "export", "--tenant", "acme", "--check"]).arg(&dir));
    assert!(code == 1 && err.contains("is damaged"), "{err}");
    std::fs::write(&tile, kept).expect("written");

    // Another log does not go over it, and a key that did not sign exports nothing.
    ok(&mut server.upm(&["tenant", "add", "globex"]));
    let (code, _, err) = export("globex");
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("name another directory"), "{err}");
    let key = ok(&mut server.upm(&["keys", "show", "--tenant", "globex", "--vkey"]));
    let (code, _, err) = run(server.upm(&["log", "export", "--tenant", "acme", "--key", key.trim()]).arg(&dir));
    assert_eq!(code, 1, "{err}");
    let key = ok(&mut server.upm(&["keys", "show", "--tenant", "acme", "--vkey"]));
    ok(server.upm(&["log", "export", "--tenant", "acme", "--key", key.trim()]).arg(&dir));
}

/// `read_log.py` was written from `docs/log-format.md` and shares no code with the project.
#[test]
fn a_stranger_reads_a_log_by_its_documentation() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, events) = grown(folder.path(), 600);
    let secret = event("acme", 7, "deploy --password=hunter2");
    for bad in [secret.as_bytes(), br#"{"provisioning_event":{}}"#] {
        server.post("/v1/tenants/acme/events", "application/json", bad);
    }
    let (dir, vkey) = (folder.path().join("acme"), server.vkey("acme").to_owned());
    let told: Value = serde_json::from_str(&ok(server.upm(&["log", "export", "--tenant", "acme", "--json"]).arg(&dir)))
        .expect("JSON");
    let files = Files { folder: folder.path().to_owned(), key: folder.path().join("unused") };
    let sent = [files.write("plain.json", &events[9]), files.write("secret.json", &secret)];
    let receipts = sent.each_ref().map(|event| {
        let receipt = ok(server.upm(&["log", "proof", "--file"]).arg(event));
        files.write(&format!("{}.tlog-proof", event.file_name().expect("a name").display()), &receipt)
    });
    let read = || {
        let mut command = python("read_log.py");
        command.arg(&dir).arg(&vkey);
        command.args(receipts.iter().zip(&sent).flat_map(|(receipt, event)| [receipt, event]));
        run(&mut command)
    };
    let (code, out, err) = read();
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found["size"], told["size"]);
    assert_eq!(
        (&found["kinds"]["event"], &found["kinds"]["rejection"], &found["kinds"]["first"]),
        (&json!(601), &json!(1), &json!(1))
    );
    assert_eq!(found["changes"], 600, "change c-7 has two events: {found}");
    assert_eq!(found["receipts"][0], 10);

    let own = folder.path().join("_ledger");
    ok(server.upm(&["log", "export", "--ledger"]).arg(&own));
    let printed = ok(python("read_log.py").arg(&own).arg(server.vkey("_ledger")));
    let found: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((&found["kinds"]["first"], &found["kinds"]["control"]), (&json!(1), &json!(1)), "{found}");

    // And it notices what is not so.
    for file in ["tile/entries/001", "tile/0/000", "checkpoint"] {
        let path = dir.join(file);
        let kept = std::fs::read(&path).expect("readable");
        let mut bytes = kept.clone();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        let (code, ..) = read();
        assert_eq!(code, 1, "a flipped bit in {file}");
        std::fs::write(&path, kept).expect("written");
    }
    std::fs::write(&sent[0], &events[10]).expect("written");
    let (code, _, err) = read();
    assert!(code == 1 && err.contains("commits to another payload"), "{err}");
}

/// What docs/log-format.md says of the bytes of an act, and of how `events/<index>` writes an entry.
#[test]
fn an_act_is_what_the_page_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, _) = grown(folder.path(), 2);
    ok(&mut server.upm(&["hold", "add", "case-1", "--all", "--reason", "litigation", "--tenant", "acme"]));
    let entry = server.json("/v1/tenants/acme/events/3");
    let bytes = |member: &str| STANDARD.decode(entry[member].as_str().expect("text")).expect("base64");
    assert_eq!((&entry["index"], &entry["kind"], entry.get("event")), (&json!(3), &json!("control"), None), "{entry}");
    assert_eq!(serde_json::from_slice::<Value>(&bytes("entry")).expect("JSON"), entry["header"]);
    let salt = hex::decode(entry["salt"].as_str().expect("text")).expect("hex");
    let payload = bytes("payload");
    let commit = hex::encode(Sha256::new().chain_update(&salt).chain_update(&payload).finalize());
    let body = &entry["header"]["body"];
    assert_eq!((salt.len(), &body["commit"], &body["size"]), (16, &json!(commit), &json!(payload.len())), "{entry}");
    let message: Value = serde_json::from_slice(&payload).expect("JSON");
    let members: Vec<&String> = message.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["act", "listing", "salt"], "{message}");
    // The first entry of the ledger's own log: there is no road, and no stream that was created.
    let bundle = get(&server, "/logs/_ledger/tile/entries/000.p/1", None).body;
    let (length, first) = bundle.split_first_chunk::<2>().expect("a length");
    assert_eq!(usize::from(u16::from_be_bytes(*length)), first.len());
    let first: Value = serde_json::from_slice(first).expect("JSON");
    assert_eq!((&first["kind"], first["body"].get("stream_created")), (&json!("first"), None), "{first}");
    assert_eq!(server.stop(), 0);
}
