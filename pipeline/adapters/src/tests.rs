//! The adapters over the real files of `real-inputs/` (snapshots), over documents that are not what they claim, and
//! over programs of the user's own.

use super::*;
use schemas::redact;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TERRAFORM: &[u8] = include_bytes!("../real-inputs/terraform-plan-1.14-format-1.2.json");
const GITHUB: &[u8] = include_bytes!("../real-inputs/github-workflow_run-completed.json");
const DEPLOYMENT_REVIEW: &[u8] = include_bytes!("../real-inputs/github-deployment_review-requested.json");
const KUBERNETES: &[u8] = include_bytes!("../real-inputs/k8s-audit-create-deployment.json");
const CDEVENT: &[u8] = include_bytes!("../real-inputs/cdevents-approval-closed.json");
const CLOUDTRAIL: &[u8] = include_bytes!("../real-inputs/cloudtrail-us-east-1-20230710T1215Z.json");
const REAL: [(&str, &[u8]); 5] = [
    ("terraform-plan", TERRAFORM),
    ("github-workflow-run", GITHUB),
    ("k8s-audit", KUBERNETES),
    ("cdevents", CDEVENT),
    ("cloudtrail", CLOUDTRAIL),
];

fn given() -> Given {
    Given {
        tenant: Some("acme".into()),
        initiator: Some("ci-bot".into()),
        change: Some("chg-1042".into()),
        environment: Some("staging".into()),
        owner: Some("platform".into()),
        ..Given::default()
    }
}

/// What a person gives who relies on the document for everything else.
fn tenant_only() -> Given {
    Given { tenant: Some("acme".into()), ..Given::default() }
}

fn with(name: &str, document: &[u8], given: &Given) -> Result<Vec<Value>, String> {
    run(&Adapter::find(name).unwrap().program(), document, given)
}

fn run(program: &Program, document: &[u8], given: &Given) -> Result<Vec<Value>, String> {
    let adapted = adapt(program, document, given).map_err(|error| error.to_string())?;
    Ok(adapted.iter().map(|one| serde_json::from_slice(&one.event).unwrap()).collect())
}

fn edited(document: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(document).unwrap();
    edit(&mut value);
    serde_json::to_vec(&value).unwrap()
}

fn first(name: &str, document: &[u8]) -> Value {
    with(name, document, &given()).unwrap().remove(0)
}

#[test]
fn real_files_become_these_events() {
    for (name, document) in REAL {
        insta::assert_snapshot!(name, serde_json::to_string_pretty(&first(name, document)).unwrap());
    }
}

/// Records of `CloudTrail` that are not like the first: a service's own, throttled, made, denied, out of quota.
#[test]
fn other_real_records_of_cloudtrail_become_these_events() {
    let events = with("cloudtrail", CLOUDTRAIL, &given()).unwrap();
    for (name, number) in
        [("service", 7), ("throttled", 12), ("create-vpc", 61), ("assume-role-denied", 84), ("vpc-limit-exceeded", 100)]
    {
        insta::assert_snapshot!(format!("cloudtrail-{name}"), serde_json::to_string_pretty(&events[number]).unwrap());
    }
}

/// The real request, answered as GitHub documents it: see `real-inputs/SOURCES.md`.
fn reviewed(action: &str, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    edited(DEPLOYMENT_REVIEW, |review| {
        review["action"] = action.into();
        review["approver"] = review["sender"].clone();
        review["approver"]["login"] = "octocat".into();
        review["comment"] = "Looks right".into();
        let members = review.as_object_mut().unwrap();
        members.remove("requestor");
        members.remove("environment");
        edit(review);
    })
}

#[test]
fn a_deployment_review_of_github_becomes_an_approval() {
    let event = with("github-deployment-review", &reviewed("approved", |_| ()), &tenant_only()).unwrap().remove(0);
    insta::assert_snapshot!("github-deployment-review", serde_json::to_string_pretty(&event).unwrap());
    let of = |action: &str, given: &Given, edit: &dyn Fn(&mut Value)| {
        with("github-deployment-review", &reviewed(action, edit), given).unwrap().remove(0)["provisioning_event"].take()
    };
    let approval = |event: Value| event["preflight"]["approvals"][0].clone();
    let plain = |edit: &dyn Fn(&mut Value)| approval(of("approved", &tenant_only(), edit));
    assert_eq!(approval(of("rejected", &tenant_only(), &|_| ()))["decision"], "refused");
    // The plan is the one that the comment names, where it names one.
    let (one, two) = (format!("sha256:{}", "ab".repeat(32)), format!("sha256:{}", "cd".repeat(32)));
    let comment = |text: String| plain(&move |review| review["comment"] = text.clone().into())["plan_digest"].clone();
    assert_eq!(comment(format!("ok for {one}, {one}.")), one);
    assert_eq!(comment(format!("{one} or {two}")), Value::Null);
    assert_eq!(comment(format!("{one}0")), Value::Null);
    assert_eq!(plain(&|review| review["comment"] = Value::Null)["plan_digest"], Value::Null);
    // A role only where GitHub leaves one.
    assert_eq!(plain(&|_| ())["role"], "admins");
    let again = |review: &mut Value| {
        let team = review["reviewers"][0].clone();
        review["reviewers"].as_array_mut().unwrap().push(team);
    };
    assert_eq!(plain(&again)["role"], "deployment-reviewer");
    assert_eq!(plain(&|review| review["reviewers"] = json!([]))["role"], "deployment-reviewer");
    // Nothing in it makes a signature.
    assert_eq!(plain(&|review| review["signature"] = "SSH".into())["signature"], Value::Null);
    // The change is the run's own, unless it is said.
    let named = of("approved", &given(), &|_| ());
    assert_eq!((&named["change_id"], &named["attempt"]), (&json!("chg-1042"), &Value::Null));
    let bare = of("approved", &tenant_only(), &|review| {
        review["repository"]["full_name"] = Value::Null;
        review["workflow_run"]["repository"] = Value::Null;
    });
    assert_eq!(bare["change_id"], "github-5453085689");
}

/// Every record of the real file, a line each: what it is an event of, who did it and how it went.
#[test]
fn every_real_record_of_cloudtrail_is_told() {
    let line = |event: &Value| {
        let event = &event["provisioning_event"];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let step = &event["execution"]["steps"][0];
        let resources = event["target"]["resources"].as_array().map_or(0, Vec::len);
        format!(
            "{} {} {} rc={} resources={resources} {}",
            text(&event["timestamp"]),
            text(&event["phase"]),
            text(&event["intent"]["initiator"]),
            step["rc"],
            text(&event["intent"]["request"])
        )
    };
    let events = with("cloudtrail", CLOUDTRAIL, &tenant_only()).unwrap();
    insta::assert_snapshot!("cloudtrail-records", events.iter().map(line).collect::<Vec<_>>().join("\n"));
}

/// A batch of each kind: an event, the real `CDEvent`, sections under a type that names a phase, and anything else.
#[test]
fn cloudevents_become_these_events() {
    let cdevent: Value = serde_json::from_slice(CDEVENT).unwrap();
    let own = json!({"provisioning_event": {"id": "own-1", "timestamp": "2026-01-02T03:04:05Z", "phase": "plan",
        "intent": {"source": "api", "initiator": "ines", "tenant": "acme"}, "plan": {"commands": ["make it"]}}});
    let sections =
        json!({"initiator": "ines", "change_id": "chg-7", "execution": {"steps": [{"cmd": "make it", "rc": 0}]}});
    let batch = [
        cloudevent(&json!({"data": own})),
        cloudevent(&json!({"type": "dev.cdevents.approval.closed.0.1.0", "data": cdevent})),
        cloudevent(&json!({"type": "com.example.deploy.execute", "data": sections})),
        cloudevent(&json!({"type": "com.example.coffee", "data": "brewed"})),
    ];
    let batch: Vec<Value> = batch.iter().map(|one| serde_json::from_slice(one).unwrap()).collect();
    let events = with("cloudevents", &serde_json::to_vec(&batch).unwrap(), &tenant_only()).unwrap();
    insta::assert_snapshot!("cloudevents", serde_json::to_string_pretty(&events).unwrap());
}

/// How often each scalar of a document occurs, whatever its place.
fn scalars(value: &Value, counts: &mut BTreeMap<String, usize>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| scalars(item, counts)),
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            *counts.entry(format!("member {name}")).or_default() += 1;
            scalars(member, counts);
        }),
        scalar => *counts.entry(scalar.to_string()).or_default() += 1,
    }
}

#[test]
fn nothing_of_a_real_file_is_dropped() {
    for (name, document) in REAL {
        let (masked, _) = redact::mask_document(document).unwrap();
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        scalars(&serde_json::from_slice(&masked).unwrap(), &mut before);
        for event in with(name, document, &Given { initiator: Some("x".into()), ..tenant_only() }).unwrap() {
            scalars(&event, &mut after);
        }
        // Its rows are all there, as target.resources.
        before.remove("member resource_changes");
        // Each of its records is an event of its own.
        before.remove("member Records");
        for (scalar, count) in before {
            assert!(
                after.get(&scalar).is_some_and(|kept| *kept >= count),
                "{name}: {scalar} was there {count} times, kept {:?}",
                after.get(&scalar)
            );
        }
    }
}

#[test]
fn members_keep_the_order_of_the_document() {
    let adapted = adapt(&Adapter::find("terraform-plan").unwrap().program(), TERRAFORM, &given()).unwrap();
    let text = String::from_utf8(adapted[0].event.clone()).unwrap();
    let at = |member: &str| text.find(&format!("\"{member}\":")).unwrap();
    let order = [
        "id",
        "timestamp",
        "phase",
        "change_id",
        "intent",
        "target",
        "terraform_plan",
        "format_version",
        "planned_values",
        "configuration",
        "applyable",
        "errored",
    ];
    assert!(order.is_sorted_by_key(|member| at(member)), "{text}");
}

#[test]
fn the_secret_of_the_real_plan_is_gone_and_confirms_no_guess() {
    let event = first("terraform-plan", TERRAFORM);
    let secret = &event["provisioning_event"]["terraform_plan"]["configuration"]["provider_config"]["aws"]["expressions"]
        ["secret_key"];
    assert!(secret.to_string().contains("[masked:"), "{secret}");
    let other = edited(TERRAFORM, |plan| {
        plan["configuration"]["provider_config"]["aws"]["expressions"]["secret_key"]["constant_value"] =
            "another".into();
    });
    let same = edited(TERRAFORM, |_| ());
    assert_eq!(first("terraform-plan", &other), first("terraform-plan", &same), "the id must not depend on a secret");
}

#[test]
fn ids_depend_on_the_document_alone() {
    let id = |document: &[u8], given: &Given| {
        with("k8s-audit", document, given).unwrap()[0]["provisioning_event"]["id"].clone()
    };
    assert_eq!(id(KUBERNETES, &given()), id(KUBERNETES, &tenant_only()));
    assert_ne!(id(KUBERNETES, &given()), id(&edited(KUBERNETES, |audit| audit["verb"] = "update".into()), &given()));
}

#[test]
fn the_document_says_it_unless_a_flag_does() {
    let intent = |given: &Given| {
        with("k8s-audit", KUBERNETES, given).unwrap()[0]["provisioning_event"]["intent"]["initiator"].clone()
    };
    assert_eq!(intent(&tenant_only()), "minikube-user");
    assert_eq!(intent(&given()), "ci-bot");
    let event = with("k8s-audit", KUBERNETES, &given()).unwrap().remove(0);
    assert_eq!(
        event["provisioning_event"]["k8s_audit"]["user"]["username"], "minikube-user",
        "what a flag overrides is still kept"
    );
}

fn check_error(name: &str, document: &[u8], given: &Given, expect: &str) {
    let error = with(name, document, given).unwrap_err();
    assert!(error.contains(expect), "{name}: {error:?} does not say {expect:?}");
}

#[test]
fn what_a_file_is_not_is_said() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("terraform-plan", b"", "the file is empty"),
        ("terraform-plan", b" \n", "the file is empty"),
        ("terraform-plan", b"Terraform will perform", "line 1: not_json"),
        ("terraform-plan", b"{\"format_version\":\"1.2\"", "line 1: not_json"),
        ("terraform-plan", b"{\"a\":1,\"a\":2}", "duplicate_key"),
        ("terraform-plan", b"[]", "found an array of 0; expected the output of `terraform show -json"),
        ("terraform-plan", b"{}", "found an object without members"),
        ("terraform-plan", br#"{"@level":"info","@message":"x"}"#, "found an object with @level, @message"),
        ("terraform-plan", br#"{"format_version":"1.0","values":{}}"#, "found a Terraform state"),
        (
            "terraform-plan",
            br#"{"format_version":"2.0","planned_values":{}}"#,
            "(line 1, /format_version): found 2.0; expected a plan format 0.x or 1.x",
        ),
        (
            "terraform-plan",
            br#"{"format_version":"1.0","resource_changes":{}}"#,
            "/resource_changes): found an object without members; expected an array",
        ),
        (
            "terraform-plan",
            br#"{"format_version":"1.0","resource_changes":[{"type":"x"}]}"#,
            "a row without change.actions",
        ),
        (
            "terraform-plan",
            KUBERNETES,
            "found an object with annotations, auditID, kind, level, metadata, objectRef, …",
        ),
        ("github-workflow-run", TERRAFORM, "expected GitHub's workflow_run payload"),
        ("github-workflow-run", br#"{"workflow_run":{"id":"7"}}"#, "(line 1, /workflow_run): found an object with id"),
        ("github-workflow-run", b"\"text\"", "found the string \"text\""),
        ("github-deployment-review", DEPLOYMENT_REVIEW, "/action): found requested: nobody has decided yet"),
        (
            "github-deployment-review",
            GITHUB,
            "/action): found the string \"completed\"; expected GitHub's deployment_review",
        ),
        ("github-deployment-review", br#"{"action":"approved"}"#, "/approver): found null"),
        (
            "github-deployment-review",
            br#"{"action":"rejected","approver":{"login":"o"},"workflow_run":{"id":"7"}}"#,
            "/workflow_run): found an object with id",
        ),
        ("k8s-audit", GITHUB, "expected a Kubernetes audit Event"),
        ("k8s-audit", br#"{"kind":"Event","involvedObject":{}}"#, "an Event of the core API"),
        ("k8s-audit", br#"{"kind":"EventList","items":[{"verb":"get"}]}"#, "/items/0): found an object with verb"),
        ("k8s-audit", br#"{"kind":"EventList","items":[]}"#, "made no event"),
    ];
    for (name, document, expect) in cases {
        check_error(name, document, &given(), expect);
    }
}

#[test]
fn what_nobody_says_is_asked_for() {
    check_error(
        "terraform-plan",
        TERRAFORM,
        &tenant_only(),
        "the document says no initiator (line 1): add --initiator",
    );
    check_error("k8s-audit", KUBERNETES, &Given::default(), "add --tenant");
    let old = edited(TERRAFORM, |plan| drop(plan.as_object_mut().unwrap().remove("timestamp")));
    check_error("terraform-plan", &old, &given(), "add --timestamp");
    let at = Some("2026-01-02T03:04:05Z".to_owned());
    assert_eq!(
        with("terraform-plan", &old, &Given { timestamp: at, ..given() }).unwrap()[0]["provisioning_event"]["timestamp"],
        "2026-01-02T03:04:05Z"
    );
}

#[test]
fn what_admission_would_refuse_never_leaves() {
    check_error(
        "k8s-audit",
        KUBERNETES,
        &Given { timestamp: Some("yesterday".into()), ..given() },
        "would be rejected, bad_timestamp",
    );
    check_error("k8s-audit", KUBERNETES, &Given { tenant: Some("Acme!".into()), ..given() }, "would be rejected");
    let large = edited(KUBERNETES, |audit| audit["requestObject"]["blob"] = "x".repeat(1_000_001).into());
    check_error("k8s-audit", &large, &given(), "the largest parts are k8s_audit.requestObject (1");
}

fn plan(document: Value) -> Value {
    let mut document = document;
    document["format_version"] = "1.2".into();
    document["timestamp"] = "2026-05-06T22:20:20Z".into();
    first("terraform-plan", document.to_string().as_bytes())["provisioning_event"].take()
}

#[test]
fn a_replacement_is_two_rows_and_what_stays_has_no_action() {
    let row = |name: &str, actions: &[&str]| json!({"address": format!("t.{name}"), "type": "t", "name": name, "change": {"actions": actions, "before": {"a": 1}, "after": null}});
    let event = plan(
        json!({"resource_changes": [row("a", &["create", "delete"]), row("b", &["no-op"]), row("c", &["forget"]), row("d", &["read"])]}),
    );
    let rows: Vec<String> = event["target"]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| format!("{} {} {}", r["name"], r["action"], r["change"]["actions"]))
        .collect();
    assert_eq!(
        rows,
        [
            r#""a" "create" ["create","delete"]"#,
            r#""a" "delete" null"#,
            r#""b" null ["no-op"]"#,
            r#""c" null ["forget"]"#,
            r#""d" "read" ["read"]"#
        ]
    );
    assert_eq!(event["intent"]["request"], "Terraform plan: 1 to create, 1 to delete, 1 to read");
}

#[test]
fn checks_and_errors_of_a_plan_are_not_lost() {
    let check = |name: &str, status: &str| json!({"address": {"kind": "check", "to_display": name}, "status": status, "instances": []});
    let event = plan(
        json!({"planned_values": {}, "errored": true, "checks": [check("check.up", "pass"), check("check.dns", "fail"), check("check.later", "unknown")]}),
    );
    let checks: Vec<String> = event["preflight"]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{} {}", c["target"], c["ok"]))
        .collect();
    assert_eq!(checks, [r#""check.up" true"#, r#""check.dns" false"#, r#""check.later" null"#, "null false"]);
    assert_eq!(event["plan"]["commands"], json!([]), "a plan in error is nothing to apply");
}

#[test]
fn the_graph_follows_variables_outputs_data_and_depends_on() {
    let resource =
        |address: &str, refs: &[&str]| json!({"address": address, "expressions": {"x": {"references": refs}}});
    let event = plan(json!({"planned_values": {}, "configuration": {"root_module": {
        "resources": [resource("net.a", &[]), resource("data.zone.z", &["net.a[0].id", "net.a"]), resource("out.o", &["module.m[0].id", "module.m[0]", "module.m"]),
            {"address": "late.l", "depends_on": ["module.m"]}],
        "module_calls": {"m": {
            "expressions": {"zone": {"references": ["data.zone.z.id", "data.zone.z"]}},
            "depends_on": ["net.a"],
            "module": {
                "resources": [resource("host.h", &["var.zone", "local.unknown", "each.key"]), resource("free.f", &[])],
                "outputs": {"id": {"expression": {"references": ["host.h.id", "host.h"]}}},
            },
        }},
    }}}));
    let edges: Vec<String> = event["plan"]["dependency_graph"]["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| format!("{}>{}", e["from"].as_str().unwrap(), e["to"].as_str().unwrap()))
        .collect();
    assert_eq!(
        edges,
        [
            "data.zone.z>net.a",
            "late.l>module.m.free.f",
            "late.l>module.m.host.h",
            "module.m.free.f>net.a",
            "module.m.host.h>data.zone.z",
            "module.m.host.h>net.a",
            "out.o>module.m.host.h",
        ]
    );
}

#[test]
fn a_hostile_graph_ends() {
    let event = plan(json!({"planned_values": {}, "configuration": {"root_module": {
        "resources": [{"address": "a.a", "expressions": {"x": {"references": ["module.m.o", "a.a", "", ".", "var.", "module", "module.none.x", "data.x"]}}}],
        "module_calls": {"m": {
            "expressions": {"v": {"references": ["module.m.o"]}},
            "module": {"outputs": {"o": {"expression": {"references": ["var.v", "module.m.o"]}}}},
        }},
    }}}));
    assert_eq!(event["plan"]["dependency_graph"], json!({"nodes": ["a.a"], "edges": []}));
}

#[test]
fn a_run_that_failed_was_skipped_or_still_runs() {
    for (status, conclusion, rc) in [
        ("completed", json!("failure"), json!(1)),
        ("completed", json!("timed_out"), json!(1)),
        ("completed", json!("cancelled"), json!(1)),
        ("completed", json!("neutral"), json!(0)),
        ("completed", json!("skipped"), Value::Null),
        ("in_progress", Value::Null, Value::Null),
    ] {
        let document = edited(GITHUB, |payload| {
            payload["workflow_run"]["status"] = status.into();
            payload["workflow_run"]["conclusion"] = conclusion.clone();
        });
        let event = first("github-workflow-run", &document);
        assert_eq!(event["provisioning_event"]["execution"]["steps"][0]["rc"], rc, "{status} {conclusion}");
    }
}

#[test]
fn the_rest_api_s_own_form_of_a_run_is_taken_too() {
    let bare = edited(GITHUB, |payload| *payload = payload["workflow_run"].take());
    assert_eq!(first("github-workflow-run", &bare)["provisioning_event"]["execution"]["steps"][0]["rc"], 0);
}

#[test]
fn an_audit_log_is_an_event_a_line_and_a_list_an_event_an_item() {
    let compact = edited(KUBERNETES, |_| ());
    let log = [compact.as_slice(), b"\r\n\n", &compact, b"\n"].concat();
    let adapted = adapt(&Adapter::find("k8s-audit").unwrap().program(), &log, &given()).unwrap();
    assert_eq!(adapted.iter().map(|one| one.line).collect::<Vec<_>>(), [1, 3]);
    check_error("k8s-audit", &[compact.as_slice(), b"\n{}\n"].concat(), &given(), "(line 2, the document)");
    check_error("k8s-audit", &[compact.as_slice(), b"\nnonsense\n"].concat(), &given(), "line 2: not_json");

    let list = json!({"kind": "EventList", "items": [serde_json::from_slice::<Value>(&compact).unwrap(), serde_json::from_slice::<Value>(&compact).unwrap()]});
    let events = with("k8s-audit", list.to_string().as_bytes(), &given()).unwrap();
    let id = |n: usize| events[n]["provisioning_event"]["id"].as_str().unwrap().to_owned();
    assert_eq!(id(1), format!("{}-2", id(0)));
}

#[test]
fn a_refused_request_failed_and_a_dry_run_executed_nothing() {
    let forbidden = edited(KUBERNETES, |audit| {
        audit["responseStatus"] = json!({"code": 403, "status": "Failure", "message": "forbidden: quota"});
    });
    let step = &first("k8s-audit", &forbidden)["provisioning_event"]["execution"]["steps"][0];
    assert_eq!((&step["rc"], &step["stderr"]), (&json!(1), &json!("forbidden: quota")));

    let dry = edited(KUBERNETES, |audit| {
        audit["requestURI"] = "/apis/apps/v1/namespaces/default/deployments?dryRun=All&fieldManager=x".into();
    });
    let event = first("k8s-audit", &dry);
    assert_eq!(
        (&event["provisioning_event"]["phase"], &event["provisioning_event"]["execution"]),
        (&json!("preflight"), &Value::Null)
    );
    assert_eq!(event["provisioning_event"]["preflight"]["checks"][0]["ok"], true);

    let received = edited(KUBERNETES, |audit| drop(audit.as_object_mut().unwrap().remove("responseStatus")));
    assert_eq!(first("k8s-audit", &received)["provisioning_event"]["execution"]["steps"][0]["rc"], Value::Null);
}

#[test]
fn programs_of_ones_own() {
    let mine = Program::new(
        "mine.jq",
        r#"event(0; "verify"; {timestamp: .at, initiator: .who}; {verification: {checks: [{type: "http", ok: (.code < 400)}]}, mine: .})"#,
    );
    let events = run(
        &mine,
        br#"{"at":"2026-01-02T03:04:05Z","who":"ada","code":200,"big":12345678901234567890123,"exact":1.10}"#,
        &tenant_only(),
    );
    // Integers past 2^53 are refused as everywhere.
    assert!(events.unwrap_err().contains("integer_too_large"));
    let document = br#"{"at":"2026-01-02T03:04:05Z","who":"ada","code":200,"exact":1.10}"#;
    let adapted = adapt(&mine, document, &tenant_only()).unwrap();
    let text = String::from_utf8(adapted[0].event.clone()).unwrap();
    assert!(text.contains(r#""exact":1.10"#), "numbers keep their digits: {text}");
}

#[test]
fn a_program_that_is_wrong_says_where() {
    let cases = [
        ("1 +", "mine.jq, line 1: "),
        (".\n| ) .", "mine.jq, line 2: "),
        (".\n\n| nonsense", "mine.jq, line 3: undefined filter nonsense"),
        ("$nonsense", "mine.jq, line 1: undefined variable $nonsense"),
        ("import \"a\" as a; .", "without imports"),
        ("now", "no clock"),
        ("env", "no clock"),
        ("halt", "no clock"),
        ("\"x\" | error", "mine.jq failed on the document at line 1: x"),
        ("empty", "mine.jq made no event"),
        (
            "repeat({provisioning_event: {id: $id, timestamp: \"2026-01-02T03:04:05Z\", phase: \"plan\", intent: {source: \"api\", initiator: \"x\", tenant: \"acme\"}}})",
            "more than 10000 events",
        ),
        (".", "would be rejected, not_an_event"),
        ("nan", "would be rejected"),
        ("missing(\"ticket\")", "add --ticket"),
    ];
    for (source, expect) in cases {
        let error = run(&Program::new("mine.jq", source), b"{}", &given()).unwrap_err();
        assert!(error.contains(expect), "{source}: {error:?} does not say {expect:?}");
    }
}

#[test]
fn every_adapter_compiles_and_is_found_by_its_name() {
    for adapter in ADAPTERS {
        assert_eq!(Adapter::find(adapter.name).unwrap().name, adapter.name);
        check_error(adapter.name, b"0", &given(), "this is not what");
    }
    assert!(Adapter::find("nagios").is_none());
    assert!(ADAPTERS.is_sorted_by_key(|adapter| adapter.name));
}

fn cloudevent(members: &Value) -> Vec<u8> {
    let mut document = json!({"specversion": "1.0", "id": "ce-1", "source": "/x", "type": "com.example.deploy.execute", "time": "2026-01-02T03:04:05Z"});
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    serde_json::to_vec(&document).unwrap()
}

#[test]
fn a_cloudevent_is_what_it_carries() {
    let adapted = |document: &[u8]| with("cloudevents", document, &tenant_only()).unwrap();
    let own: Value = serde_json::from_slice(&cloudevent(&json!({"data": {"provisioning_event": {
        "id": "mine", "timestamp": "2026-01-02T03:04:05Z", "phase": "verify", "change_id": "c-9",
        "intent": {"source": "api", "initiator": "ann", "tenant": "acme"}}}})))
    .unwrap();
    let event = &adapted(&serde_json::to_vec(&own).unwrap())[0]["provisioning_event"];
    assert_eq!(
        (&event["id"], &event["phase"], &event["cloudevent"]["id"]),
        (&json!("mine"), &json!("verify"), &json!("ce-1"))
    );

    let cdevent: Value = serde_json::from_slice(CDEVENT).unwrap();
    let carried = cloudevent(&json!({"type": "dev.cdevents.approval.closed.0.1.0", "data": cdevent}));
    let event = &adapted(&carried)[0]["provisioning_event"];
    assert_eq!(event["preflight"]["approvals"][0]["approver"], "urn:user:bob");
    assert_eq!(event["change_id"], "4c8cb7dd-3448-41de-8768-eec704e2829b");

    let steps = cloudevent(
        &json!({"data": {"change_id": "c-1", "actor": "ann", "execution": {"steps": [{"cmd": "a", "rc": 0}]}}}),
    );
    let event = &adapted(&steps)[0]["provisioning_event"];
    assert_eq!((&event["phase"], &event["intent"]["initiator"]), (&json!("execute"), &json!("ann")));
    assert_eq!(event["execution"]["steps"][0]["rc"], 0);
    let other = cloudevent(&json!({"type": "com.example.coffee", "data": "brewed"}));
    assert_eq!(adapted(&other)[0]["provisioning_event"]["phase"], "audit");
    let batch = [b"[".as_slice(), &steps, b",", &other, b"]"].concat();
    assert_eq!(adapted(&batch).len(), 2);
    check_error("cloudevents", b"[{}]", &given(), "/0");
}

#[test]
fn cloudtrail_calls_that_only_read_execute_nothing() {
    let events = with("cloudtrail", CLOUDTRAIL, &tenant_only()).unwrap();
    let phases = |phase: &str| events.iter().filter(|event| event["provisioning_event"]["phase"] == phase).count();
    assert_eq!((events.len(), phases("execute"), phases("verify")), (156, 70, 86));
    let failed = events.iter().find(|event| event["provisioning_event"]["execution"]["steps"][0]["rc"] == 1);
    assert!(failed.is_none() || failed.unwrap()["provisioning_event"]["execution"]["steps"][0]["stderr"].is_string());
}
