//! "TLS fallback — certificate error triggers one retry with `--insecure-skip-tls-verify` (logged)." The option is the tool's own; here curl's `--insecure`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, wait_for};

use crate::house::{House, Worker, event_that, events, version};
use crate::workshop::{approved, lines, step_over, workshop_with};

/// A real HTTPS server, whose certificate nobody knows.
struct Https {
    child: Child,
    port: u16,
    log: std::path::PathBuf,
}

impl Https {
    /// Over a folder, with a certificate of its own in `at`. With `client_ca` it lets in only who has a certificate of that.
    fn start(at: &Path, folder: &Path, client_ca: Option<&Path>) -> Self {
        let log = at.join("https.log");
        let mut command = Command::new("python3");
        command.arg(upm_tests::project().join("tests/python/tls_server.py")).arg(folder);
        command.args([at.join("server.pem"), at.join("server.key")]).args(client_ca);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("python3 starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut port = String::new();
        said.read_line(&mut port).expect("its port");
        let into = log.clone();
        std::thread::spawn(move || {
            let mut file = std::fs::File::create(into).expect("a log");
            let _ = std::io::copy(&mut said, &mut file);
        });
        Self { child, port: port.trim().parse().expect("a port"), log }
    }

    /// Waits until these requests came through the handshake, and no others.
    fn until(&self, expect: &[&str]) {
        wait_for(&format!("the server to have had {expect:?}"), || (self.requests() == expect).then_some(()));
    }

    /// Requests that came through the handshake.
    fn requests(&self) -> Vec<String> {
        lines(&self.log)
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for localhost, signed by itself.
fn certificate(at: &Path, name: &str, subject: &str) {
    let path = |end: &str| at.join(format!("{name}.{end}")).display().to_string();
    let (key, pem) = (path("key"), path("pem"));
    let made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        subject,
        "-addext",
        "subjectAltName=DNS:localhost",
    ];
    ok(Command::new("openssl").args(made).args(["-keyout", &key, "-out", &pem]).stderr(Stdio::null()));
}

/// Pages are put by curl; whether one is there is looked at on the server's disk.
fn catalogue(port: u16, pages: &Path) -> String {
    let pages = pages.display();
    format!(
        r#"
[tools.curl]
program = "curl"
version = "{version}"
version_check = ["--version"]

[tools.curl.tls_fallback]
says = ["SSL certificate problem"]
options = ["--insecure"]

[tools.curl.refused_options]
"--insecure" = "it is for the one retry after a certificate error, never for a plan"
"-k" = "it is for the one retry after a certificate error, never for a plan"

[types.page]
title = "page"
words = ["page"]
create = ["curl", "--silent", "--show-error", "--fail", "--request", "PUT", "--data", "hello", "https://localhost:{port}/{{name}}"]
exists = {{ command = ["ls", "-d", "{pages}/{{name}}"], absent_code = 2 }}
read_back = ["ls", "-l", "{pages}/{{name}}"]
delete = ["curl", "--silent", "--show-error", "--fail", "--request", "DELETE", "https://localhost:{port}/{{name}}"]

[types.page.fields]
name = {{ pattern = "[a-z][a-z0-9-]*" }}

[types.sheet]
title = "page that is looked at where everybody reads it"
words = ["sheet"]
create = ["curl", "--silent", "--show-error", "--fail", "--request", "PUT", "--data", "hello", "https://localhost:{port}/{{name}}"]
exists = {{ command = ["curl", "--silent", "--show-error", "--fail", "https://localhost:{port}/{{name}}"], absent_says = "404" }}
read_back = ["curl", "--silent", "--show-error", "--fail", "--max-time", "20", "https://localhost:{port}/{{name}}"]
delete = ["curl", "--silent", "--show-error", "--fail", "--request", "DELETE", "https://localhost:{port}/{{name}}"]

[types.sheet.fields]
name = {{ pattern = "[a-z][a-z0-9-]*" }}

[types.shelf]
title = "folder that only the server removes"
words = ["shelf"]
create = ["mkdir", "{pages}/{{name}}"]
exists = {{ command = ["ls", "-d", "{pages}/{{name}}"], absent_code = 2 }}
read_back = ["ls", "-ld", "{pages}/{{name}}"]
delete = ["curl", "--silent", "--show-error", "--fail", "--request", "DELETE", "https://localhost:{port}/{{name}}"]

[types.shelf.fields]
name = {{ pattern = "[a-z][a-z0-9-]*" }}
"#,
        version = version("curl")
    )
}

fn house_with(options: &str, client_ca: bool) -> (House, Https) {
    let house = workshop_with(options, "");
    let pages = house.path().join("pages");
    std::fs::create_dir(&pages).expect("made");
    certificate(house.path(), "server", "/CN=localhost");
    certificate(house.path(), "client", "/CN=upm");
    let ca = house.path().join("client.pem");
    let https = Https::start(house.path(), &pages, client_ca.then_some(ca.as_path()));
    let path = house.path().join("tools.toml");
    let text = std::fs::read_to_string(&path).expect("text") + &catalogue(https.port, &pages);
    std::fs::write(path, text).expect("written");
    (house, https)
}

#[test]
fn tls_fallback() {
    let (house, https) = house_with("", false);
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create page a");
    let done = step_over(&server, "c-1", "page/a");
    assert_eq!((&done["rc"], &done["try"], &done["tls_verified"]), (&json!(0), &json!(2), &json!(false)), "{done}");
    assert!(done["cmd"].as_str().is_some_and(|line| line.starts_with("curl --insecure --silent ")), "{done}");
    assert_eq!(std::fs::read_to_string(house.path().join("pages/a")).expect("the page"), "hello");
    assert_eq!(https.requests(), ["request PUT /a"], "one came through");

    // Logged: the certificate's error, the one retry, and that it was one.
    let all = events(&server, "c-1");
    let tried: Vec<&Value> =
        all.iter().map(|event| &event["execution"]["tried"]).filter(|tried| tried.is_object()).collect();
    let [refused] = tried[..] else { panic!("one try before: {tried:?}") };
    assert_eq!((&refused["class"], &refused["next"]), (&json!("certificate"), &json!("without checking certificates")));
    assert!(refused["stderr"].as_str().is_some_and(|text| text.contains("SSL certificate problem")), "{refused}");
    let trace: Vec<String> = all.iter().map(|event| event["audit_trace"][0]["msg"].to_string()).collect();
    assert!(trace.iter().any(|line| line.contains("tried once more without checking certificates")), "{trace:?}");
    let anomaly = wait_for("the anomaly", || {
        let shown = server.json("/v1/tenants/acme/changes/c-1");
        let all = shown["anomalies"].as_array()?.clone();
        all.into_iter().find(|anomaly| anomaly["code"] == "tls_not_verified")
    });
    assert!(
        anomaly["text"].as_str().is_some_and(|text| text.contains("without checking the certificate")),
        "{anomaly}"
    );

    let pack = house.path().join("c-1.zip").display().to_string();
    ok(&mut server.upm(&["pack", "c-1", "--tenant", "acme", "-o", &pack]));
    ok(&mut server.upm(&["verify", &pack, "--key", server.vkey("acme")]));
    let kept = Command::new("unzip").args(["-p", &pack, "change.json"]).output().expect("unzip runs");
    assert!(String::from_utf8_lossy(&kept.stdout).contains("tls_not_verified"));
}

/// Entries of a change that have the anomaly.
fn unverified(server: &Server, change: &str) -> Vec<u64> {
    let shown = server.json(&format!("/v1/tenants/acme/changes/{change}"));
    let anomalies = shown["anomalies"].as_array().expect("a list").iter();
    let own = anomalies.filter(|anomaly| anomaly["code"] == "tls_not_verified");
    own.filter_map(|anomaly| anomaly["index"].as_u64()).collect()
}

/// Index of the entry with an event's id.
fn index_of(server: &Server, change: &str, id: &str) -> u64 {
    let shown = server.json(&format!("/v1/tenants/acme/changes/{change}"));
    let timeline = shown["timeline"].as_array().expect("a list");
    let entry = timeline.iter().find(|entry| entry["id"] == id).unwrap_or_else(|| panic!("{id} is not in {shown}"));
    entry["index"].as_u64().expect("an index")
}

/// A look that meets the certificate is put once more, and the round that rests on it says so.
#[test]
fn a_verification_asks_once_more() {
    let (house, https) = house_with("[verify]\nclose = false\n[drift]\nevery_s = 0\n", false);
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create sheet a");
    let round = event_that(&server, "c-1", "a round", |event| event["id"] == "c-1.verify.1");
    let verification = &round["verification"];
    assert_eq!(verification["tls_verified"], false, "{round}");
    let checks = verification["checks"].as_array().expect("checks");
    assert!(checks.len() == 2 && checks.iter().all(|check| check["ok"] == true), "{round}");
    assert_eq!(verification["state"]["sheet/a"], json!(["hello"]), "{round}");
    // Behind what was put, one request for each of the two looks came through.
    let all = https.requests();
    let put = all.iter().position(|line| line == "request PUT /a").expect("it was put");
    assert_eq!(all[put + 1..], ["request GET /a", "request GET /a"], "{all:?}");
    let entry = index_of(&server, "c-1", "c-1.verify.1");
    wait_for("the anomaly of the round", || unverified(&server, "c-1").contains(&entry).then_some(()));
    // What preflight saw rests on such a look, too.
    let seen = index_of(&server, "c-1", "c-1.preflight.1");
    assert!(unverified(&server, "c-1").contains(&seen));

    // So does the look before a rollback, where somebody else has taken the sheet away already.
    std::fs::remove_file(house.path().join("pages/a")).expect("removed");
    let told = ok(&mut server.upm(&["rollback", "c-1", "--by", "olga", "--tenant", "acme"]));
    assert!(told.contains("sheet/a"), "{told}");
    let gone = index_of(&server, "c-1", "c-1.rollback.1.0.end");
    wait_for("the anomaly of the rollback", || unverified(&server, "c-1").contains(&gone).then_some(()));
}

/// A rollback's command meets the certificate: once more without checking, whatever comes of it, and on record.
#[test]
fn a_rollback_tries_once_more_and_no_further() {
    let (house, https) = house_with("[verify]\nclose = false\n[rollback]\nretries = 3\npause_ms = 1\n", false);
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create shelf a");
    event_that(&server, "c-1", "a round", |event| event["id"] == "c-1.verify.1");
    assert_eq!(unverified(&server, "c-1"), Vec::<u64>::new(), "nothing of it went over the network yet");
    let order = || run(&mut server.upm(&["rollback", "c-1", "--by", "olga", "--tenant", "acme"]));

    // The server refuses, since something lies on it: that is told, and not asked again for as often as other failures are.
    let book = house.path().join("pages/a/book");
    std::fs::write(&book, "x").expect("written");
    let (code, told, err) = order();
    assert!(code == 1 && told.contains("shelf/a"), "{code} {told}{err}");
    https.until(&["request DELETE /a"]);

    std::fs::remove_file(&book).expect("removed");
    let (code, told, err) = order();
    assert!(code == 0 && told.starts_with("rolled back"), "{code} {told}{err}");
    https.until(&["request DELETE /a", "request DELETE /a"]);
    assert!(!house.path().join("pages/a").exists());
    for id in ["c-1.rollback.1.0.end", "c-1.rollback.2.0.end"] {
        let ended = event_that(&server, "c-1", id, |event| event["id"] == id);
        let step = &ended["rollback"]["executed"]["steps"][0];
        assert_eq!((&step["tls_verified"], &step["tries"]), (&json!(false), &json!(2)), "{ended}");
        let entry = index_of(&server, "c-1", id);
        wait_for("the anomaly of the rollback", || unverified(&server, "c-1").contains(&entry).then_some(()));
    }

    // Where the house has no way round, nothing is sent, and it stands.
    let (house, https) =
        house_with("[verify]\nclose = false\n[execute]\ntls_fallback = false\n[rollback]\nretries = 0\n", false);
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-2", "create shelf b");
    event_that(&server, "c-2", "a round", |event| event["id"] == "c-2.verify.1");
    let (code, told, err) = run(&mut server.upm(&["rollback", "c-2", "--by", "olga", "--tenant", "acme"]));
    assert!(code == 1 && told.contains("exit code 60"), "{code} {told}{err}");
    assert_eq!(https.requests(), Vec::<String>::new());
    assert!(house.path().join("pages/b").exists());
}

/// Off where the house says so: the step fails, and nothing was sent.
#[test]
fn a_house_may_have_no_way_round_a_certificate() {
    for options in ["[execute]\ntls_fallback = false\n", "[execute]\ntls_fallback_except = [\"test\"]\n"] {
        let (house, https) = house_with(options, false);
        let server = house.idle();
        let _worker = Worker::start(&house, &server, "all");
        approved(&server, "c-1", "create page a");
        let failed = step_over(&server, "c-1", "page/a");
        assert_eq!(
            (&failed["rc"], &failed["try"], &failed["changed"]),
            (&json!(60), &json!(1), &json!(false)),
            "{failed}"
        );
        assert_eq!(https.requests(), Vec::<String>::new());
    }
}

/// mTLS: a helper hands over a client's certificate and the server's authority; certificates are checked on both sides.
#[test]
fn clients_prove_who_they_are() {
    let options = "[[execute.credentials]]\nname = \"client certificate\"\nprograms = [\"curl\"]\nfile = \"curl.json\"\nlasting = true\nmtls = true\n";
    let (house, https) = house_with(options, true);
    let text = |name: &str| std::fs::read_to_string(house.path().join(name)).expect("text");
    let key = text("client.key");
    let handed = json!({
        "environment": {"CURL_HOME": "{files}"},
        "files": {
            ".curlrc": "cacert = \"{files}/ca.pem\"\ncert = \"{files}/client.pem\"\nkey = \"{files}/client.key\"\n",
            "ca.pem": text("server.pem"), "client.pem": text("client.pem"), "client.key": key,
        },
    });
    std::fs::write(house.path().join("curl.json"), handed.to_string()).expect("written");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create page a");
    let done = step_over(&server, "c-1", "page/a");
    assert_eq!((&done["rc"], &done["try"]), (&json!(0), &json!(1)), "{done}");
    assert_eq!(https.requests(), ["request PUT /a"]);
    let all = events(&server, "c-1");
    let ended = all.iter().find(|event| event["execution"]["steps"].is_array()).expect("an end");
    assert_eq!(
        (&ended["execution"]["mTLS"], &ended["execution"]["credentials"]["kind"]),
        (&json!(true), &json!("client certificate"))
    );
    let shown = server.json("/v1/tenants/acme/changes/c-1");
    assert!(!shown["anomalies"].to_string().contains("tls_not_verified"), "{shown}");
    let part = key.lines().nth(1).expect("a key");
    assert!(!Value::from(all).to_string().contains(part), "the key is in no event");
    let left = std::fs::read_dir(server.data().join("work/steps")).expect("workdir").flatten();
    let left: Vec<String> = left
        .filter_map(|job| std::fs::read_dir(job.path()).ok())
        .flat_map(Iterator::flatten)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".credentials"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "and its file is gone");
}
