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
pub(super) fn house(options: &str, cluster: &Cluster) -> House {
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
    let unknown = json!({"server": cluster.url});
    std::fs::write(house.path().join("kubeconfig"), kubeconfig(&unknown, "ines")).expect("written");
    house
}

/// The file by which kubectl finds a cluster as somebody.
pub(super) fn kubeconfig(cluster: &Value, user: &str) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": format!("tok-{user}")}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": user}}],
    });
    config.to_string()
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
