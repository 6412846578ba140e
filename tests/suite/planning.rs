//! Planning through the real program: a session as people see it, the event that a plan becomes, and the conformance set's cases of
//! planner and executor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use upm_tests::{Server, ok, program, python, run, upm};

const MODEL: &str = "Create AKS cluster aks-demo in eastus and namespace team-alpha";

/// Runs `upm` in a folder and tells the session.
fn tell(told: &mut String, folder: &Path, words: &[&str]) {
    let (code, out, err) = run(upm(words).current_dir(folder));
    let shown: Vec<String> =
        words.iter().map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() }).collect();
    // Writing into a string has no way to fail.
    let _ = writeln!(told, "$ upm {}", shown.join(" "));
    for (name, text) in [("out", &out), ("err", &err)] {
        for line in text.lines() {
            let _ = writeln!(told, "{}", format!("{name} | {line}").trim_end());
        }
    }
    let _ = writeln!(told, "exit {code}\n");
}

#[test]
fn a_session_of_planning() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("house.toml", "[defaults.az_aks]\nssh_key = \"ssh-ed25519 AAAAC3Nz ops\"\n");
    write("wrong.toml", "[types.gcp_bucket]\ntitle = 7\nwords = [\"gcs bucket\"]\n");
    write(
        "there.json",
        r#"[{"type": "k8s_namespace", "name": "team-alpha", "owner": "team-a"}, {"type": "az_aks", "name": "aks-x"}]"#,
    );
    write(
        "circle.json",
        r#"{"resources": [{"type": "k8s_namespace", "name": "a", "depends_on": ["k8s_namespace/b"]},
            {"type": "k8s_namespace", "name": "b", "depends_on": ["k8s_namespace/a"]}]}"#,
    );
    write(
        "twins.json",
        r#"{"request": "create deployment web in namespace shop with image nginx:1.27", "variant": "blue-green"}"#,
    );
    let mut told = String::new();
    let lines: [&[&str]; 18] = [
        &["plan", MODEL],
        &["plan", MODEL, "--catalogue", "house.toml", "--json"],
        &["plan", MODEL, "--format", "mermaid"],
        &["plan", MODEL, "--format", "dot"],
        &["plan", MODEL, "--format", "svg"],
        &["plan", "create namespaces a, b and c as a canary in production", "--needs-approval", "platform-owners"],
        &["plan", "delete namespace team-alpha and create namespace beta", "--existing", "there.json"],
        &["plan", "create service account bot in namespace gone", "--existing", "there.json"],
        &["plan", "-f", "twins.json"],
        &["plan", "-f", "circle.json"],
        &["plan", "create aks cluster aks-demo with a moat and namespace b"],
        &["plan", "create namespace --all"],
        &["plan", "create aks cluster aks-demo", "--json"],
        &["plan", MODEL, "--emit", "--initiator", "ines"],
        &["plan", MODEL, "--catalogue", "wrong.toml"],
        &["catalogue"],
        &["catalogue", "k8s_namespace"],
        &["catalogue", "spaceship"],
    ];
    for words in lines {
        tell(&mut told, folder.path(), words);
    }
    insta::assert_snapshot!("planning", told);
}

#[test]
fn a_plan_becomes_an_event_with_its_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("upm-data"), &["--tenant", "acme"]);
    let request = "Create AKS cluster aks-demo in eastus with ssh key \"ssh-rsa AAAAB3Nz\" and namespace team-alpha";
    let emitted = ["--env", "staging", "--emit", "--change", "c-1", "--initiator", "ines", "--tenant", "acme"];
    // The model's key is an example: nobody may publish a plan with it.
    let (code, _, refused) = run(server.upm(&["plan", MODEL]).args(emitted));
    assert!(code == 1 && refused.contains("values that nobody gave"), "{refused}");
    let plan: Value =
        serde_json::from_str(&ok(&mut server.upm(&["plan", request, "--env", "staging", "--json"]))).expect("JSON");
    ok(server.upm(&["plan", request]).args(emitted));
    let shown = ok(&mut server.upm(&["change", "show", "c-1", "--tenant", "acme", "--json"]));
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    // The digest that the ledger computes of what it stored is the one that the plan says.
    assert_eq!(shown["attempts"][0]["plan_digest"], plan["plan"]["digest"]);
    assert_eq!(shown["anomalies"], Value::Array(Vec::new()), "{shown}");
}

/// A program of so many words, as one file.
fn program_file(folder: &Path, name: &str, words: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\nexec {words}\n")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("executable");
    file
}

/// The result of each case of a run, and the change that records it.
fn conformance(server: &Server, planner: &Path, executor: &Path) -> (BTreeMap<String, String>, String) {
    let mut command: Command = server.upm(&["conformance", "run", "--tenant", "acme", "--json", "--planner"]);
    let (_, out, err) = run(command.arg(planner).arg("--executor").arg(executor));
    let result: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let cases = result["cases"].as_array().expect("cases").iter().map(|one| (text(&one["case"]), text(&one["result"])));
    (cases.collect(), text(&result["change"]))
}

#[test]
fn the_planner_passes_the_conformance_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("upm-data"), &["--tenant", "acme"]);
    let planner = program_file(folder.path(), "planner", &format!("{} plan -f - --json", program("upm").display()));
    let script = python("executor.py");
    let words: Vec<_> =
        std::iter::once(script.get_program()).chain(script.get_args()).map(|word| word.to_string_lossy()).collect();
    let memory = folder.path().join("memory");
    std::fs::create_dir(&memory).expect("made");
    let executor = program_file(folder.path(), "executor", &format!("{} {}", words.join(" "), memory.display()));
    // Twice, because an executor that remembers begins anew with each run.
    for _ in 0..2 {
        let (cases, _) = conformance(&server, &planner, &executor);
        assert!(cases.len() == 9 && cases.values().all(|result| result == "pass"), "{cases:?}");
    }
}

/// What was put in is no answer, and neither is nothing; and what was tried is nobody's change.
#[test]
fn cat_and_true_pass_no_case_of_planner_or_executor() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("upm-data"), &["--tenant", "acme"]);
    for program in ["/bin/cat", "/bin/true"] {
        let (cases, change) = conformance(&server, Path::new(program), Path::new(program));
        let passed: Vec<_> =
            cases.iter().filter(|(_, result)| *result == "pass").map(|(case, _)| case.as_str()).collect();
        assert_eq!(passed, ["append_only", "secret_redaction", "tenant_scoping"], "{program}");
        let told = ok(&mut server.upm(&["change", "show", &change, "--tenant", "acme"]));
        assert!(
            told.lines().next().is_some_and(|line| line.ends_with("calls itself a probe: no figure counts it")),
            "{told}"
        );
        let failed = ok(&mut server.upm(&["sql", "@failed-not-rolled-back", "--tenant", "acme"]));
        assert!(!failed.contains("conformance-"), "{failed}");
    }
}

/// A child that keeps its parent's output open does not keep the run.
#[test]
fn a_planner_that_leaves_a_child_behind_ends_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("upm-data"), &["--tenant", "acme"]);
    let (planner, left) = (folder.path().join("planner"), folder.path().join("left"));
    let script = format!(
        "#!/bin/sh\n[ -e {left} ] || {{ sleep 60 & echo $! > {left}; }}\nexec {upm} plan -f - --json\n",
        left = left.display(),
        upm = program("upm").display()
    );
    std::fs::write(&planner, script).expect("written");
    std::fs::set_permissions(&planner, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let mut command: Command = server.upm(&["conformance", "run", "--tenant", "acme", "--json", "--planner"]);
    let (_, out, err) = run(command.arg(&planner));
    let child: i32 = std::fs::read_to_string(&left).expect("it was left").trim().parse().expect("a process id");
    assert!(Path::new(&format!("/proc/{child}")).exists(), "the run has waited for what was left behind");
    kill(Pid::from_raw(child), Signal::SIGKILL).expect("it is ours");
    let result: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let of = result["cases"].as_array().expect("cases").iter().find(|one| one["case"] == "same_plan").expect("a case");
    assert_eq!(of["result"], "pass", "what it said counts: {of}");
}
