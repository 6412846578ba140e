//! Workers that drive a real `OpenTofu`, offline, on `terraform_data`: a stack is planned, tried, approved, applied, held against its files, changed behind
//! their back, told, and destroyed again; the pack of it all is verified.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{ok, run};

use super::judge;
use crate::house::{House, Worker, event_that, events, request, verdict};
use crate::workshop::{approved, step_over};

/// Two resources, one of which needs the other, and something that nobody may see.
const STACK: &str = r#"
variable "level" {
  type    = string
  default = "1"
}
variable "greeting" {
  type      = string
  default   = "the-river-is-high"
  sensitive = true
}
resource "terraform_data" "queue" {
  input = { name = "orders", level = var.level }
}
resource "terraform_data" "consumer" {
  triggers_replace = [terraform_data.queue.id]
}
output "greeting" {
  value     = var.greeting
  sensitive = true
}
"#;

/// A house with a stack, and a tofu that is pinned by version and digest.
fn house() -> House {
    let tofu = judge("TOFU", "tofu-1.10.6");
    let digest = ok(Command::new("sha256sum").arg(&tofu));
    let digest = digest.split(' ').next().expect("a digest").to_owned();
    let house = House::new("");
    std::fs::create_dir(house.path().join("bin")).expect("made");
    symlink(&tofu, house.path().join("bin/tofu")).expect("linked");
    std::fs::create_dir_all(house.path().join("stacks/orders")).expect("made");
    std::fs::write(house.path().join("stacks/orders/main.tf"), STACK).expect("written");
    let catalogue = format!(
        "[tools.tofu]\nreplaces = true\nprogram = \"tofu\"\nversion = \"1.10.6\"\nversion_check = [\"version\", \"-json\"]\nsha256 = \"{digest}\"\n\
         [defaults.tofu_stack]\ndirectory = \"{}\"\n",
        house.path().join("stacks").display()
    );
    std::fs::write(house.path().join("stacks.toml"), catalogue).expect("written");
    let options = "catalogue = [\"folders.toml\", \"stacks.toml\"]\n[verify]\nclose = false\n[drift]\nevery_s = 1\njitter_percent = 0\n";
    std::fs::write(house.options(), options).expect("written");
    house
}

/// Somebody at the stack's own folder, past the workers.
fn tofu(house: &House, words: &[&str]) -> String {
    let mut command = Command::new(house.path().join("bin/tofu"));
    command.current_dir(house.path().join("stacks/orders")).args(words).env("HOME", house.path());
    ok(&mut command)
}

fn holds(pack: &Path, file: &str) -> Value {
    let (code, out, err) = run(Command::new("unzip").arg("-p").arg(pack).arg(file));
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
#[ignore = "make interop"]
fn a_stack_is_applied_watched_and_destroyed() {
    let house = house();
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    let stack = house.path().join("stacks/orders").display().to_string();

    // Planned and tried: OpenTofu has its own plan, and nothing is done.
    request(&server, "c-1", "create stack orders");
    let waits = verdict(&server, "c-1", "wait");
    let checks = waits["preflight"]["checks"].as_array().expect("checks");
    let tried = checks.iter().find(|check| check["type"] == "dry_run").unwrap_or_else(|| panic!("{waits}"));
    assert_eq!(tried["ok"], true, "{tried}");
    assert!(!house.path().join("stacks/orders/terraform.tfstate").exists(), "a plan makes nothing");
    let plan = event_that(&server, "c-1", "a plan", |event| event["plan"].is_object());
    let apply = format!("tofu -chdir={stack} apply -input=false -no-color -auto-approve");
    let destroy = format!("tofu -chdir={stack} destroy -input=false -no-color -auto-approve");
    assert_eq!((&plan["plan"]["commands"], &plan["rollback"]["plan"]), (&json!([apply]), &json!([destroy])));

    // Approved, applied, and held against its files.
    crate::house::approve(&server, "c-1", "olga", "owner");
    let done = step_over(&server, "c-1", "tofu_stack/orders");
    assert_eq!((&done["rc"], &done["cmd"]), (&json!(0), &json!(apply)), "{done}");
    assert!(done["stdout"].as_str().is_some_and(|out| out.contains("Resources: 2 added")), "{done}");
    assert!(tofu(&house, &["state", "list"]).contains("terraform_data.queue"));
    let round = event_that(&server, "c-1", "a round", |event| event["verification"]["purpose"] == "change");
    let checks = round["verification"]["checks"].as_array().expect("checks");
    assert!(checks.len() == 2 && checks.iter().all(|check| check["ok"] == true), "{round}");
    let state = round["verification"]["state"]["tofu_stack/orders"].to_string();
    assert!(state.contains("No changes. Your infrastructure matches the configuration."), "{state}");

    // Somebody applies another level past the workers: told, in OpenTofu's own words.
    tofu(&house, &["apply", "-auto-approve", "-input=false", "-var", "level=9"]);
    let alarm = event_that(&server, "c-1", "an alarm", |event| event["alarm"]["kind"] == "drift");
    assert_eq!(alarm["alarm"]["resources"], json!(["tofu_stack/orders"]), "{alarm}");
    let said = alarm["verification"].to_string();
    assert!(said.contains("will be updated in-place") && said.contains("1 to change"), "{said}");
    let (code, told, err) = run(&mut server.upm(&["drift", "check", "c-1", "--by", "olga", "--tenant", "acme"]));
    assert!(code == 1 && told.contains("tofu_stack/orders"), "{code} {told}{err}");
    // Brought back, and that is told too.
    tofu(&house, &["apply", "-auto-approve", "-input=false"]);
    event_that(&server, "c-1", "the end of the alarm", |event| event["alarm"]["kind"] == "drift_gone");

    // The same once more has nothing to do.
    approved(&server, "c-2", "create stack orders");
    let step = step_over(&server, "c-2", "tofu_stack/orders");
    assert_eq!(step["skipped"], "it is there", "{step}");

    assert!(tofu(&house, &["show", "-json"]).contains("the-river-is-high"));

    // Taken back by the plan's own way.
    let told = ok(&mut server.upm(&["rollback", "c-1", "--by", "olga", "--reason", "not needed", "--tenant", "acme"]));
    assert!(told.starts_with("rolled back: taken back: tofu_stack/orders"), "{told}");
    assert_eq!(tofu(&house, &["state", "list"]).trim(), "");
    let gone = event_that(&server, "c-1", "the look behind it", |event| event["verification"]["purpose"] == "rollback");
    assert_eq!(gone["verification"]["checks"][0]["ok"], true, "{gone}");

    // Nobody may see what is sensitive, which the state has in clear.
    let all = Value::from(events(&server, "c-1")).to_string();
    assert!(!all.contains("the-river-is-high"));

    let pack = house.path().join("c-1.zip");
    let path = pack.display().to_string();
    ok(&mut server.upm(&["pack", "c-1", "--tenant", "acme", "-o", &path]));
    ok(&mut server.upm(&["verify", &path, "--key", server.vkey("acme")]));
    let change = holds(&pack, "change.json");
    assert_eq!(change["state"], "rolled_back", "{change}");
    assert!(
        change["timeline"][0]["text"].as_str().is_some_and(|text| text == "Asked by “ines”: “create stack orders”.")
    );
    assert_eq!(server.stop(), 0);
}
