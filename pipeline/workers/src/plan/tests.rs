use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalogue::shipped;
use crate::request::{Wanted, json as request_json};

const MODEL: &str = "Create AKS cluster aks-demo in eastus and namespace team-alpha";

fn asked(words: &str) -> Request {
    Request { words: Some(words.to_owned()), ..Request::default() }
}

fn planned(words: &str) -> Plan {
    plan(shipped(), &asked(words), None).unwrap_or_else(|error| panic!("{words}: {error}"))
}

fn refused(words: &str) -> String {
    plan(shipped(), &asked(words), None).expect_err(words).to_string()
}

fn over(words: &str, existing: &Value) -> Plan {
    let existing = Existing::read(existing.to_string().as_bytes()).unwrap();
    plan(shipped(), &asked(words), Some(&existing)).unwrap_or_else(|error| panic!("{words}: {error}"))
}

/// The model's example: its three resources and its commands, in order.
#[test]
fn the_models_request() {
    let plan = planned(MODEL);
    let document = plan.document();
    let model: Value = serde_json::from_str(include_str!("../../../../schemas/examples/model.json")).unwrap();
    let model = &model["provisioning_event"];
    assert_eq!(document["target"]["resources"], model["target"]["resources"]);
    assert_eq!(document["target"]["cloud"], model["target"]["cloud"]);
    assert_eq!(document["plan"]["commands"], model["plan"]["commands"]);
    assert_eq!(document["plan"]["resources_needed"], model["plan"]["resources_needed"]);
    // Its rollback, as commands that ask nobody.
    assert_eq!(
        plan.rollback_commands(),
        ["kubectl-1.29 delete ns team-alpha", "az aks delete --name aks-demo --resource-group rg-demo --yes"]
    );
    assert_eq!(plan.left.len(), 1);
    assert_eq!(plan.left[0].0, "az_resource_group/rg-demo");
    // The model's key is an example: nobody may run a cluster with it.
    assert!(!plan.is_executable());
    assert_eq!(plan.placeholders[0].field, "ssh_key");
}

/// The model's event, planned again from the resources that it names.
#[test]
fn the_models_event() {
    let model = include_str!("../../../../schemas/examples/model.json");
    let request = request_json::read(model.as_bytes()).unwrap();
    let plan = plan(shipped(), &request, None).unwrap();
    assert_eq!(plan.commands(), planned(MODEL).commands());
    assert_eq!(plan.approvals, ["platform-owners"]);
    let tools: Vec<&str> = plan.tools.iter().map(|tool| tool.program.as_str()).collect();
    assert_eq!(tools, ["az", "kubectl-1.29"]);
}

#[test]
fn the_digest_is_the_ledgers() {
    let mut request = asked(&format!("{MODEL} in environment staging"));
    request.endpoint = Some("prod-east".to_owned());
    let plan = plan(shipped(), &request, None).unwrap();
    let mut event = plan.document();
    event["id"] = "x".into();
    let stored = json!({ "provisioning_event": event }).to_string();
    assert_eq!(schemas::plan::digest(stored.as_bytes()), Some(plan.digest()));
    assert_eq!(event["plan"]["digest"], plan.digest());
    // For another environment it is another plan.
    assert_ne!(planned(MODEL).digest(), planned(&format!("{MODEL} in production")).digest());
}

#[test]
fn words_give_commands() {
    let check = |words: &str, commands: &[&str]| assert_eq!(planned(words).commands(), commands, "{words}");
    check(
        "Create resource group rg-x in westeurope, then a storage account stx in westeurope",
        &[
            "az group create --name rg-x --location westeurope",
            "az storage account create --name stx --resource-group rg-x --sku Standard_LRS --min-tls-version TLS1_2 \
             --allow-blob-public-access false",
        ],
    );
    check(
        "please create an AKS cluster called aks-a in the eastus region with 3 nodes with ssh key \"ssh-rsa AAAAB3Nz\".",
        &[
            "az group create --name rg-a --location eastus",
            "az aks create --name aks-a --resource-group rg-a --node-count 3 --ssh-key-value \"ssh-rsa AAAAB3Nz\"",
        ],
    );
    // The resource group is somebody else's: the place stays with the cluster.
    check(
        "create aks cluster aks-a in resource group rg-old in eastus with ssh key 'ssh-ed25519 AAAAC3Nz ops@x'",
        &["az aks create --name aks-a --resource-group rg-old --location eastus --node-count 2 --ssh-key-value \
           \"ssh-ed25519 AAAAC3Nz ops@x\""],
    );
    check(
        "Create namespace upm-conformance in the test cluster",
        &["kubectl-1.29 create namespace upm-conformance --context test"],
    );
    check(
        "Scale deployment web in namespace upm-conformance to 3 replicas",
        &["kubectl-1.29 scale deployment web --namespace upm-conformance --replicas 3"],
    );
    check(
        "Set the tag owner=platform on resource group rg-upm-conformance",
        &["az tag update --operation merge --tags owner=platform --resource-group rg-upm-conformance"],
    );
    check(
        "Create namespaces a, b and c; delete namespace d",
        &[
            "kubectl-1.29 create namespace a",
            "kubectl-1.29 create namespace b",
            "kubectl-1.29 create namespace c",
            "kubectl-1.29 delete ns d",
        ],
    );
    check(
        "Create a bucket logs-1 and a queue jobs in us-east-1 and a table orders in us-east-1 with key order_id",
        &[
            "aws s3api create-bucket --bucket logs-1 --output json",
            "aws sqs create-queue --queue-name jobs --region us-east-1 --output json",
            "aws dynamodb create-table --table-name orders --attribute-definitions AttributeName=order_id,AttributeType=S \
             --key-schema AttributeName=order_id,KeyType=HASH --billing-mode PAY_PER_REQUEST --region us-east-1 --output json",
        ],
    );
    check(
        "Deploy stack network/prod below /srv/live",
        &["tofu -chdir=/srv/live/network/prod apply -input=false -no-color -auto-approve"],
    );
    check(
        "set image nginx:1.27 on deployment web",
        &["kubectl-1.29 set image deployment web --namespace default \"*=nginx:1.27\""],
    );
}

#[test]
fn order_follows_dependencies_not_words() {
    let plan = planned(
        "create service account bot in namespace apps and namespace apps and aks cluster aks-z in eastus and role binding bot-view \
         in namespace apps with role view for service account bot",
    );
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "az_resource_group/rg-z",
            "az_aks/aks-z",
            "k8s_namespace/apps",
            "k8s_service_account/bot",
            "k8s_role_binding/bot-view"
        ]
    );
    assert!(plan.needed.is_empty());
    let binding = &plan.steps[4].depends_on;
    assert!(binding.contains(&("k8s_service_account/bot".to_owned(), "service_account".to_owned())), "{binding:?}");
    // What is removed goes the other way round.
    let plan = planned("delete aks cluster aks-z in resource group rg-z and namespace apps and resource group rg-z");
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["k8s_namespace/apps#delete", "az_aks/aks-z#delete", "az_resource_group/rg-z#delete"]);
    assert!(plan.rollback.is_empty() && plan.left.len() == 3);
    assert!(plan.window_notes[0].starts_with("3 of 3 resources"), "{:?}", plan.window_notes);
}

#[test]
fn what_is_not_understood_is_quoted_back() {
    let check = |words: &str, told: &[&str]| {
        let text = refused(words);
        for part in told {
            assert!(text.contains(part), "{words}\n{text}\nexpected: {part}");
        }
    };
    check(
        "Create AKS cluster aks-demo in eastus with purple hair and namespace team-alpha",
        &[
            "“with purple hair”",
            "understood: create az_aks aks-demo (location eastus); create k8s_namespace team-alpha",
        ],
    );
    check("Create AKS clutser aks-demo", &["“Create AKS clutser aks-demo”", "a type of the catalogue"]);
    check("Create a spaceship x", &["“Create a spaceship x”", "a type of the catalogue", "understood: nothing"]);
    check("frobnicate namespace x", &["“frobnicate namespace x”", "a verb"]);
    check("create namespace", &["the name of the Kubernetes namespace"]);
    check("create namespace Team_A", &["name of this Kubernetes namespace: text that matches"]);
    check("create aks cluster a in eastus with 0 nodes", &["“with 0 nodes”", "a whole number from 1 to 1000"]);
    check("create aks cluster a in eastus in westus", &["“in westus”", "location once; it was eastus before"]);
    check("", &["understood: nothing"]);
    check("create namespace --all", &["does not begin with a dash"]);
    check("create namespaces a, b and delete", &["“delete”"]);
    check(
        "create aks cluster aks-demo",
        &["az_resource_group/rg-demo (implied by az_aks/aks-demo), location: found nothing", "say “in LOCATION”"],
    );
}

fn wanted(kind: &str, name: &str, depends_on: &[&str]) -> Wanted {
    let depends_on = depends_on.iter().map(|id| (*id).to_owned()).collect();
    Wanted {
        action: Action::Create,
        kind: kind.to_owned(),
        fields: [("name".to_owned(), name.to_owned())].into(),
        depends_on,
    }
}

#[test]
fn a_plan_can_be_read_by_somebody() {
    let resources = (0..=RESOURCES).map(|n| wanted("k8s_namespace", &format!("n{n}"), &[])).collect();
    let error = plan(shipped(), &Request { resources, ..Request::default() }, None).unwrap_err().to_string();
    assert!(error.contains("resources: found 501, expected at most 500"), "{error}");
    // As many as may be, with the longest commands, still fit into an event.
    let name = |n: usize| format!("aks-{n}-{}", "x".repeat(40));
    let clusters = (0..RESOURCES / 2).map(|n| {
        let mut cluster = wanted("az_aks", &name(n), &[]);
        cluster.fields.insert("location".to_owned(), "eastus".to_owned());
        cluster
    });
    let request = Request { resources: clusters.collect(), ..Request::default() };
    let made = plan(shipped(), &request, None).unwrap();
    assert_eq!(made.steps.len(), RESOURCES);
    assert!(made.document().to_string().len() < 900_000, "{}", made.document().to_string().len());
}

#[test]
fn words_and_request_agree() {
    let mut request = asked("create namespace a in production");
    request.environment = Some("staging".to_owned());
    let error = plan(shipped(), &request, None).unwrap_err().to_string();
    assert!(error.contains("environment: found staging, beside production in its words"), "{error}");
    request.environment = Some("production".to_owned());
    assert_eq!(plan(shipped(), &request, None).unwrap().environment.as_deref(), Some("production"));
}

#[test]
fn cycles_are_named() {
    let namespace = |name: &str, on: &[&str]| wanted("k8s_namespace", name, on);
    let resources = vec![
        namespace("z", &[]),
        namespace("a", &["k8s_namespace/b"]),
        namespace("b", &["k8s_namespace/c"]),
        namespace("c", &["k8s_namespace/a"]),
    ];
    let error = plan(shipped(), &Request { resources, ..Request::default() }, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "dependencies go round in a circle: k8s_namespace/a —depends_on→ k8s_namespace/b —depends_on→ k8s_namespace/c —depends_on→ \
         k8s_namespace/a"
    );
}

#[test]
fn everything_wrong_is_told_at_once() {
    let request = json!({
        "resources": [
            {"type": "spaceship", "name": "x"}, {"type": "az_aks", "name": "a b", "nodes": 3},
            {"type": "k8s_namespace", "name": "x", "action": "explode"},
            {"type": "k8s_deployment", "name": "web", "replicas": -1},
        ],
    });
    let request = request_json::read(request.to_string().as_bytes()).unwrap();
    let PlanError::Wrong(problems) = plan(shipped(), &request, None).unwrap_err() else { panic!() };
    let told: Vec<String> = problems.iter().map(|problem| format!("{} {}", problem.resource, problem.field)).collect();
    assert_eq!(
        told,
        [
            "spaceship/x type",
            "az_aks/a b name",
            "az_aks/a b nodes",
            "k8s_namespace/x action",
            "k8s_deployment/web replicas"
        ]
    );
    for words in [
        "create namespace a and delete namespace a",
        "delete namespace a and create deployment b in namespace a with image x",
    ] {
        assert!(refused(words).contains("expected"), "{words}");
    }
}

#[test]
fn documents_are_read_or_refused() {
    let read = |value: Value| request_json::read(value.to_string().as_bytes()).map_err(|error| error.to_string());
    let event = json!({"conformance": "same_plan", "intent": {"request": "x", "initiator": "i"},
        "target": {"cluster_endpoint_id": "e"}, "plan": {"resources_needed": [{"type": "t", "name": "n"}]}});
    let request = read(event).unwrap();
    assert_eq!((request.words.as_deref(), request.endpoint.as_deref()), (Some("x"), Some("e")));
    assert_eq!(request.needed, [("t".to_owned(), "n".to_owned())]);
    for (value, told) in [
        (json!([]), "the document: found a list, expected an object"),
        (json!({"requets": "x"}), "/requets: found a member that means nothing here"),
        (json!({"request": 1}), "/request: found 1, expected text"),
        (json!({"resources": [{"type": "x"}]}), "/resources/0/name: found nothing"),
        (json!({"resources": [{"type": "x", "name": "y", "z": []}]}), "/resources/0/z: found a list"),
        (json!({"variant": "purple"}), "/variant: found \"purple\", expected canary or blue-green"),
        (json!({"resources_needed": [1]}), "/resources_needed/0: found 1, expected an object"),
    ] {
        let error = read(value).unwrap_err();
        assert!(error.starts_with(told), "{error}");
    }
    assert!(request_json::read(b"{").unwrap_err().to_string().contains("no JSON"));
}

#[test]
fn prerequisites_say_how() {
    let alone = planned("create namespace a");
    assert_eq!(alone.needed[0].kind, "kubernetes_cluster");
    assert_eq!(
        alone.needed[0].check.as_deref().map(crate::argv::render).as_deref(),
        Some("kubectl-1.29 get --raw /readyz")
    );
    assert!(alone.needed[0].how.contains("same request"));
    let unknown = json!({"intent": {"request": "Create namespace a"}, "plan": {"resources_needed": [{"type": "cluster", "name": "none"}]}});
    let request = request_json::read(unknown.to_string().as_bytes()).unwrap();
    let error = plan(shipped(), &request, None).unwrap_err().to_string();
    assert!(error.contains("cluster/none, resources_needed: found a prerequisite of type \"cluster\""), "{error}");
    let missing = over("create service account bot in namespace apps", &json!([{"type": "az_aks", "name": "x"}]))
        .simulation
        .unwrap();
    assert_eq!(missing.missing.len(), 1);
    assert_eq!(missing.missing[0].0, "k8s_namespace/apps");
    let there = over(
        "create service account bot in namespace apps",
        &json!([{"type": "az_aks", "name": "x"}, {"type": "k8s_namespace", "name": "apps"}]),
    );
    assert!(there.simulation.unwrap().missing.is_empty());
}

#[test]
fn simulation() {
    let existing = json!({"resources": [
        {"type": "az_resource_group", "name": "rg-demo", "location": "westus"},
        {"type": "k8s_namespace", "name": "team-alpha", "owner": "team-a", "used_by": ["shop"]},
        {"type": "k8s_deployment", "name": "web", "namespace": "team-alpha", "replicas": 5, "owner": "team-w"},
    ]});
    let told = over(MODEL, &existing).simulation.unwrap();
    assert_eq!(told.runs, ["az_aks/aks-demo"]);
    assert_eq!(told.skipped.len(), 2);
    assert_eq!(over(MODEL, &existing).rollback_commands().len(), 1, "what was there before is not taken back");
    assert_eq!(
        told.differs,
        [("az_resource_group/rg-demo".to_owned(), "location".to_owned(), "westus".to_owned(), "eastus".to_owned())]
    );
    assert!(told.after.contains_key("az_aks/aks-demo") && told.after.len() == 4);
    let plan = over("delete namespace team-alpha and namespace gone", &existing);
    let told = plan.simulation.clone().unwrap();
    assert_eq!(told.skipped[0].0, "k8s_namespace/gone#delete");
    assert_eq!(told.affected.keys().collect::<Vec<_>>(), ["k8s_deployment/web", "shop", "team-a", "team-w"]);
    assert!(!told.after.contains_key("k8s_namespace/team-alpha"));
    // What was before is known, so the way back is.
    let plan = over("scale deployment web in namespace team-alpha to 3 replicas", &existing);
    assert_eq!(plan.rollback_commands(), ["kubectl-1.29 scale deployment web --namespace team-alpha --replicas 5"]);
    assert_eq!(plan.simulation.unwrap().after["k8s_deployment/web"]["replicas"], "3");
    assert_eq!(planned("scale deployment web to 3 replicas").left[0].1, "its replicas before is not known to the plan");
}

#[test]
fn canaries_stand_on_their_own() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    let plan = planned(&format!("create aks cluster aks-c in eastus and namespaces {} as a canary", names.join(", ")));
    let sizes: Vec<usize> = plan.waves.iter().map(|wave| wave.steps.len()).collect();
    // Two of twenty namespaces, with cluster and group; then eight; then ten.
    assert_eq!(sizes, [4, 8, 10]);
    let mut done = std::collections::BTreeSet::new();
    for wave in &plan.waves {
        done.extend(wave.steps.iter().map(String::as_str));
        for step in plan.steps.iter().filter(|step| wave.steps.contains(&step.id)) {
            assert!(step.depends_on.iter().all(|(id, _)| done.contains(id.as_str())), "{step:?}");
        }
    }
    assert_eq!(plan.document()["plan"]["variant"], "canary");
}

#[test]
fn blue_green_makes_a_twin_switches_and_retires() {
    let request = "create deployment web in namespace shop with image nginx:1.27 as blue-green";
    let first = planned(request);
    assert_eq!(
        first.commands(),
        [
            "kubectl-1.29 create deployment web-green --namespace shop --image nginx:1.27 --replicas 1",
            "kubectl-1.29 set selector service web app=web-green --namespace shop",
        ]
    );
    let second = over(request, &json!([{"type": "k8s_deployment", "name": "web-green", "namespace": "shop"}]));
    assert_eq!(
        second.commands(),
        [
            "kubectl-1.29 create deployment web-blue --namespace shop --image nginx:1.27 --replicas 1",
            "kubectl-1.29 set selector service web app=web-blue --namespace shop",
            "kubectl-1.29 delete deployment web-green --namespace shop",
        ]
    );
    let rollouts: Vec<Option<String>> =
        second.steps.iter().map(|step| step.rollout.as_deref().map(crate::argv::render)).collect();
    let at_work = "kubectl-1.29 rollout status deployment web-blue --namespace shop --timeout 10s";
    assert_eq!(
        rollouts,
        [Some(at_work.to_owned()), Some(at_work.to_owned()), None],
        "of what is deleted nothing is at work"
    );
    let waves: Vec<&str> = second.waves.iter().map(|wave| wave.name.as_str()).collect();
    assert_eq!(waves, ["twin", "switch", "retire"]);
    assert_eq!(second.rollback_commands()[0], "kubectl-1.29 set selector service web app=web-green --namespace shop");
    assert!(refused("create namespace a as blue-green").contains("k8s_deployment"));
}

#[test]
fn both_twins_there_is_no_plan() {
    let there = |name: &str| json!({"type": "k8s_deployment", "name": name, "namespace": "shop"});
    let existing = Existing::read(json!([there("web-green"), there("web-blue")]).to_string().as_bytes()).unwrap();
    let request = asked("create deployment web in namespace shop with image nginx:1.27 as blue-green");
    let error = plan(shipped(), &request, Some(&existing)).unwrap_err().to_string();
    assert!(error.contains("both web-green and web-blue"), "{error}");
}

#[test]
fn what_has_to_be_looked_at() {
    let ids = |glances: &[glance::Glance]| glances.iter().map(glance::Glance::id).collect::<Vec<_>>();
    let blue_green = asked("create deployment web in namespace shop with image nginx:1.27 as blue-green");
    let twins = glance::of_twins(shipped(), &blue_green);
    assert_eq!(ids(&twins), ["k8s_deployment/web-green", "k8s_deployment/web-blue", "k8s_deployment/web"]);
    assert_eq!(
        crate::argv::render(&twins[1].look.argv),
        "kubectl-1.29 get deployment web-blue --namespace shop --ignore-not-found --output name"
    );
    for words in ["create namespace a", "create namespace a as a canary", "not understood"] {
        assert_eq!(glance::of_twins(shipped(), &asked(words)), [], "{words}");
    }
    // A switch is of a name that nothing has to have; what is needed from elsewhere is looked at, too.
    let glances =
        glance::of_plan(&planned("create deployment web in namespace shop with image nginx:1.27 as blue-green"));
    assert_eq!(ids(&glances), ["k8s_deployment/web-green", "k8s_namespace/shop", "kubernetes_cluster"]);
}

#[test]
fn a_plan_is_gone_through_over_what_was_seen() {
    let mut made = planned("create namespace a and namespace b and namespace c");
    let (digest, glances) = (made.digest(), glance::of_plan(&made));
    let answer = |code: u64, stdout: &str| crate::preflight::Answer {
        code: Some(code),
        stdout: stdout.to_owned(),
        ..Default::default()
    };
    let answers = [
        ("k8s_namespace/a", answer(0, "namespace/a")),
        ("k8s_namespace/b", answer(0, "")),
        ("k8s_namespace/c", answer(1, "")),
        ("kubernetes_cluster", answer(0, "ok")),
    ];
    let mut sight = glance::Sight::default();
    sight.see(&glances, &answers.into_iter().map(|(id, answer)| (id.to_owned(), answer)).collect());
    made.simulate(shipped(), &sight);
    let told = made.simulation.clone().unwrap();
    assert_eq!(told.skipped, [("k8s_namespace/a".to_owned(), "it is there".to_owned())]);
    assert_eq!(told.runs, ["k8s_namespace/b", "k8s_namespace/c"]);
    assert_eq!((told.missing.len(), told.unknown[0].0.as_str()), (0, "k8s_namespace/c"));
    assert_eq!(
        told.after.keys().collect::<Vec<_>>(),
        ["k8s_namespace/a", "k8s_namespace/b", "k8s_namespace/c", "kubernetes_cluster"]
    );
    assert_eq!(made.digest(), digest, "its digest does not cover it");
    let document = made.document();
    assert_eq!(document["plan"]["simulation"]["unknown"][0]["reason"], "exit code 1", "{document}");
    // What it is read from again is the same.
    let listed = sight.existing.document();
    assert_eq!(Existing::read(listed.to_string().as_bytes()).unwrap(), sight.existing);
}

#[test]
fn hints_add_up() {
    let plan = planned("create aks cluster aks-a in eastus with 3 nodes and bucket logs-1 and namespace x");
    assert_eq!(plan.cost.monthly_cents, 3 * 7008 + 230);
    assert_eq!(plan.cost.unknown, ["az_resource_group/rg-a", "k8s_namespace/x"]);
    assert_eq!(plan.cloud, None, "two clouds");
    let quota = plan.quotas.iter().find(|quota| quota.name.contains("vCPU")).unwrap();
    assert_eq!(quota.units, 3);
    let read = quota.read.as_deref().map(crate::argv::render);
    assert_eq!(read.as_deref(), Some("az vm list-usage --location eastus --output json"));
    let mut request = asked("delete namespace x");
    for (window, notes) in [
        (json!({"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T02:00:00Z"}), 0),
        (json!({"start": "2026-01-01T02:00:00Z", "end": "2026-01-01T00:00:00Z"}), 1),
        (json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T02:00:00Z"}), 0),
        (json!("2026-01-01T00:00:00Z/2026-01-01T02:00:00Z"), 0),
        (json!("tonight"), 1),
    ] {
        request.window = Some(window);
        assert_eq!(super::plan(shipped(), &request, None).unwrap().window_notes.len(), notes);
    }
}

#[test]
fn exports() {
    let graph = planned(MODEL).graph();
    assert_eq!(
        graph.dot(),
        "digraph plan {\n  rankdir=BT;\n  node [shape=box];\n  \"az_resource_group/rg-demo\" [tooltip=\"create\"];\n  \
         \"az_aks/aks-demo\" [tooltip=\"create\"];\n  \"k8s_namespace/team-alpha\" [tooltip=\"create\"];\n  \"az_aks/aks-demo\" -> \
         \"az_resource_group/rg-demo\" [label=\"resource_group\"];\n  \"k8s_namespace/team-alpha\" -> \"az_aks/aks-demo\" \
         [label=\"runs_on\"];\n}\n"
    );
    assert_eq!(
        graph.mermaid(),
        "flowchart BT\n  s0[\"az_resource_group/rg-demo\"]\n  s1[\"az_aks/aks-demo\"]\n  s2[\"k8s_namespace/team-alpha\"]\n  s1 \
         -->|\"resource_group\"| s0\n  s2 -->|\"runs_on\"| s1\n"
    );
    assert_eq!(
        graph.json()["edges"][1],
        json!({"from": "k8s_namespace/team-alpha", "to": "az_aks/aks-demo", "by": "runs_on"})
    );
    let svg = graph.svg();
    assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>\n") && svg.matches("<rect").count() == 3, "{svg}");
    assert_eq!(svg.matches("marker-end").count(), 2);
}

/// A request with 200 resources of several kinds.
fn many() -> Value {
    let mut resources: Vec<Value> =
        (0..10).map(|n| json!({"type": "az_aks", "name": format!("aks-{n}"), "location": "eastus"})).collect();
    resources.extend((0..60).map(|n| json!({"type": "k8s_namespace", "name": format!("n{n}")})));
    resources.extend(
        (0..60).map(|n| json!({"type": "k8s_service_account", "name": format!("s{n}"), "namespace": format!("n{n}")})),
    );
    resources.extend((0..60).map(|n| {
        json!({"type": "k8s_role_binding", "name": format!("r{n}"), "namespace": format!("n{n}"), "role": "view",
            "service_account": format!("s{n}")})
    }));
    json!({ "resources": resources })
}

#[test]
fn two_hundred_resources() {
    let request = request_json::read(many().to_string().as_bytes()).unwrap();
    let plan = plan(shipped(), &request, None).unwrap();
    assert_eq!(plan.steps.len(), 200);
    let place: BTreeMap<&str, usize> = plan.steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect();
    for step in &plan.steps {
        assert!(step.depends_on.iter().all(|(id, _)| place[id.as_str()] < place[step.id.as_str()]), "{}", step.id);
    }
}

/// A JSON text with the members of each object in an order that `seed` draws.
fn shuffled(value: &Value, seed: &mut u64) -> String {
    let mut draw = || {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 40).unwrap_or(0)
    };
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            for at in (1..members.len()).rev() {
                members.swap(at, draw() % (at + 1));
            }
            let members: Vec<String> =
                members.into_iter().map(|(name, value)| format!("{}:{}", json!(name), shuffled(value, seed))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shuffled(item, seed)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The same input gives the same bytes, whatever the order of members.
    #[test]
    fn the_same_input_gives_the_same_bytes(seed in any::<u64>(), variant in 0..3) {
        let mut request = many();
        let existing = json!([{"owner": "o", "type": "k8s_namespace", "name": "n1", "used_by": ["b", "a"]}]);
        request["environment"] = "staging".into();
        request["window"] = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T02:00:00Z"});
        if variant == 1 {
            request["variant"] = "canary".into();
        }
        let bytes = |seed: &mut u64| {
            let request = request_json::read(shuffled(&request, seed).as_bytes()).unwrap();
            let existing = Existing::read(shuffled(&existing, seed).as_bytes()).unwrap();
            let catalogue = Catalogue::read(&[]).unwrap();
            let plan = plan(&catalogue, &request, (variant == 2).then_some(&existing)).unwrap();
            (plan.document().to_string(), plan.graph().svg())
        };
        prop_assert_eq!(bytes(&mut seed.clone()), bytes(&mut (seed ^ 0x5555)));
    }

    /// Words never end in a panic, and what is planned from them passes the guard.
    #[test]
    fn any_words_are_answered(words in "((create|delete|scale|set tag|the|a|aks cluster|namespaces?|deployment|in|to|with|and|,|as a canary|x|rg-a|eastus|3 nodes|\"|'|\\PC{0,3}) ?){0,14}") {
        if let Ok(plan) = plan(shipped(), &asked(&words), None) {
            for command in plan.commands().iter().chain(&plan.rollback_commands()) {
                prop_assert!(crate::argv::parse(command, shipped()).is_ok(), "{}", command);
            }
        }
    }
}
