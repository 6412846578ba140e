//! The model's TLS example with its own words: a real kubectl before a real Kubernetes API server whose certificate nobody knows. A namespace is planned, looked
//! for, tried, approved and made; each command that meets the certificate is run once more with `--insecure-skip-tls-verify`, on record.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{ok, run, wait_for};

use super::judge;
use super::kubernetes::Cluster;
use crate::house::{House, Worker, event_that, events, request, verdict};
use crate::workshop::{approved, step_over, workshop_with};

/// A house whose kubectl is the judge's, pinned by the version and digest that it has.
fn house(options: &str, cluster: &Cluster) -> House {
    let kubectl = judge("KUBECTL", "kubectl-1.34.2");
    let said = ok(Command::new(&kubectl).args(["version", "--client", "--output", "json"]));
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let version = said["clientVersion"]["gitVersion"].as_str().expect("a version").trim_start_matches('v');
    let version = version.split('-').next().expect("numbers");
    let digest = ok(Command::new("sha256sum").arg(&kubectl));
    let digest = digest.split(' ').next().expect("a digest");
    let tool = format!(
        "\n[tools.kubectl]\nreplaces = true\nprogram = \"kubectl-real\"\nversion = \"{version}\"\nversion_check = [\"version\", \"--client\", \"--output\", \"json\"]\nsha256 = \"{digest}\"\n"
    );
    let house = workshop_with(&format!("[guard]\nenvironment = [\"KUBECONFIG\"]\n{options}"), &tool);
    symlink(&kubectl, house.path().join("bin/kubectl-real")).expect("linked");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": cluster.url}}],
        "users": [{"name": "ines", "user": {"token": "tok-ines"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "ines"}}],
    });
    std::fs::write(house.path().join("kubeconfig"), config.to_string()).expect("written");
    house
}

#[test]
#[ignore = "make interop"]
fn a_namespace_is_made_past_a_certificate_that_nobody_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(folder.path().join("cluster"));
    let house_of = |options: &str| house(options, &cluster);
    let there = |name: &str| run(&mut cluster.kubectl("ines", &["get", "namespace", name])).0 == 0;

    let house = house_of("");
    let server = house.idle();
    let config = house.path().join("kubeconfig").display().to_string();
    let _worker = Worker::start_with(&house, &server, "all", &[("KUBECONFIG", &config)]);
    approved(&server, "c-1", "create namespace team-alpha");
    let done = step_over(&server, "c-1", "k8s_namespace/team-alpha");
    assert_eq!((&done["rc"], &done["tls_verified"]), (&json!(0), &json!(false)), "{done}");
    assert_eq!(done["cmd"], "kubectl-real --insecure-skip-tls-verify=true create namespace team-alpha");
    assert!(done["stdout"].as_str().is_some_and(|text| text.contains("namespace/team-alpha created")), "{done}");
    assert!(there("team-alpha"));
    let all = events(&server, "c-1");
    let go = all.iter().rev().find(|event| event["preflight"]["verdict"] == "go").expect("a go");
    assert!(go["preflight"]["checks"].to_string().contains("asked once more without checking certificates"), "{go}");
    let begins = all.iter().find(|event| event["execution"]["started"].is_object()).expect("a beginning");
    assert_eq!(begins["execution"]["tls_verified"], false);
    let trace = begins["audit_trace"][0]["msg"].as_str().expect("a line");
    assert!(trace.ends_with("begins, without checking certificates"), "{trace}");
    wait_for("the anomaly", || {
        let shown = server.json("/v1/tenants/acme/changes/c-1");
        shown["anomalies"].to_string().contains("tls_not_verified").then_some(())
    });
    assert!(!Value::from(all).to_string().contains("tok-ines"));
    drop(server);

    // Where the house has no way round, nobody gets as far as a plan that may run.
    let house = house_of("[execute]\ntls_fallback = false\n");
    let server = house.idle();
    let config = house.path().join("kubeconfig").display().to_string();
    let _worker = Worker::start_with(&house, &server, "all", &[("KUBECONFIG", &config)]);
    request(&server, "c-2", "create namespace team-beta");
    let halts = verdict(&server, "c-2", "halt");
    assert!(halts["preflight"]["checks"].to_string().contains("failed to verify certificate"), "{halts}");
    event_that(&server, "c-2", "a halt", |event| event["preflight"]["verdict"] == "halt");
    assert!(!there("team-beta"));
}

/// What may be done by whom, and how much of it, on a real API: made by a change, read back, verified; and a quota that is full halts the next change before anybody is asked.
#[test]
#[ignore = "make interop"]
fn an_account_a_binding_and_a_quota_are_made_and_a_full_quota_halts() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(folder.path().join("cluster"));
    let house = house("", &cluster);
    let config = house.path().join("kubeconfig");
    let mut trusting: Value = serde_json::from_slice(&std::fs::read(&config).expect("a file")).expect("JSON");
    trusting["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = true.into();
    std::fs::write(&config, trusting.to_string()).expect("written");
    let server = house.idle();
    let config = config.display().to_string();
    let _worker = Worker::start_with(&house, &server, "all", &[("KUBECONFIG", &config)]);
    let ask = |change: &str, resources: Value| {
        let asked = json!({"change_id": change, "initiator": "ines", "environment": "test", "resources": resources});
        let (status, body) = server.post("/v1/tenants/acme/requests", "application/json", asked.to_string().as_bytes());
        assert_eq!(status, 202, "{body}");
    };
    ask(
        "c-1",
        json!([
            {"type": "k8s_resource_quota", "name": "small", "namespace": "shop", "pods": 3},
            {"type": "k8s_role_binding", "name": "bots", "namespace": "shop", "role": "view", "service_account": "bot"},
            {"type": "k8s_service_account", "name": "bot", "namespace": "shop"},
            {"type": "k8s_namespace", "name": "shop"},
        ]),
    );
    let waits = verdict(&server, "c-1", "wait");
    let tried = waits["preflight"]["checks"].as_array().expect("checks").iter();
    let tried: Vec<&Value> = tried.filter(|check| check["type"] == "dry_run" && check["ok"] == true).collect();
    assert_eq!(tried.len(), 1, "the server tries what stands on nothing that is still to be made: {waits}");
    crate::house::approve(&server, "c-1", "olga", "owner");
    ok(&mut server.upm(&["change", "watch", "c-1", "--until", "closed", "--for", "120", "--tenant", "acme"]));
    let bound =
        ok(&mut cluster.kubectl("ines", &["get", "rolebinding", "bots", "--namespace", "shop", "--output", "json"]));
    let bound: Value = serde_json::from_str(&bound).expect("JSON");
    assert_eq!((&bound["roleRef"]["name"], &bound["subjects"][0]["name"]), (&json!("view"), &json!("bot")), "{bound}");

    // No controller counts pods here, so what is in use is said for it.
    let used = r#"{"status": {"hard": {"pods": "3"}, "used": {"pods": "2"}}}"#;
    let patch = [
        "patch",
        "resourcequota",
        "small",
        "--namespace",
        "shop",
        "--subresource=status",
        "--type=merge",
        "--patch",
        used,
    ];
    ok(&mut cluster.kubectl("ines", &patch));
    let deployment = |replicas: u64| json!([{"type": "k8s_deployment", "name": "web", "namespace": "shop", "image": "nginx:1.27", "replicas": replicas}]);
    ask("c-2", deployment(2));
    let halts = verdict(&server, "c-2", "halt");
    let full = halts["preflight"]["checks"].as_array().expect("checks").iter().find(|check| check["type"] == "quota");
    let message = full.expect("a check of the quota")["message"].as_str().expect("a message");
    assert!(
        message.starts_with("2 more, 2 in use, 3 the limit; looked with: kubectl-real get resourcequota"),
        "{message}"
    );
    ask("c-3", deployment(1));
    let fits = verdict(&server, "c-3", "wait")["preflight"]["checks"].to_string();
    assert!(fits.contains("1 more, 2 in use, 3 the limit"), "{fits}");
}
