//! Workers and a real Kubernetes API's own rules: who may not look gets no plan that may run, and is told by whom and why; with the right, quota, account and binding
//! are tried by the server, made, read back, watched and removed.

use serde_json::{Value, json};
use upm_tests::{ok, run};

use super::kubernetes::Cluster;
use super::kubernetes_changed::{house, kubeconfig};
use crate::house::{Worker, event_that, events, request, verdict};
use crate::workshop::{approved, step_over};

#[test]
#[ignore = "make interop"]
fn rights_and_quotas_are_the_clusters() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(folder.path().join("cluster"));
    let house = house("[drift]\nevery_s = 1\njitter_percent = 0\n", &cluster);
    // Whose certificate is known: nothing of this is asked without checking it.
    let here = json!({"server": cluster.url, "certificate-authority": cluster.certificate()});
    let config = |user: &str| {
        let path = house.path().join(format!("{user}.kubeconfig"));
        std::fs::write(&path, kubeconfig(&here, user)).expect("written");
        path.display().to_string()
    };
    let by_ines = |words: &[&str]| ok(&mut cluster.kubectl("ines", words));
    let server = house.idle();

    // Bea may do nothing, and her workers are told so by the cluster.
    let as_bea = Worker::start_with(&house, &server, "all", &[("KUBECONFIG", &config("bea"))]);
    request(&server, "c-1", "create namespace team-beta");
    let halts = verdict(&server, "c-1", "halt");
    let said = halts["preflight"]["checks"].to_string();
    assert!(said.contains("forbidden") && said.contains("bea"), "{said}");
    by_ines(&["create", "clusterrolebinding", "bea", "--clusterrole", "cluster-admin", "--user", "bea"]);
    approved(&server, "c-2", "create namespace team-beta");
    assert_eq!(step_over(&server, "c-2", "k8s_namespace/team-beta")["rc"], 0, "with the right it is made");
    event_that(&server, "c-2", "its end", |event| event["governance"]["closed"] == true);
    as_bea.crash();

    let _worker = Worker::start_with(&house, &server, "all", &[("KUBECONFIG", &config("ines"))]);
    let words = "create quota small with 5 pods in namespace team-beta and service account bot in namespace team-beta and role binding bot-view with role view in namespace team-beta for service account bot";
    approved(&server, "c-3", words);
    event_that(&server, "c-3", "its end", |event| event["governance"]["closed"] == true);
    let go = verdict(&server, "c-3", "go");
    let checks = go["preflight"]["checks"].as_array().expect("checks");
    let tried = checks.iter().filter(|check| check["type"] == "dry_run" && check["ok"] == true).count();
    assert!(tried >= 2, "tried by the server itself: {go}");
    let get = |words: &[&str]| -> Value {
        let told = by_ines(&[words, &["--namespace", "team-beta", "--output", "json"]].concat());
        serde_json::from_str(&told).expect("JSON")
    };
    assert_eq!(get(&["get", "resourcequota", "small"])["spec"]["hard"], json!({"pods": "5"}));
    let binding = get(&["get", "rolebinding", "bot-view"]);
    assert_eq!((&binding["roleRef"]["name"], &binding["subjects"][0]["name"]), (&json!("view"), &json!("bot")));
    let round = event_that(&server, "c-3", "a round", |event| event["verification"]["purpose"] == "change");
    let state = &round["verification"]["state"]["k8s_resource_quota/small"];
    assert_eq!(state["spec"]["hard"]["pods"], "5", "{round}");
    assert!(
        !Value::from(events(&server, "c-3")).to_string().contains("tls_verified\":false"),
        "its certificate is known"
    );

    // Somebody makes it larger past the workers.
    by_ines(&[
        "patch",
        "resourcequota",
        "small",
        "--namespace",
        "team-beta",
        "--patch",
        "{\"spec\": {\"hard\": {\"pods\": \"50\"}}}",
    ]);
    let alarm = event_that(&server, "c-3", "an alarm", |event| event["alarm"]["kind"] == "drift");
    assert_eq!(alarm["alarm"]["resources"], json!(["k8s_resource_quota/small"]), "{alarm}");
    assert!(alarm["verification"]["drift"]["diff"].to_string().contains("/spec/hard/pods"), "{alarm}");

    approved(
        &server,
        "c-4",
        "delete quota small in namespace team-beta and role binding bot-view in namespace team-beta",
    );
    event_that(&server, "c-4", "its end", |event| event["governance"]["closed"] == true);
    for (kind, name) in [("resourcequota", "small"), ("rolebinding", "bot-view")] {
        let (code, _, err) = run(&mut cluster.kubectl("ines", &["get", kind, name, "--namespace", "team-beta"]));
        assert!(code == 1 && err.contains("NotFound"), "{err}");
    }
}
