//! The packs in `docs/examples`, made again byte for byte: the model's own example, a change that failed, was rolled back and tried again, and
//! events by somebody who means harm. They are functions of what their `pack.json` names, so these bytes come out on any machine in any year.

use evidence::Verdict;
use schemas::ids::Producer;

use crate::world::{World, event, made_again, zipped};

/// The model's example: one event with all sections.
pub(crate) fn one_event() -> World {
    let mut world = World::new();
    world.add(include_bytes!("../../../testdata/example.json"));
    world
}

/// Adds an event as sent by a producer.
fn by(world: &mut World, producer: &str, phase: &str, sections: &str) {
    let producer = Producer::parse(producer).unwrap();
    let governance = format!(r#"{{"owner":"payments","visibility":"org","closed":{}}}"#, phase == "audit");
    let sections = format!(r#""change_class":"normal","governance":{governance},{sections}"#);
    let event = String::from_utf8(event(phase, "CHG-2041", &sections)).unwrap();
    let intent = r#""request":"Resize the payments database to 8 vCPU","reason":"Checkout is slow at noon","ticket":"OPS-977","source":"ticket","initiator":"ann@example.com""#;
    let event = event.replace(&format!(r#""id":"CHG-2041-{phase}""#), &format!(r#""id":"CHG-2041-{}""#, world.size()));
    let event = event.replace(r#""request":"Make <b>one</b> cluster","source":"api","initiator":"user-123""#, intent);
    world.add_as(event.as_bytes(), |header| header.producer = Some(producer));
}

/// Planned, approved, failed at its second step, rolled back and checked; planned again with another step, approved by two, done, verified,
/// closed.
pub(crate) fn rolled_back() -> World {
    let mut world = World::new();
    let target = r#""target":{"cloud":"azure","cluster_endpoint_id":"prod-east","resources":[{"type":"az_postgres","name":"payments","resource_group":"rg-pay","action":"update"}]}"#;
    let undo = r#""rollback":{"available":true,"plan":["az postgres flexible-server update --name payments --sku-name Standard_D4s_v3"]}"#;
    let plan = |commands: &str| {
        format!(
            r#"{target},"plan":{{"commands":[{commands}],"approvals":["db-owners"],"impact":{{"description":"One minute without writes","security":"none"}}}},{undo}"#
        )
    };
    let first = plan(
        r#""az postgres flexible-server stop --name payments","az postgres flexible-server update --name payments --sku-name Standard_D8s_v3""#,
    );
    let second = plan(
        r#""az postgres flexible-server stop --name payments","az vm list-usage --location eastus","az postgres flexible-server update --name payments --sku-name Standard_D8s_v3","az postgres flexible-server start --name payments""#,
    );
    let digest = |sections: &str| schemas::plan::digest(&event("plan", "CHG-2041", sections)).unwrap();
    let approve = |approver: &str, at: &str, sections: &str| {
        format!(
            r#"{{"approver":"{approver}","role":"db-owners","decision":"approved","at":"{at}","plan_digest":"{}"}}"#,
            digest(sections)
        )
    };
    let checks = r#""checks":[{"type":"quota","name":"vCPU in eastus","ok":true},{"type":"dry-run","name":"what-if","ok":true}],"policies":[{"name":"tags-present","ok":true}]"#;
    by(&mut world, "planner", "plan", &first);
    let given = approve("eve@example.com", "2025-10-09T12:00:00Z", &first);
    by(&mut world, "chat", "preflight", &format!(r#""preflight":{{{checks},"approvals":[{given}]}}"#));
    by(
        &mut world,
        "runner",
        "execute",
        r#""execution":{"agent":"agent-session","executor":"runner-7","mTLS":true,"steps":[{"cmd":"az postgres flexible-server stop --name payments","rc":0,"stdout":"stopped\n","duration_ms":8123},{"cmd":"az postgres flexible-server update --name payments --sku-name Standard_D8s_v3","rc":1,"stderr":"QuotaExceeded: standardDSv3Family in eastus\n","duration_ms":2101}]}"#,
    );
    by(
        &mut world,
        "runner",
        "execute",
        r#""rollback":{"available":true,"plan":["az postgres flexible-server update --name payments --sku-name Standard_D4s_v3"],"dry_run":{"ok":true,"name":"what-if"},"executed":{"steps":[{"cmd":"az postgres flexible-server start --name payments","rc":0,"stdout":"Ready\n"}],"outcome":"succeeded"}}"#,
    );
    by(
        &mut world,
        "checker",
        "verify",
        r#""verification":{"checks":[{"type":"connectivity","name":"payments answers","ok":true}]}"#,
    );
    by(&mut world, "planner", "plan", &format!(r#""attempt":2,{second}"#));
    let both = ["eve@example.com", "zoe@example.com"]
        .map(|approver| approve(approver, "2025-10-09T12:00:00Z", &second))
        .join(",");
    by(&mut world, "chat", "preflight", &format!(r#""attempt":2,"preflight":{{{checks},"approvals":[{both}]}}"#));
    by(
        &mut world,
        "runner",
        "execute",
        r#""attempt":2,"execution":{"agent":"agent-session","executor":"runner-7","mTLS":true,"steps":[{"cmd":"az postgres flexible-server stop --name payments","rc":0},{"cmd":"az vm list-usage --location eastus","rc":0,"stdout":"standardDSv3Family 12 of 64\n"},{"cmd":"az postgres flexible-server update --name payments --sku-name Standard_D8s_v3","rc":0,"stdout_ref":"obs://logs/CHG-2041/3"},{"cmd":"az postgres flexible-server start --name payments","rc":0}]}"#,
    );
    by(
        &mut world,
        "checker",
        "verify",
        r#""attempt":2,"verification":{"checks":[{"type":"connectivity","name":"payments answers","ok":true},{"type":"read_back","name":"sku is Standard_D8s_v3","ok":true}],"slo":[{"name":"checkout p95 below 800 ms","ok":true}],"drift":{"baseline_hash":"sha256:41","current_hash":"sha256:42","diff":["sku: Standard_D4s_v3 -> Standard_D8s_v3"]}}"#,
    );
    by(&mut world, "checker", "audit", r#""attempt":2"#);
    world
}

/// Text that would be a script, a style, a frame, a link, an escape of a terminal or a turn of the line, if anything took it for one.
pub(crate) const HARM: [&str; 12] = [
    "<script>window.owned=1;alert('owned')</script>",
    "</td></table></section><style>*{display:none}</style>",
    "<img src=x onerror=window.owned=1><svg onload=window.owned=1>",
    "\\\" autofocus onfocus=window.owned=1 x=\\\"",
    "<iframe src=https://example.org/></iframe><meta http-equiv=refresh content=0>",
    "javascript:window.owned=1",
    "{{ 7*7 }}{% for %}&lt;b&gt;&amp;",
    "\\u001b]0;owned\\u0007\\u001b[2J\\u001b[31mred",
    "\\u202egnp.exe\\u202c\\u2066\\u2069 \\u200b\\u200d\\ufeff",
    "line\\r\\nfeed\\u2028\\u2029\\u0085\\u0000",
    "-->]]><!--<![CDATA[</title></head>",
    "\\udb40\\udc54\\udb40\\udc41\\udb40\\udc47 e\\u0301\\u0301\\u0301 \\u5202 \\u0645\\u0631\\u062d\\u0628\\u0627",
];

/// Every text of a change is one of [`HARM`].
pub(crate) fn harmful() -> World {
    let sections = [
        (
            "plan",
            r#""target":{"cloud":"?","resources":[{"type":"?","name":"?","?":"?"}]},"plan":{"commands":["?","?"],"approvals":["?"],"impact":{"description":"?"},"window":"?","variant":"?"},"governance":{"owner":"?","visibility":"?"}"#,
        ),
        ("plan", r#""attempt":2,"plan":{"commands":["?","?"],"digest":"?"}"#),
        (
            "preflight",
            r#""preflight":{"checks":[{"type":"?","ok":false,"?":"?"}],"policies":[{"name":"?","decision":"?"}],"approvals":[{"approver":"?","role":"?","decision":"?","at":"?","plan_digest":"?","signature":"?"}],"risk":"?"}"#,
        ),
        (
            "execute",
            r#""execution":{"agent":"?","executor":"?","tools":[{"name":"?"}],"steps":[{"cmd":"?","rc":1,"stdout":"?","stderr":"?","stdout_ref":"?"},{"argv":["?","?"],"rc":-9}]}"#,
        ),
        (
            "verify",
            r#""verification":{"checks":[{"type":"?","name":"?","ok":false,"message":"?"}],"slo":[{"name":"?","status":"?"}],"drift":{"baseline_hash":"?","diff":["?",{"?":"?"}]}}"#,
        ),
        (
            "execute",
            r#""rollback":{"available":true,"plan":["?"],"dry_run":{"?":"?"},"executed":{"steps":[{"cmd":"?","rc":1,"stderr":"?"}],"outcome":"?"}}"#,
        ),
        ("audit", r#""audit_trace":[{"ts":"?","msg":"?","?":"?"}]"#),
    ];
    let mut world = World::new();
    let mut next = HARM.iter().cycle();
    for (phase, sections) in sections {
        let sent = String::from_utf8(event(phase, "<script>owned</script>", sections)).unwrap();
        let sent = sent
            .replace("<b>one</b>", "?")
            .replace(r#""source":"api","initiator":"user-123""#, r#""source":"?","initiator":"?""#);
        let mut filled = String::new();
        for part in sent.split_inclusive('?') {
            filled.push_str(part.trim_end_matches('?'));
            if part.ends_with('?') {
                filled.push_str(next.next().unwrap());
            }
        }
        world.add(filled.as_bytes());
    }
    world
}

/// A name, the world and the change of each example.
fn examples() -> [(&'static str, World, &'static str); 3] {
    [
        ("one-event.zip", one_event(), "e5f2a4a2-86d1-41b6-a6f3-7a7e2b1c7f10"),
        ("rolled-back.zip", rolled_back(), "CHG-2041"),
        ("harmful.zip", harmful(), "<script>owned</script>"),
    ]
}

#[test]
fn the_examples_in_docs_are_made_again_byte_for_byte() {
    for (name, world, change) in examples() {
        let files = world.files(change);
        let report = world.verify(&files);
        assert_eq!(report.verdict, Verdict::Ok, "{name}: {report}");
        made_again(name, &zipped(&files));
        made_again("packs.vkey", format!("{}\n", world.signer.verifier().to_vkey()).as_bytes());
    }
}

#[test]
fn what_means_harm_is_text_on_the_page() {
    let page = String::from_utf8(harmful().files("<script>owned</script>")["index.html"].clone()).unwrap();
    for markup in [
        "<script",
        "<img",
        "<iframe",
        "<style>*",
        "\" autofocus",
        "<svg onload",
        "<!--",
        "<meta http-equiv=refresh",
        "<![CDATA",
    ] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert_eq!((page.matches("<style>").count(), page.matches("</title></head>").count()), (1, 0));
    for shown in [
        "&#60;script&#62;window.owned=1",
        r"\u{202e}gnp.exe",
        r"\u{1b}[2J",
        r"line\u{d}\u{a}feed",
        "{{ 7*7 }}",
        "javascript:window",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(!page.contains("href=\"javascript"));
}

/// A megabyte in one text makes neither page nor pack useless.
#[test]
fn a_megabyte_in_one_text_is_ended_on_the_page_and_whole_in_the_pack() {
    let mut world = World::new();
    let long = "A".repeat(900_000);
    world.add(&event("execute", "a", &format!(r#""execution":{{"steps":[{{"cmd":"{long}","rc":0}}]}}"#)));
    world.add(&event("verify", "a", &format!(r#""verification":{{"checks":[{{"type":"{long}","ok":true}}]}}"#)));
    let files = world.files("a");
    assert_eq!(world.verify(&files).verdict, Verdict::Ok);
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    assert!(page.len() < 60_000, "{}", page.len());
    assert!(page.contains("[900008 characters; the whole text is in the event]"));
    assert!(String::from_utf8(files["logs/0000000001-execution.json"].clone()).unwrap().contains(&long));
}
