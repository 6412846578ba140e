//! Policies at a real OPA server: preflight asks it by URL, and gets the answers that it gets from the same file read here, or out of a bundle that `opa build` made.

use std::process::{Child, Command, Stdio};

use serde_json::Value;
use upm_tests::{ok, wait_for};

use super::judge;
use crate::house::{House, request, verdict};

const REGO: &str = "package house.names\nimport rego.v1\n\npolicy := {\"id\": \"NAMES-1\"}\n\ndeny contains msg if {\n\tsome r in input.plan.target.resources\n\tstartswith(r.name, \"tmp\")\n\tmsg := sprintf(\"%s is no name\", [r.name])\n}\n";

struct Opa(Child);

impl Drop for Opa {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port()
}

#[test]
#[ignore = "make interop"]
fn policies_are_asked_at_an_opa_server() {
    let port = free_port();
    let options = |more: &str| format!("[policy]\n{more}\n");
    let remote = House::new(&options(&format!("server = \"http://127.0.0.1:{port}\"\npackages = [\"house.names\"]")));
    let local = House::new(&options("directory = \"policies\""));
    for house in [&remote, &local] {
        std::fs::create_dir(house.path().join("policies")).expect("made");
        std::fs::write(house.path().join("policies/names.rego"), REGO).expect("written");
    }
    let results = |house: &House, word: &str| -> Value {
        let server = house.working();
        request(&server, "c-1", "create area tmp1 and area north");
        verdict(&server, "c-1", word)["preflight"]["policies"].clone()
    };
    // Nobody answers there yet, which is no.
    let silent = results(&remote, "halt");
    assert_eq!(silent[0]["decision"], "failed", "{silent}");
    std::fs::remove_dir_all(remote.path().join("data")).expect("removed");
    let mut command = Command::new(judge("OPA", "opa-1.22.2"));
    command.args(["run", "--server", "--addr", &format!("127.0.0.1:{port}")]).arg(remote.path().join("policies"));
    let _opa = Opa(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("opa starts"));
    wait_for("opa to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let answered = results(&remote, "halt");
    assert_eq!(answered, results(&local, "halt"), "the same policies say the same");
    assert!(answered.to_string().contains("tmp1 is no name") && answered[0]["name"] == "NAMES-1", "{answered}");
}

#[test]
#[ignore = "make interop"]
fn a_bundle_that_opa_builds_says_the_same() {
    let house = House::new("[policy]\nbundle = \"house.tar.gz\"\n");
    let policies = house.path().join("policies");
    std::fs::create_dir_all(policies.join("lists")).expect("made");
    let rego =
        REGO.replace("startswith(r.name, \"tmp\")", "some word in data.lists.forbidden\n\tstartswith(r.name, word)");
    std::fs::write(policies.join("names.rego"), rego).expect("written");
    std::fs::write(policies.join("lists/data.json"), "{\"forbidden\": [\"tmp\"]}").expect("written");
    let mut build = Command::new(judge("OPA", "opa-1.22.2"));
    build.args(["build", "--bundle", "policies", "--output", "house.tar.gz"]).current_dir(house.path());
    ok(&mut build);
    let server = house.working();
    request(&server, "c-1", "create area tmp1 and area north");
    let said = verdict(&server, "c-1", "halt")["preflight"]["policies"].clone();
    assert_eq!((&said[0]["name"], &said[0]["decision"]), (&Value::from("NAMES-1"), &Value::from("denied")), "{said}");
    assert_eq!(said[0]["message"], "tmp1 is no name", "{said}");
    request(&server, "c-2", "create area north");
    assert_eq!(verdict(&server, "c-2", "wait")["preflight"]["policies"][0]["ok"], true);
}
