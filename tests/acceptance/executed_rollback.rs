//! "Level 4 requires at least one executed rollback with evidence": a change is made for real, its verification fails, it is taken back without anybody's doing,
//! verified again and closed; the pack holds the whole thread, and the level's gate counts it.

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, wait_for};

use crate::house::{House, approve, event_that, events, request, verdict};

/// A door that each folder has to have, which nobody made.
pub(crate) fn options(house: &House, rollback: &str) {
    let land = house.land();
    let land = land.display();
    let text = format!(
        "catalogue = [\"folders.toml\"]\n\n[verify]\ndeadline_s = 1\ninterval_ms = 100\n\n[[verify.probes]]\nname = \"door\"\ntypes = [\"folder\"]\n\
         command = \"ls -d {land}/{{area}}/{{name}}/door\"\n\n[drift]\nevery_s = 0\n\n[rollback]\npause_ms = 50\nretries = 1\n{rollback}\n"
    );
    std::fs::write(house.options(), text).expect("written");
}

/// All texts of a pack's files that match.
fn unzip(pack: &str, pattern: &str) -> String {
    let out = std::process::Command::new("unzip").args(["-p", pack, pattern]).output().expect("unzip runs");
    String::from_utf8(out.stdout).expect("text")
}

/// Every object in a document that has this id.
fn find<'v>(value: &'v Value, id: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(members) => {
            if members.get("id").is_some_and(|known| known == id) {
                found.push(value);
            }
            members.values().for_each(|inner| find(inner, id, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| find(inner, id, found)),
        _ => {}
    }
}

fn ids(server: &Server, change: &str) -> Vec<String> {
    let all = events(server, change);
    all.iter()
        .map(|event| event["id"].as_str().expect("an id").trim_start_matches(&format!("{change}.")).to_owned())
        .collect()
}

#[test]
fn executed_rollback() {
    let house = House::new("");
    options(&house, "automatic = [\"verification\"]\nenvironments = [\"test\"]");
    let server = house.working();
    request(&server, "c-1", "create area north and folder reports in area north");
    verdict(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    ok(&mut server.upm(&["change", "watch", "c-1", "--until", "closed", "--for", "60", "--tenant", "acme"]));

    // It was there, and is not any more.
    let all = events(&server, "c-1");
    let ran: Vec<&Value> =
        all.iter().flat_map(|event| event["execution"]["steps"].as_array().into_iter().flatten()).collect();
    assert_eq!(ran.len(), 2, "{ran:?}");
    assert!(ran.iter().all(|step| step["rc"] == 0 && step["changed"] == true), "{ran:?}");
    assert!(!house.land().join("north").exists());
    let own: Vec<String> = ids(&server, "c-1")
        .into_iter()
        .filter(|id| id.starts_with("verify") || id.starts_with("rollback") || id == "closed")
        .collect();
    let expect = [
        "verify.1",
        "rollback.1.begin",
        "rollback.1.0.start",
        "rollback.1.0.end",
        "rollback.1.1.start",
        "rollback.1.1.end",
        "rollback.1.end",
        "verify.2",
        "closed",
    ];
    assert_eq!(own, expect);

    // The failing check emitted the way back at once, proved.
    let failed = all.iter().find(|event| event["id"] == "c-1.verify.1").expect("a round");
    let verification = &failed["verification"];
    let bad: Vec<&Value> =
        verification["checks"].as_array().expect("checks").iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(bad.len(), 1, "{verification}");
    assert_eq!((&bad[0]["type"], &bad[0]["name"]), (&json!("health_command"), &json!("door:folder/reports")));
    assert!(verification["summary"].as_str().is_some_and(|text| text.contains("door")), "{verification}");
    assert!(
        verification["wait_ms"].as_u64().is_some_and(|ms| ms >= 900)
            && verification["duration_ms"].as_u64().is_some_and(|ms| ms < 900),
        "{verification}"
    );
    assert_eq!((&failed["rollback"]["available"], &failed["rollback"]["dry_run"]["ok"]), (&json!(true), &json!(true)));
    let end = all.iter().find(|event| event["id"] == "c-1.rollback.1.end").expect("an end");
    let executed = &end["rollback"]["executed"];
    assert_eq!((&executed["outcome"], &executed["automatic"]), (&json!("rolled_back"), &json!(true)), "{executed}");
    assert_eq!(executed["taken_back"], json!(["folder/reports", "area/north"]));
    assert!(executed["because"].as_str().is_some_and(|text| text.contains("the verification failed")), "{executed}");

    the_pack_holds_the_thread(&house, &server);
    figures_count_it(&server);
    assert_eq!(server.stop(), 0);
}

fn the_pack_holds_the_thread(house: &House, server: &Server) {
    let pack = house.path().join("c-1.zip").display().to_string();
    ok(&mut server.upm(&["pack", "c-1", "--tenant", "acme", "-o", &pack]));
    ok(&mut server.upm(&["verify", &pack, "--key", server.vkey("acme")]));
    let summary: Value = serde_json::from_str(&unzip(&pack, "rollback/summary.json")).expect("JSON");
    let thread = &summary["attempts"][0];
    assert_eq!((&thread["state"], &thread["reached"]), (&json!("closed"), &json!("rolled_back")), "{thread}");
    let list = |name: &str| thread[name].as_array().map_or(0, Vec::len);
    assert!(list("failed") == 1 && list("dry_runs") == 2 && list("verified_after") == 1, "{thread}");
    let executed = thread["executed"].as_array().expect("a list").iter().filter(|one| one["outcome"] == "rolled_back");
    assert_eq!(executed.count(), 1, "{thread}");
    let change: Value = serde_json::from_str(&unzip(&pack, "change.json")).expect("JSON");
    assert_eq!(change["anomalies"], json!([]), "{change}");
    let output = unzip(&pack, "rollback/*-executed.json");
    assert!(output.contains("rmdir"), "{output}");
}

fn figures_count_it(server: &Server) {
    let figures: Value =
        serde_json::from_str(&ok(&mut server.upm(&["kpi", "--tenant", "acme", "--json"]))).expect("JSON");
    let mut found = Vec::new();
    let rollback = figures.to_string();
    assert!(rollback.contains("rollback_success"), "{rollback}");
    let maturity = wait_for("the gate to be judged", || {
        let told: Value =
            serde_json::from_str(&run(&mut server.upm(&["maturity", "--tenant", "acme", "--json"])).1).ok()?;
        let mut needs = Vec::new();
        find(&told, "rollback_executed", &mut needs);
        needs.iter().any(|need| need["met"] == true).then_some(told.clone())
    });
    find(&maturity, "rollback_executed", &mut found);
    assert!(found.iter().any(|need| need["count"] == json!({"num": 1, "den": 1})), "{found:?}");
}

/// What stands and what does not after a rollback that fails half-way, and that somebody finishes it.
#[test]
fn a_rollback_that_fails_half_way_says_what_stands() {
    let house = House::new("");
    options(&house, "automatic = [\"verification\"]");
    let server = house.working();
    request(&server, "c-1", "create area north and folder reports in area north and folder drafts in area north");
    verdict(&server, "c-1", "wait");
    // What somebody puts into a folder while it is verified is nothing that a rollback may lose.
    approve(&server, "c-1", "olga", "owner");
    wait_for("the folders", || house.land().join("north/reports").exists().then_some(()));
    std::fs::write(house.land().join("north/reports/letter"), "dear").expect("written");
    let end = event_that(&server, "c-1", "the end of the rollback", |event| event["id"] == "c-1.rollback.1.end");
    let executed = &end["rollback"]["executed"];
    assert_eq!(executed["outcome"], "partial", "{executed}");
    assert_eq!(executed["taken_back"], json!(["folder/drafts"]), "{executed}");
    let stands = executed["stands"].to_string();
    assert!(stands.contains("folder/reports") && stands.contains("exit code 1"), "{stands}");
    assert!(stands.contains("area/north") && stands.contains("folder/reports stands and needs it"), "{stands}");
    assert!(house.land().join("north/reports/letter").exists() && !house.land().join("north/drafts").exists());
    let round = event_that(&server, "c-1", "a look at what stands", |event| event["id"] == "c-1.verify.2");
    assert!(
        round["verification"]["summary"].as_str().is_some_and(|text| text.contains("it is still there")),
        "{round}"
    );
    let shown = ok(&mut server.upm(&["change", "show", "c-1", "--tenant", "acme"]));
    assert!(shown.starts_with("c-1  rollback failed"), "{shown}");

    // Somebody takes the letter out, and orders what is left.
    std::fs::remove_file(house.land().join("north/reports/letter")).expect("removed");
    let told = ok(&mut server.upm(&[
        "rollback",
        "c-1",
        "--by",
        "olga",
        "--reason",
        "the letter is saved",
        "--tenant",
        "acme",
    ]));
    assert!(told.starts_with("rolled back: taken back: "), "{told}");
    assert!(!house.land().join("north").exists());
    let end = event_that(&server, "c-1", "the second run", |event| event["id"] == "c-1.rollback.2.end");
    assert_eq!(
        (&end["rollback"]["executed"]["ordered_by"], &end["rollback"]["executed"]["because"]),
        (&json!("olga"), &json!("the letter is saved"))
    );
    event_that(&server, "c-1", "its end", |event| event["governance"]["closed"] == true);
}
