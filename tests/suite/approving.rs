//! Approvals by persons, through the real binary with real `ssh-keygen` keys: signed from a file and by an ssh-agent, over HTTP with curl, verified by
//! `ssh-keygen -Y verify` from files of the unzipped pack; what would not count refused before it is published, and recorded and not counted where it is
//! published anyway.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use upm_tests::{Server, ok, program, project, run, wait_for};

use crate::house::{self, verdict};

const NAMESPACE: &str = "upm-approval";

/// A ledger with a tenant whose rule asks for a signature, and bob and eve who may give it.
struct House {
    folder: tempfile::TempDir,
    server: Server,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(&folder.path().join("data"), &["--name", "approving", "--tenant", "acme"]);
        let house = Self { folder, server };
        for (name, kind) in [("bob", "ed25519"), ("eve", "ecdsa"), ("ines", "ed25519"), ("mallory", "ed25519")] {
            ok(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(house.at(name)));
        }
        let allow = |name: &str| format!("{name}={}", house.at(&format!("{name}.pub")).display());
        let [bob, eve, ines] = ["bob", "eve", "ines"].map(allow);
        let rule = ["tenant", "rule", "acme", "--grade", "signed", "--allow", &bob, "--allow", &eve, "--allow", &ines];
        ok(&mut house.server.upm(&rule));
        house
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Publishes an event as `producer`.
    fn emit(&self, producer: &str, id: &str, phase: &str, change: &str, sections: &Value) {
        let mut body = json!({"id": id, "change_id": change, "phase": phase, "timestamp": "2026-01-02T03:04:05Z",
            "intent": {"source": "api", "initiator": "ines", "tenant": "acme", "request": "make a bucket"}});
        for (name, section) in sections.as_object().expect("sections") {
            body[name] = section.clone();
        }
        let file = self.at("event.json");
        std::fs::write(&file, json!({ "provisioning_event": body }).to_string()).expect("written");
        ok(self.server.upm(&["emit", "--wait", "--producer", producer]).arg(&file));
    }

    /// Publishes a plan, and gives its digest.
    fn plan(&self, change: &str, id: &str, sections: &Value) -> String {
        self.emit("ci", id, "plan", change, sections);
        let told = self.server.json(&format!("/v1/tenants/acme/changes/{change}/approvals"));
        told["plan_digest"].as_str().expect("a digest").to_owned()
    }

    fn planned(&self, change: &str) -> String {
        self.plan(change, &format!("{change}-plan"), &json!({"plan": {"commands": [format!("make {change}")]}}))
    }

    /// `upm approve` or `upm refuse` with somebody's key.
    fn decide(&self, verb: &str, change: &str, who: &str, more: &[&str]) -> (i32, Value, String) {
        let key = self.at(who);
        let mut command = self.server.upm(&[verb, change, "--yes", "--json", "--tenant", "acme", "--key"]);
        let (code, out, err) = run(command.arg(key).args(more));
        (code, serde_json::from_str(&out).unwrap_or_default(), err)
    }

    fn approve(&self, change: &str, who: &str, more: &[&str]) -> (i32, Value, String) {
        self.decide("approve", change, who, &[&["--role", "owners"], more].concat())
    }

    fn change(&self, change: &str) -> Value {
        self.server.json(&format!("/v1/tenants/acme/changes/{change}"))
    }

    /// Exit code of the gate.
    fn is_approved(&self, change: &str) -> i32 {
        run(&mut self.server.upm(&["assert", change, "--requires", "approved", "--tenant", "acme"])).0
    }

    /// Entries of the tenant's log.
    fn size(&self) -> u64 {
        self.server.json("/v1/tenants/acme/governance")["size"].as_u64().expect("a size")
    }

    /// Somebody's signature over these bytes.
    fn sign(&self, who: &str, said: &str) -> String {
        let file = self.at("said");
        std::fs::write(&file, said).expect("written");
        let _ = std::fs::remove_file(self.at("said.sig"));
        ok(Command::new("ssh-keygen").args(["-Y", "sign", "-q", "-n", NAMESPACE, "-f"]).arg(self.at(who)).arg(&file));
        std::fs::read_to_string(self.at("said.sig")).expect("signed")
    }

    /// The bytes to sign, without any code of the ledger: RFC 8785 of plain text members is what `serde_json` prints of a sorted map.
    fn statement(&self, change: &str, digest: &str, members: &Value) -> String {
        let origin = self.server.vkey("acme").split('+').next().expect("an origin").to_owned();
        let mut said = json!({"v": 1, "origin": origin, "change": change, "plan_digest": digest, "approver": "bob", "role": "owners",
            "decision": "approved", "at": "2026-01-02T03:04:05Z"});
        for (name, value) in members.as_object().expect("members") {
            said[name] = value.clone();
        }
        said.to_string()
    }

    fn post(&self, change: &str, statement: &str, signature: &str) -> (u16, Value) {
        let body = json!({"statement": statement, "signature": signature}).to_string();
        let path = format!("/v1/tenants/acme/changes/{change}/approvals");
        let (status, text) = self.server.post(&path, "application/json", body.as_bytes());
        (status, serde_json::from_str(&text).expect("JSON"))
    }
}

fn codes(problem: &Value) -> Vec<&str> {
    problem["reasons"].as_array().expect("reasons").iter().filter_map(|reason| reason["code"].as_str()).collect()
}

/// `ssh-keygen -Y verify` of a statement and its signature.
fn ssh_verify(list: &Path, who: &str, signature: &Path, statement: &[u8]) -> bool {
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "verify", "-I", who, "-n", NAMESPACE, "-f"]).arg(list).arg("-s").arg(signature);
    upm_tests::run_with_input(&mut command, statement).0 == 0
}

#[test]
fn signed_with_a_file_counted_and_verified_from_the_pack_by_ssh_keygen() {
    let house = House::new();
    let digest = house.planned("c-1");
    // For a person: what is signed is shown first, and without a terminal nobody is asked.
    let (code, out, err) = run(house
        .server
        .upm(&["approve", "c-1", "--role", "owners", "--tenant", "acme", "--key"])
        .arg(house.at("bob")));
    assert!(code == 2 && err.contains("no terminal to ask on"), "{out}{err}");
    for text in [
        "1  make c-1",
        &digest,
        "make a bucket",
        "ines",
        "approved by bob as owners",
        "0 of 1 approval that count (signed or better)",
    ] {
        assert!(out.contains(text), "{text}: {out}");
    }
    let receipt = house.at("receipt").display().to_string();
    let (code, answer, err) =
        house.approve("c-1", "bob", &["--comment", "after the backup", "--expires", "8h", "--receipt", &receipt]);
    assert_eq!((code, &answer["grade"], &answer["approved"]), (0, &json!("signed"), &json!(true)), "{answer}{err}");
    assert_eq!((answer["missing"].as_array().map(Vec::len), house.is_approved("c-1")), (Some(0), 0));
    let index = answer["index"].as_u64().expect("an index");
    let entry = house.server.json(&format!("/v1/tenants/acme/events/{index}"));
    let stored = STANDARD.decode(entry["payload"].as_str().expect("a payload")).expect("base64");
    std::fs::write(house.at("stored"), stored).expect("written");
    ok(house.server.upm(&["verify", &receipt, "--key", house.server.vkey("acme"), "--event"]).arg(house.at("stored")));
    let event = &entry["event"]["provisioning_event"];
    let given = &event["preflight"]["approvals"][0];
    assert_eq!((&given["comment"], &given["plan_digest"]), (&json!("after the backup"), &json!(digest)));
    assert_eq!(house.server.json(&format!("/v1/tenants/acme/events/{index}"))["header"]["producer"], "approvals");
    // The same again is the same entry.
    let (statement, signature) =
        (answer["statement"].as_str().expect("said"), answer["signature"].as_str().expect("signed"));
    let (status, again) = house.post("c-1", statement, signature);
    assert_eq!((status, &again["status"], again["index"].as_u64()), (200, &json!("duplicate"), Some(index)));

    // Anybody, with nothing of ours but files.
    let list = house.at("allowed_signers");
    std::fs::write(&list, ok(&mut house.server.upm(&["tenant", "signers", "acme"]))).expect("written");
    assert_eq!(std::fs::read_to_string(&list).expect("a list"), house.server.get("/v1/tenants/acme/allowed_signers").1);
    let (zip, unzipped) = (house.at("c-1.zip"), house.at("pack"));
    ok(house.server.upm(&["pack", "c-1", "--tenant", "acme", "-o"]).arg(&zip));
    ok(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&zip).arg(&unzipped));
    let name = format!("approvals/{index:010}-signed-001");
    let said = std::fs::read(unzipped.join(format!("{name}.json"))).expect("the statement");
    let signed = unzipped.join(format!("{name}.sig"));
    assert_eq!(String::from_utf8_lossy(&said), statement);
    assert!(ssh_verify(&list, "bob", &signed, &said), "bob's own signature");
    assert!(!ssh_verify(&list, "eve", &signed, &said), "nobody else's");
    assert!(
        !ssh_verify(&list, "bob", &signed, statement.replace("owners", "security").as_bytes()),
        "of these words only"
    );

    // And our verifier, by the pack's own word, by the list, and by another list.
    let key = house.server.vkey("acme").to_owned();
    let verify = |more: &[&str]| run(house.server.upm(&["verify", "--key", &key]).arg(&zip).args(more));
    let (code, out, _) = verify(&[]);
    let word = format!(
        "events/{index:010}-preflight.json, approval 1: approved by bob as owners: its signature fits, by SHA256:"
    );
    assert!(code == 0 && out.contains(&word) && out.contains("which the operator states"), "{out}");
    let (code, out, _) = verify(&["--allowed-signers", list.to_str().expect("a path")]);
    assert!(code == 0 && out.contains("which your list allows for bob") && out.contains("[events.approvals]"), "{out}");
    let other = std::fs::read_to_string(house.at("mallory.pub")).expect("a key");
    std::fs::write(&list, format!("bob {other}")).expect("written");
    let (code, out, _) = verify(&["--allowed-signers", list.to_str().expect("a path")]);
    assert!(code == 1 && out.contains("NOT on your list for bob"), "{out}");
}

/// A person at a terminal, who types one answer to the question.
const AT_A_TERMINAL: &str = r#"
import os, pty, sys
answer, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
seen = b""
while b"[y/N]" not in seen:
    seen += os.read(terminal, 4096)
os.write(terminal, answer.encode() + b"\n")
try:
    while part := os.read(terminal, 4096):
        seen += part
except OSError:
    pass  # that the other end of a terminal is closed comes as an error
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

#[test]
fn a_person_at_a_terminal_is_shown_the_plan_and_asked() {
    let house = House::new();
    house.planned("c-1");
    let answers = |answer: &str| {
        let mut person = Command::new("python3");
        person.args(["-c", AT_A_TERMINAL, answer]).arg(program("upm"));
        person.args(["approve", "c-1", "--role", "owners", "--tenant", "acme", "--key"]).arg(house.at("bob"));
        run(person.env("UPM_SERVER", house.server.http()).env("UPM_DATA", house.server.data()))
    };
    let before = house.size();
    for no in ["n", "", "yep"] {
        let (code, out, err) = answers(no);
        assert!(code == 1 && out.contains("1  make c-1") && out.contains("nothing was signed"), "{no}: {out}{err}");
    }
    assert_eq!(house.size(), before);
    let (code, out, err) = answers("y");
    assert!(code == 0 && out.contains("Approve this plan?") && out.contains("nothing is missing"), "{out}{err}");
    assert_eq!(house.is_approved("c-1"), 0);
}

/// The same commands in another window are another plan: whoever read the one is shown what became of it, and an approval of that one is none of this.
#[test]
fn what_became_another_in_a_plan_is_shown() {
    let house = House::new();
    let plan = |window: &str| json!({"plan": {"digest_version": 2, "commands": ["make it"], "window": window}});
    let old = house.plan("c-1", "c-1-plan", &plan("sunday"));
    let (code, answer, err) = house.approve("c-1", "bob", &[]);
    assert_eq!((code, &answer["approved"]), (0, &json!(true)), "{err}");
    assert_eq!(house.is_approved("c-1"), 0);

    let new = house.plan("c-1", "c-1-other", &plan("any day"));
    assert_ne!(old, new);
    assert_eq!(house.is_approved("c-1"), 1, "the signature is of another window");
    let mut shown = house.server.upm(&["approve", "c-1", "--role", "owners", "--tenant", "acme", "--key"]);
    let (code, out, err) = run(shown.arg(house.at("bob")));
    assert!(code == 2 && err.contains("no terminal to ask on"), "{out}{err}");
    assert!(out.contains("which is another one:\n     plan.window: sunday → any day"), "{out}");
    let (code, _, err) = house.approve("c-1", "bob", &["--plan-digest", &old]);
    assert!(code == 1 && err.contains("the newest plan is"), "{err}");
    assert_eq!(house.approve("c-1", "bob", &[]).0, 0);
    assert_eq!(house.is_approved("c-1"), 0);
}

/// A real ssh-agent, killed with the value.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn with(folder: &Path, key: &Path) -> Self {
        let socket = folder.join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stdin(Stdio::null());
        let agent = Self { child: command.spawn().expect("ssh-agent starts"), socket };
        wait_for("the agent's socket", || agent.socket.exists().then_some(()));
        ok(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket));
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signed_by_an_agent_that_alone_has_the_key() {
    let house = House::new();
    house.planned("c-1");
    let agent = Agent::with(house.folder.path(), &house.at("eve"));
    std::fs::remove_file(house.at("eve")).expect("only the agent has it now");
    let by_agent = |change: &str, more: &[&str]| {
        let mut command = house.server.upm(&["approve", change, "--role", "owners", "--yes", "--tenant", "acme"]);
        run(command.args(more).env("SSH_AUTH_SOCK", &agent.socket))
    };
    let (code, out, err) = by_agent("c-1", &[]);
    assert!(code == 0 && out.contains("approved by eve as owners") && out.contains("worth     signed"), "{out}{err}");
    assert_eq!((house.is_approved("c-1"), &house.change("c-1")["approvals"][0]["approver"]), (0, &json!("eve")));
    house.planned("c-2");
    let public = house.at("eve.pub").display().to_string();
    assert_eq!(by_agent("c-2", &["--key", &public]).0, 0, "by the public half, which is all there is in a file");
    ok(Command::new("ssh-add").args(["-q", "-D"]).env("SSH_AUTH_SOCK", &agent.socket));
    ok(Command::new("ssh-add").arg("-q").arg(house.at("mallory")).env("SSH_AUTH_SOCK", &agent.socket));
    house.planned("c-3");
    let (code, _, err) = by_agent("c-3", &[]);
    assert!(
        code == 1 && err.contains("holds no key whose approvals") && err.contains("the agent holds SHA256:"),
        "{err}"
    );
    drop(agent);
    let (code, _, err) =
        run(&mut house.server.upm(&["approve", "c-3", "--role", "owners", "--yes", "--tenant", "acme"]));
    assert!(code == 2 && err.contains("no ssh-agent answers"), "{err}");
}

/// The block of the how-to, as written: curl and ssh-keygen, and no program of ours to sign or to verify with.
#[test]
fn a_script_approves_with_curl_and_ssh_keygen() {
    let missing = ["curl", "jq"].into_iter().find(|tool| Command::new(tool).arg("--version").output().is_err());
    if let Some(tool) = missing {
        eprintln!("left out: the how-to wants {tool}");
        return;
    }
    let house = House::new();
    house.planned("c-42");
    let page = std::fs::read_to_string(project().join("docs/approvals.md")).expect("the page");
    let script = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a shell block");
    let bin = program("upm");
    let path = format!("{}:{}", bin.parent().expect("a folder").display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("bash");
    shell.args(["-eu", "-c", script]).current_dir(house.folder.path()).env("PATH", path);
    shell.env("UPM_SERVER", house.server.http()).env("UPM_DATA", house.server.data());
    let (code, out, err) = run(&mut shell);
    assert!(
        code == 0 && out.contains("\"grade\":\"signed\"") && out.contains("Good \"upm-approval\" signature for bob"),
        "{out}{err}"
    );
    assert_eq!(house.is_approved("c-42"), 0);
}

#[test]
fn what_would_not_count_is_refused_before_it_is_published() {
    let house = House::new();
    let old = house.planned("c-1");
    let asked = |more: &str| house.server.get(&format!("/v1/tenants/acme/changes/c-1/approvals/statement?{more}"));
    let before = house.size();
    let check = |(code, answer, err): (i32, Value, String), says: &str| {
        assert_eq!(code, 1, "{answer}{err}");
        assert!(err.contains("not published") && err.contains(says), "{says}: {err}");
        assert_eq!(house.size(), before, "{says}: nothing is published");
    };
    check(house.approve("c-1", "ines", &[]), "the approver asked for the change");
    check(house.approve("c-1", "mallory", &["--approver", "bob"]), "its key is not allowed for this approver");
    check(house.approve("c-1", "eve", &["--approver", "bob"]), "its key is not allowed for this approver");
    check(house.approve("c-1", "bob", &["--expires", "2026-01-02T04:00:00Z"]), "it had expired");
    check(house.approve("c-1", "bob", &["--at", "2099-01-01T00:00:00Z"]), "its time lies ahead of its entry");
    let (code, _, err) = house.approve("c-1", "mallory", &[]);
    assert!(code == 1 && err.contains("does not say whose approvals SHA256:"), "{err}");
    // Whoever asks what to sign is told the same.
    let (status, text) = asked("approver=ines&role=owners");
    assert!(status == 422 && text.contains("by_initiator"), "{text}");
    assert_eq!(asked("approver=bob&role=owners&at=soon").0, 400);
    assert_eq!(asked("approver=bob&role=owners&decision=perhaps").0, 400);
    // Of another change, of another log, changed behind the signature, in another form.
    let said = house.statement("c-0", &old, &json!({}));
    let (status, problem) = house.post("c-1", &said, &house.sign("bob", &said));
    assert_eq!((status, codes(&problem)), (422, vec!["other_change"]));
    let said = house.statement("c-1", &old, &json!({"origin": "other/acme"}));
    assert_eq!(codes(&house.post("c-1", &said, &house.sign("bob", &said)).1), ["other_log"]);
    let said = house.statement("c-1", &old, &json!({}));
    let signature = house.sign("bob", &said);
    assert_eq!(codes(&house.post("c-1", &said.replace("owners", "security"), &signature).1), ["bad_signature"]);
    let (status, problem) = house.post("c-1", &format!("{said}\n"), &signature);
    assert!(status == 400 && problem["detail"].as_str().is_some_and(|text| text.contains("canonical")), "{problem}");
    assert_eq!(house.size(), before);
    // A changed plan needs another approval.
    let new = house.plan("c-1", "c-1-again", &json!({"plan": {"commands": ["make another"]}}));
    let (_, problem) = house.post("c-1", &said, &signature);
    assert!(codes(&problem) == ["other_plan"] && problem.to_string().contains(&new), "{problem}");
    let (code, _, err) = house.approve("c-1", "bob", &["--plan-digest", &old]);
    assert!(code == 1 && err.contains(&new) && err.contains(&old), "{err}");
    // Too late.
    house.emit("ci", "c-1-run", "execute", "c-1", &json!({"execution": {"executor": "ci", "steps": [{"rc": 0}]}}));
    let (code, _, err) = house.approve("c-1", "bob", &[]);
    assert!(code == 1 && err.contains("comes too late"), "{err}");
    // Of nothing.
    house.emit("ci", "c-5-request", "plan", "c-5", &json!({}));
    let (code, _, err) = house.approve("c-5", "bob", &[]);
    assert!(code == 1 && err.contains("no plan on record"), "{err}");
}

#[test]
fn roles_are_asked_for_and_held() {
    let house = House::new();
    ok(&mut house.server.upm(&[
        "tenant",
        "rule",
        "acme",
        "--roles",
        "owners,security",
        "--count",
        "2",
        "--holders",
        "security=eve",
    ]));
    house.planned("c-1");
    let with = |who: &str, role: &str| house.decide("approve", "c-1", who, &["--role", role]);
    let (code, _, err) = with("bob", "gardeners");
    assert!(code == 1 && err.contains("its role is gardeners, asked for: owners, security"), "{err}");
    let (code, _, err) = with("bob", "security");
    assert!(code == 1 && err.contains("bob does not hold the role security: by the tenant's rule eve do"), "{err}");
    let (code, answer, err) = with("bob", "owners");
    assert_eq!((code, &answer["approved"]), (0, &json!(false)), "{err}");
    assert_eq!(
        answer["missing"],
        json!(["1 of 2 approvals that count (signed or better)", "nobody approved as security"])
    );
    let (code, answer, err) = with("eve", "security");
    assert_eq!((code, &answer["approved"], house.is_approved("c-1")), (0, &json!(true), 0), "{err}");
}

/// The same, sent past the door that refuses it: on record, with what it lacks, and worth nothing.
#[test]
fn what_is_published_anyway_is_recorded_and_not_counted() {
    let house = House::new();
    ok(&mut house.server.upm(&["tenant", "rule", "acme", "--holders", "security=eve"]));
    let of_another = house.planned("c-0");
    let cases = [
        ("initiator", "ines", json!({"approver": "ines"}), "by_initiator"),
        ("role", "bob", json!({"role": "security"}), "not_of_role"),
        ("expired", "bob", json!({"expires": "2026-01-03T00:00:00Z"}), "expired"),
        ("other-plan", "bob", json!({"plan_digest": of_another}), "other_plan"),
        ("replayed", "bob", json!({"change": "c-0"}), "bad_signature"),
        ("stranger", "mallory", json!({}), "unknown_signer"),
    ];
    for (change, who, members, lack) in cases {
        let digest = house.plan(change, &format!("{change}-plan"), &json!({"plan": {"commands": ["a"]}}));
        let said = house.statement(change, &digest, &members);
        let mut approval: Value = serde_json::from_str(&said).expect("JSON");
        for name in ["v", "origin", "change"] {
            approval.as_object_mut().expect("an object").remove(name);
        }
        approval["signature"] = house.sign(who, &said).into();
        house.emit(
            "chat",
            &format!("{change}-approval"),
            "preflight",
            change,
            &json!({"preflight": {"approvals": [approval]}}),
        );
        let given = house.change(change)["approvals"][0].clone();
        let lacks = given["lacks"].as_array().expect("lacks").clone();
        assert!(lacks.contains(&json!(lack)), "{change}: {given}");
        assert_eq!(house.is_approved(change), 1, "{change}");
        let (zip, key) = (house.at("pack.zip"), house.server.vkey("acme").to_owned());
        let _ = std::fs::remove_file(&zip);
        ok(house.server.upm(&["pack", change, "--tenant", "acme", "-o"]).arg(&zip));
        let out = ok(house.server.upm(&["verify", "--key", &key]).arg(&zip));
        let fits = !matches!(lack, "bad_signature");
        assert_eq!(out.contains("its signature fits, by SHA256:"), fits, "{change}: {out}");
        assert_eq!(out.contains("its signature does NOT fit"), !fits, "{change}: {out}");
    }
}

#[test]
fn what_was_signed_for_one_attempt_is_refused_in_the_next() {
    let house = House::new();
    let plan = |attempt: u64| json!({"attempt": attempt, "plan": {"commands": ["a"]}});
    let digest = house.plan("c-1", "plan-1", &plan(1));
    let said = house.statement("c-1", &digest, &json!({}));
    let signature = house.sign("bob", &said);
    assert_eq!(house.post("c-1", &said, &signature).0, 200);
    assert_eq!(house.is_approved("c-1"), 0);
    assert_eq!(house.plan("c-1", "plan-2", &plan(2)), digest, "the same plan again");
    assert_eq!(house.is_approved("c-1"), 1);
    let (status, problem) = house.post("c-1", &said, &signature);
    assert_eq!((status, codes(&problem)), (422, vec!["replayed"]), "{problem}");
    let (code, answer, err) = house.approve("c-1", "bob", &[]);
    assert_eq!((code, &answer["attempt"], house.is_approved("c-1")), (0, &json!(2), 0), "{err}");
}

#[test]
fn a_refusal_stands() {
    let house = House::new();
    house.planned("c-1");
    assert_eq!(house.approve("c-1", "bob", &[]).0, 0);
    assert_eq!(house.is_approved("c-1"), 0);
    // Whoever asked for it may say no to it, too.
    let (code, answer, err) = house.decide("refuse", "c-1", "ines", &["--comment", "not before the audit"]);
    assert_eq!((code, &answer["approved"]), (0, &json!(false)), "{err}");
    assert_eq!((house.is_approved("c-1"), &house.change("c-1")["state"]), (1, &json!("refused")));
    let (code, _, err) = house.approve("c-1", "eve", &[]);
    assert!(code == 1 && err.contains("a refusal stands"), "{err}");
    house.plan("c-1", "plan-2", &json!({"attempt": 2, "plan": {"commands": ["b"]}}));
    assert_eq!((house.approve("c-1", "eve", &[]).0, house.is_approved("c-1")), (0, 0));
}

/// Workers wait for what the house asks for on top of the tenant's rule, and an approver is shown it.
#[test]
fn workers_wait_for_two_signatures() {
    let options = "[[approvals]]\nname = \"everything\"\ntwo_person = true\nroles = [\"owners\", \"security\"]\ngrade = \"signed\"\n";
    let house = house::House::new(options);
    std::fs::create_dir(house.land().join("north")).expect("made");
    let server = house.working();
    for (name, kind) in [("bob", "ed25519"), ("eve", "ecdsa")] {
        ok(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(house.path().join(name)));
        let allow = format!("{name}={}", house.path().join(format!("{name}.pub")).display());
        ok(&mut server.upm(&["tenant", "rule", "acme", "--allow", &allow]));
    }
    house::request(&server, "c-1", "create folder reports in area north");
    verdict(&server, "c-1", "wait");
    let approve = |who: &str, role: &str| {
        let mut command = server.upm(&["approve", "c-1", "--role", role, "--yes", "--tenant", "acme", "--key"]);
        run(command.arg(house.path().join(who)))
    };
    let (code, out, err) = approve("bob", "owners");
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("house asks  everything: 2 other persons, signed, as owners, security"), "{out}");
    assert!(out.contains(&format!("mkdir {}/north/reports", house.land().display())), "{out}");
    let waits = wait_for("preflight to miss only the second person", || {
        let waits = verdict(&server, "c-1", "wait");
        let reasons = waits["preflight"]["waits_for"].to_string();
        let open = |role: &str| reasons.contains(&format!("nobody approved as {role}"));
        (reasons.contains("1 of 2") && open("security") && !open("owners")).then_some(waits)
    });
    assert!(!house.land().join("north/reports").exists(), "{waits}");
    let (code, out, err) = approve("eve", "security");
    assert_eq!(code, 0, "{out}{err}");
    verdict(&server, "c-1", "go");
    wait_for("the folder", || house.land().join("north/reports").exists().then_some(()));
}

/// GitHub's word is one that somebody sent on: recorded, bound where the review names the plan, and never signed.
#[test]
fn a_deployment_review_of_github_is_an_approval() {
    let house = House::new();
    let real = project().join("pipeline/adapters/real-inputs/github-deployment_review-requested.json");
    let mut review: Value = serde_json::from_slice(&std::fs::read(real).expect("the real request")).expect("JSON");
    review["action"] = "approved".into();
    review["approver"] = json!({"login": "octocat", "id": 583_231, "type": "User"});
    let adapt = |review: &Value, change: &str| {
        let file = house.at("review.json");
        std::fs::write(&file, review.to_string()).expect("written");
        let mut command = house.server.upm(&["adapt", "github-deployment-review"]);
        ok(command.arg(&file).args(["--change", change, "--tenant", "acme", "--producer", "github", "--emit"]));
        house.change(change)["approvals"][0].clone()
    };
    house.planned("c-1");
    let given = adapt(&review, "c-1");
    assert_eq!(
        (&given["approver"], &given["role"], &given["grade"]),
        (&json!("octocat"), &json!("admins"), &json!("recorded"))
    );
    review["comment"] = format!("approved for {}", house.planned("c-2")).into();
    let given = adapt(&review, "c-2");
    assert_eq!((&given["grade"], &given["counts"]), (&json!("bound"), &json!(true)));
    assert_eq!(house.is_approved("c-2"), 1, "the rule asks for a signature");
    ok(&mut house.server.upm(&["tenant", "rule", "acme", "--grade", "bound"]));
    assert_eq!((house.is_approved("c-1"), house.is_approved("c-2")), (1, 0));
}
