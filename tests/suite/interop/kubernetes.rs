//! A real Kubernetes API server writes its own log of what was done to it; half of that is recorded as changes in a real ledger. Both are held
//! against each other: a period in which they agree, and one in which somebody went past the ledger, and a change never happened.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use upm_tests::{ok, run, wait_for};

use super::judge;
use crate::populations::{Ledger, now};

/// What is logged: every request once it was answered, of those that people make with what they sent.
const POLICY: &str = "apiVersion: audit.k8s.io/v1\n\
    kind: Policy\n\
    omitStages: [RequestReceived]\n\
    rules:\n\
    - level: Metadata\n\
    \x20 userGroups: ['system:serviceaccounts', 'system:nodes']\n\
    - level: Metadata\n\
    \x20 users: ['system:apiserver']\n\
    - level: Request\n";

/// A child that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An API server over an etcd of its own, and the folder of both.
pub(super) struct Cluster {
    _server: Running,
    _store: Running,
    folder: PathBuf,
    /// Where it answers.
    pub(super) url: String,
}

/// Ports that are free now; nobody else is told of them.
fn free<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|held| held.local_addr().expect("bound").port())
}

/// A program that says what it does into a file beside it.
fn start(command: &mut Command, log: &Path) -> Running {
    let log = fs::File::create(log).expect("a log file");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Running(child.spawn().expect("it starts"))
}

impl Cluster {
    pub(super) fn start(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("made");
        let [clients, peers, port] = free();
        let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
        let at = |name: &str| folder.join(name);
        let mut etcd = Command::new(judge("ETCD", "etcd-3.6.6"));
        etcd.arg("--data-dir").arg(at("etcd")).args([
            "--listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
        ]);
        etcd.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        etcd.args(["--initial-cluster", &format!("default={peers}")]);
        let store = start(&mut etcd, &at("etcd.log"));

        ok(Command::new("openssl").args(["genrsa", "-out"]).arg(at("sa.key")));
        let people = "tok-ines,ines,ines,\"system:masters\"\ntok-mallory,mallory,mallory,\"system:masters\"\n";
        fs::write(at("tokens.csv"), people).expect("written");
        fs::write(at("policy.yaml"), POLICY).expect("written");
        let mut server = Command::new(judge("KUBE_APISERVER", "kube-apiserver-1.34.2"));
        server.arg(format!("--etcd-servers={clients}")).arg("--service-account-issuer=https://kubernetes.example");
        for (option, file) in [
            ("--service-account-key-file", "sa.key"),
            ("--service-account-signing-key-file", "sa.key"),
            ("--token-auth-file", "tokens.csv"),
            ("--cert-dir", "certs"),
            ("--audit-policy-file", "policy.yaml"),
            ("--audit-log-path", "audit.log"),
        ] {
            server.arg(option).arg(at(file));
        }
        server.args([
            "--authorization-mode=RBAC",
            "--bind-address=127.0.0.1",
            "--service-cluster-ip-range=10.0.0.0/24",
        ]);
        // No controller runs that would make the accounts that it waits for.
        server.arg("--disable-admission-plugins=ServiceAccount").arg(format!("--secure-port={port}"));
        let server = start(&mut server, &at("apiserver.log"));
        let cluster = Self { _server: server, _store: store, folder, url: format!("https://127.0.0.1:{port}") };
        wait_for("the API server", || {
            (run(&mut cluster.kubectl("ines", &["get", "--raw", "/readyz"])).0 == 0).then_some(())
        });
        cluster
    }

    /// The real client, as somebody.
    pub(super) fn kubectl(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(judge("KUBECTL", "kubectl-1.34.2"));
        command.args(["--server", &self.url, "--token", &format!("tok-{user}"), "--insecure-skip-tls-verify"]);
        command.args(arguments).env("HOME", &self.folder).env("KUBECONFIG", self.folder.join("none"));
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }
}

/// An executed change, in the ledger.
fn record(ledger: &Ledger, change: &str, initiator: &str, resources: &Value) {
    let event = json!({"provisioning_event": {"id": change, "phase": "execute", "timestamp": now(), "environment": "production",
        "intent": {"source": "api", "initiator": initiator, "tenant": "acme"},
        "target": {"cloud": "kubernetes", "resources": resources},
        "execution": {"steps": [{"cmd": "kubectl", "rc": 0}]}}});
    let (status, body) =
        ledger.server.post("/v1/tenants/acme/events", "application/json", event.to_string().as_bytes());
    assert_eq!(status, 200, "{body}");
}

fn reconciled(ledger: &Ledger, log: &Path, population: &Path) -> (i32, Value) {
    let mut command =
        ledger.server.upm(&["reconcile", "--source", "k8s-audit", "--tenant", "acme", "--json", "--key", &ledger.key]);
    let (code, out, err) = run(command.arg(log).arg("--population").arg(population));
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{code} {error}: {out}{err}")))
}

/// What was done to what, of a list of records.
fn actions(records: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut found: Vec<_> =
        records.as_array().expect("a list").iter().map(|one| (text(&one["principal"]), text(&one["action"]))).collect();
    found.sort();
    found
}

#[test]
#[ignore = "make interop"]
fn a_real_api_servers_log_and_a_ledgers_changes_find_each_other_and_the_gaps() {
    let ledger = Ledger::start();
    let cluster = Cluster::start(ledger.at("cluster"));
    let by = |user: &str, arguments: &[&str]| ok(&mut cluster.kubectl(user, arguments));

    let start = now();
    by("ines", &["create", "namespace", "team-alpha"]);
    record(&ledger, "CHG-ns", "ines", &json!([{"type": "k8s_namespace", "name": "team-alpha"}]));
    by("ines", &["create", "configmap", "settings", "--from-literal=replicas=3", "-n", "team-alpha"]);
    record(&ledger, "CHG-cm", "bob", &json!([{"type": "kubernetes_config_map_v1", "name": "settings"}]));
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot, namespace: team-alpha, annotations: {change: CHG-robot}}\n";
    fs::write(cluster.folder.join("robot.yaml"), account).expect("written");
    let file = cluster.folder.join("robot.yaml");
    by("ines", &["apply", "--validate=false", "-f", file.to_str().expect("text")]);
    record(&ledger, "CHG-robot", "ines", &json!([{"type": "k8s_service_account", "name": "another-name"}]));
    // Changes nothing, and is no gap: a trial, a failure, a look, a question.
    by("mallory", &["create", "configmap", "tried", "-n", "team-alpha", "--dry-run=server"]);
    assert_ne!(run(&mut cluster.kubectl("mallory", &["create", "namespace", "team-alpha"])).0, 0);
    by("mallory", &["get", "configmaps", "-n", "team-alpha"]);
    by("mallory", &["auth", "can-i", "delete", "namespaces"]);
    let middle = now();
    let agreed = ledger.population(&start, &middle, "agreed.zip", &[]);
    let (code, told) = reconciled(&ledger, &cluster.log(), &agreed);
    assert_eq!((code, &told["agrees"]), (0, &json!(true)), "{told:#}");
    let mut rules: Vec<_> = told["matches"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["change"].as_str().expect("a change"), one["rule"].as_str().expect("a rule")))
        .collect();
    rules.sort_unstable();
    assert_eq!(
        rules,
        [("CHG-cm", "resource and time"), ("CHG-ns", "resource, time and principal"), ("CHG-robot", "change id")],
        "{told:#}"
    );
    let left = |reason: &str| told["left_out"][reason].as_u64().unwrap_or_default();
    // The server itself fails now and then while it starts.
    let counted = (left("dry run"), left("a question"), left("failed") >= 1);
    assert_eq!(counted, (1, 1, true), "{}", told["left_out"]);

    // Half of what happens now is recorded: two go past the ledger, and one change never happens.
    by("mallory", &["create", "serviceaccount", "backdoor", "-n", "team-alpha"]);
    by("mallory", &["create", "clusterrolebinding", "all", "--clusterrole=cluster-admin", "--user=mallory"]);
    by("ines", &["label", "namespace", "team-alpha", "tier=gold"]);
    record(&ledger, "CHG-label", "ines", &json!([{"type": "k8s_namespace", "name": "team-alpha"}]));
    by("ines", &["create", "configmap", "limits", "-n", "team-alpha"]);
    record(&ledger, "CHG-limits", "ines", &json!([{"type": "k8s_config_map", "name": "limits"}]));
    record(&ledger, "CHG-ghost", "ines", &json!([{"type": "k8s_config_map", "name": "never-made"}]));
    let end = now();
    let gaps = ledger.population(&middle, &end, "gaps.zip", &[]);
    let (code, told) = reconciled(&ledger, &cluster.log(), &gaps);
    assert_eq!((code, &told["agrees"]), (1, &json!(false)), "{told:#}");
    let expected = [("mallory", "create clusterrolebindings"), ("mallory", "create serviceaccounts")];
    assert_eq!(actions(&told["unrecorded"]), expected.map(|(who, what)| (who.to_owned(), what.to_owned())), "{told:#}");
    let unseen: Vec<_> = told["unseen"].as_array().expect("a list").iter().map(|one| one["change"].clone()).collect();
    assert_eq!(unseen, ["CHG-ghost"], "{told:#}");

    // The result is in the log itself, for whoever asks later.
    let event = told["event"].as_str().expect("an event was published");
    let found = wait_for("the result among the changes", || {
        let (status, body) = ledger.server.get(&format!("/v1/tenants/acme/changes/{event}/events"));
        (status == 200).then_some(body)
    });
    assert!(found.contains("audit"), "{found}");
}
