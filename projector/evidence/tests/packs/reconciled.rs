//! A cloud's own log against changes, both ways, with real logs of a real cloud (see `real-inputs/SOURCES.md`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evidence::population::{Change, Details};
use evidence::reconcile::{Reconciliation, Rule, Source, reconcile};
use serde_json::json;

const SLACK_MS: u64 = 120_000;

fn real(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real-inputs").join(name)).unwrap()
}

fn ms(time: &str) -> u64 {
    u64::try_from(schemas::time::seconds(time).unwrap()).unwrap() * 1_000
}

/// An executed change at this time.
fn change(name: &str, time: &str, resources: &[&str], executor: &str) -> (Change, Details) {
    let at = ms(time);
    let seconds = i64::try_from(at / 1000).unwrap();
    let change = json!({
        "change": name, "classes": [], "closed": false, "environments": [], "events": 1, "executed": true, "first": 1,
        "first_at": at, "first_ts": seconds, "last": 1, "last_at": at, "last_ts": seconds, "outcomes": ["passed"],
        "phases": ["execute"], "probe": false, "started": true,
    });
    let details = json!({"change": name, "executors": [executor], "resources": resources});
    (serde_json::from_value(change).unwrap(), serde_json::from_value(details).unwrap())
}

fn over(source: Source, log: &[u8], changes: &[(Change, Details)], from: &str, to: &str) -> Reconciliation {
    reconcile(source, source.read(log).unwrap(), changes, (ms(from), ms(to)), SLACK_MS)
}

fn rules(found: &Reconciliation) -> BTreeMap<(&str, &str), Rule> {
    found.matches.iter().map(|one| ((one.change.as_str(), one.mutation.action.as_str()), one.rule)).collect()
}

#[test]
fn a_real_cloudtrail_file_is_read_for_what_it_is() {
    let read = Source::Cloudtrail.read(&real("cloudtrail-us-east-1-20230710T1215Z.json")).unwrap();
    // 156 records: 84 + 2 only read, 15 failed, 55 changed something.
    assert_eq!(read.mutations.len(), 55);
    assert_eq!(read.left_out, BTreeMap::from([("failed", 15), ("read only", 86)]));
    let deleted = read.mutations.iter().find(|one| one.action == "ssm:DeleteParameter").unwrap();
    assert_eq!(deleted.principal, "arn:aws:iam::123837392027:user/bert-jan");
    assert!(deleted.aliases.contains("bert-jan"));
    assert!(deleted.resources.iter().any(|name| name.starts_with("/credentials/stratus-red-team/")), "{deleted:?}");
}

#[test]
fn mutations_and_changes_find_each_other_by_the_strongest_rule() {
    let log = real("cloudtrail-us-east-1-20230710T1215Z.json");
    let at = "2023-07-10T12:10:00Z";
    let changes = [
        change("CHG-sg", at, &["aws_security_group/sg-04cfb7a4712d75b00"], "bert-jan"),
        change("CHG-role", at, &["aws_iam_role/stratus-red-team-ec2-steal-credentials-role"], "somebody-else"),
        change(
            "CHG-ami",
            at,
            &["aws_ami/arn:aws:ec2:us-east-1::image/ami-0aa1d83d0b0985c86", "aws_ami/ami-0aa1d83d0b0985c86"],
            "Bert-Jan",
        ),
        change("CHG-lost", at, &["aws_vpc/vpc-nobody-has-seen"], "bert-jan"),
        change("CHG-yesterday", "2023-07-09T12:10:00Z", &["aws_subnet/subnet-0ed352584ab4aa265"], "bert-jan"),
    ];
    let found = over(Source::Cloudtrail, &log, &changes, "2023-07-10T00:00:00Z", "2023-07-11T00:00:00Z");
    let rules = rules(&found);
    assert_eq!(rules[&("CHG-sg", "ec2:AuthorizeSecurityGroupIngress")], Rule::ResourceTimePrincipal);
    assert_eq!(rules[&("CHG-role", "iam:DeleteRole")], Rule::ResourceTime);
    assert_eq!(rules[&("CHG-ami", "ec2:ModifyImageAttribute")], Rule::ResourceTimePrincipal);
    let unseen: Vec<&str> = found.unseen.iter().map(|one| one.change.as_str()).collect();
    assert_eq!(unseen, ["CHG-lost", "CHG-yesterday"]);
    assert_eq!(found.matches.len() + found.unrecorded.len(), 55);
    assert!(!found.agrees());
    assert!(found.unrecorded.iter().any(|one| one.action == "ssm:DeleteParameter"));
}

#[test]
fn a_record_that_names_a_change_belongs_to_it_and_a_change_without_resources_is_found_by_who_and_when() {
    let log = String::from_utf8(real("cloudtrail-us-east-1-20230710T1215Z.json")).unwrap();
    let named = log.replace("Allow TLS inbound traffic", "CHG-tls");
    assert_ne!(named, log);
    let changes = [
        change("CHG-tls", "2023-07-01T00:00:00Z", &["aws_x/y"], "bot"),
        change("CHG-any", "2023-07-10T12:10:00Z", &[], "bert-jan"),
    ];
    let found = over(Source::Cloudtrail, named.as_bytes(), &changes, "2023-07-10T00:00:00Z", "2023-07-11T00:00:00Z");
    let rules = rules(&found);
    assert_eq!(rules[&("CHG-tls", "ec2:CreateSecurityGroup")], Rule::ChangeId);
    assert_eq!(rules[&("CHG-any", "ec2:CreateVpc")], Rule::PrincipalTime);
    // Outside the period there is no gap.
    let later = over(Source::Cloudtrail, log.as_bytes(), &[], "2023-07-11T00:00:00Z", "2023-07-12T00:00:00Z");
    assert!(later.agrees());
    assert_eq!(later.left_out["outside the period"], 55);
}

#[test]
fn a_real_kubernetes_audit_event_is_matched_by_name_kind_time_and_user() {
    let log = real("k8s-audit-create-deployment.json");
    let (from, to) = ("2018-10-26T00:00:00Z", "2018-10-27T00:00:00Z");
    let at = "2018-10-26T13:07:00Z";
    let only = |resource: &str, executor: &str| {
        over(Source::K8sAudit, &log, &[change("CHG-1", at, &[resource], executor)], from, to)
    };
    let found = only("k8s_deployment/nginx-deployment", "minikube-user");
    assert!(found.agrees(), "{found:?}");
    assert_eq!(found.matches[0].rule, Rule::ResourceTimePrincipal);
    assert_eq!(found.matches[0].mutation.action, "create deployments");
    assert_eq!(only("kubernetes_deployment_v1/default/nginx-deployment", "ann").matches[0].rule, Rule::ResourceTime);
    assert!(!only("k8s_service/nginx-deployment", "minikube-user").agrees());
    let elsewhere = over(Source::K8sAudit, &log, &[], from, to);
    assert_eq!((elsewhere.unrecorded.len(), elsewhere.agrees()), (1, false));
}

/// What kubectl did to an API server of version 1.34.2 for two people, of which half is recorded.
#[test]
fn a_real_session_of_kubectl_is_matched_where_it_is_recorded() {
    let log = real("k8s-audit-kubectl-session.log");
    let at = "2026-11-30T20:12:46Z";
    let changes = [
        change("CHG-ns", at, &["k8s_namespace/team-alpha"], "ines"),
        change("CHG-web", at, &["kubernetes_deployment_v1/web"], "bob"),
        change("CHG-robot", at, &["k8s_service_account/another-name"], "ines"),
        change("CHG-ghost", at, &["k8s_config_map/never-made"], "ines"),
    ];
    let found = over(Source::K8sAudit, &log, &changes, "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z");
    assert_eq!(
        rules(&found),
        BTreeMap::from([
            (("CHG-ns", "create namespaces"), Rule::ResourceTimePrincipal),
            (("CHG-ns", "patch namespaces"), Rule::ResourceTimePrincipal),
            (("CHG-web", "create deployments"), Rule::ResourceTime),
            (("CHG-web", "patch deployments/scale"), Rule::ResourceTime),
            (("CHG-robot", "create serviceaccounts"), Rule::ChangeId),
        ])
    );
    let unrecorded: Vec<(&str, &str)> =
        found.unrecorded.iter().map(|one| (one.principal.as_str(), one.action.as_str())).collect();
    assert_eq!(
        unrecorded,
        [
            ("ines", "create configmaps"),
            ("mallory", "create serviceaccounts"),
            ("mallory", "create clusterrolebindings"),
            ("mallory", "delete configmaps"),
        ]
    );
    assert_eq!(found.unseen.iter().map(|one| one.change.as_str()).collect::<Vec<_>>(), ["CHG-ghost"]);
    // One of the server's own twelve writes failed too.
    assert_eq!(
        found.left_out,
        BTreeMap::from([("a question", 1), ("control plane", 11), ("dry run", 1), ("failed", 2), ("read only", 15)])
    );
}

#[test]
fn kubernetes_stages_dry_runs_and_the_control_plane_are_left_out() {
    let record = String::from_utf8(real("k8s-audit-create-deployment.json")).unwrap();
    let with = |from: &str, to: &str| {
        let text = record.replacen(from, to, 1);
        assert_ne!(text, record, "{from} changes nothing");
        text
    };
    let log = [
        with("ResponseComplete", "RequestReceived"),
        with("\"code\":201", "\"code\":403"),
        with("default/deployments\"", "default/deployments?dryRun=All&x=1\""),
        with("\"verb\":\"create\"", "\"verb\":\"list\""),
        with("minikube-user", "system:kube-controller-manager"),
        with("\"resource\":\"deployments\"", "\"resource\":\"subjectaccessreviews\""),
        record.clone(),
        record.clone(),
    ];
    let read = Source::K8sAudit.read(log.join("\n").as_bytes()).unwrap();
    assert_eq!(read.mutations.len(), 1);
    let reasons: Vec<(&str, u64)> = read.left_out.into_iter().collect();
    assert_eq!(
        reasons,
        [
            ("a question", 1),
            ("an earlier stage", 1),
            ("control plane", 1),
            ("dry run", 1),
            ("failed", 1),
            ("read only", 1),
            ("the same request again", 1),
        ]
    );
}

#[test]
fn a_change_that_names_another_cloud_is_not_missed_here() {
    let mut other = change("CHG-azure", "2023-07-10T12:10:00Z", &["azurerm_vnet/x"], "bot");
    other.1.cloud = Some("azure".into());
    let log = br#"{"Records":[]}"#;
    let found = over(Source::Cloudtrail, log, &[other], "2023-07-10T00:00:00Z", "2023-07-11T00:00:00Z");
    assert!(found.agrees());
    assert_eq!(found.elsewhere, 1);
}

#[test]
fn bad_logs_say_where_and_what() {
    for (source, text, expect) in [
        (Source::Cloudtrail, &b""[..], "found nothing"),
        (Source::Cloudtrail, b"[{}]", "record 1"),
        (
            Source::Cloudtrail,
            br#"{"eventID":"1","eventName":"RunInstances","eventTime":"today"}"#,
            "record 1, eventTime: found today",
        ),
        (Source::K8sAudit, br#"{"kind":"Event","verb":"create"}"#, "record 1"),
        (Source::K8sAudit, b"\xff", "document 1"),
    ] {
        let error = source.read(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    // Before version 1.07 there was no readOnly: the verb says it.
    let old = br#"[{"eventID":"1","eventName":"DescribeInstances","eventTime":"2023-07-10T12:00:00Z"},{"eventID":"2","eventName":"RunInstances","eventTime":"2023-07-10T12:00:00Z","readOnly":"false"}]"#;
    assert_eq!(Source::Cloudtrail.read(old).unwrap().mutations.len(), 1);
}
