//! A house with tools of its own beside coreutils: programs that take their time, fail at first, or print what they should not. Real programs, found along the
//! path of workers that run beside the server, so that a test can kill them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use upm_tests::Server;

use crate::house::{House, event_that, events, request, verdict, version};

/// Makes a folder after a while, and writes down that it did. Making one that is there fails: nothing can be done twice unseen.
const SLOWDIR: &str = "#!/bin/sh\ncase \"$1\" in --version) echo slowdir 1.0; exit ;; esac\nsleep \"$1\"\nmkdir \"$2\" || exit 9\necho \"$2\" >> \"$3\"\n";

/// Finds nobody at first, as often as it is told.
const FLAKY: &str = "#!/bin/sh\ncase \"$1\" in --version) echo flaky 1.0; exit ;; esac\nn=$(cat \"$1.tries\" 2> /dev/null || echo 0)\necho $((n + 1)) > \"$1.tries\"\n[ \"$n\" -ge \"$2\" ] || { echo 'dial tcp 127.0.0.1:1: connect: connection refused' >&2; exit 1; }\nmkdir \"$1\"\n";

/// The house with tools and options.
pub(crate) fn workshop(options: &str) -> House {
    workshop_with(options, "")
}

/// The same with more catalogue.
pub(crate) fn workshop_with(options: &str, catalogue: &str) -> House {
    let house = House::new("");
    let bin = house.path().join("bin");
    std::fs::create_dir(&bin).expect("made");
    add_tool(&house, "slowdir", SLOWDIR);
    add_tool(&house, "flaky", FLAKY);
    let (land, made) = (house.land().display().to_string(), made(&house).display().to_string());
    let own =
        format!("{}{catalogue}", OWN.replace("LAND", &land).replace("MADE", &made).replace("SEQ", &version("seq")));
    std::fs::write(house.path().join("tools.toml"), own).expect("written");
    let options = format!("catalogue = [\"folders.toml\", \"tools.toml\"]\n{options}");
    std::fs::write(house.options(), options).expect("written");
    house
}

const OWN: &str = r#"
[tools.slowdir]
program = "slowdir"
version = "1.0"
version_check = ["--version"]

[tools.flaky]
program = "flaky"
version = "1.0"
version_check = ["--version"]

[tools.seq]
program = "seq"
version = "SEQ"
version_check = ["--version"]

[types.slow]
title = "slow folder"
words = ["slow folder"]
create = ["slowdir", "{seconds}", "LAND/{name}", "MADE"]
exists = { command = ["ls", "-d", "LAND/{name}"], absent_code = 2 }
read_back = ["ls", "-ld", "LAND/{name}"]
delete = ["rmdir", "LAND/{name}"]

[types.slow.fields]
name = { pattern = "[a-z][a-z0-9-]*" }
seconds = { phrases = ["within {} seconds"], pattern = "[0-9]{1,3}(\\.[0-9])?", default = "0" }

[types.flaky]
title = "flaky folder"
words = ["flaky folder"]
create = ["flaky", "LAND/{name}", "{times}"]
exists = { command = ["ls", "-d", "LAND/{name}"], absent_code = 2 }
read_back = ["ls", "-ld", "LAND/{name}"]
delete = ["rmdir", "LAND/{name}"]

[types.flaky.fields]
name = { pattern = "[a-z][a-z0-9-]*" }
times = { phrases = ["after {} failures"], pattern = "[0-9]", default = "2" }

[types.room]
title = "room that has to be made ready"
words = ["room"]
create = ["mkdir", "LAND/{name}"]
exists = { command = ["ls", "-d", "LAND/{name}"], absent_code = 2 }
read_back = ["ls", "-ld", "LAND/{name}/ready"]
delete = ["rmdir", "LAND/{name}"]

[types.room.fields]
name = { pattern = "[a-z][a-z0-9-]*" }
"#;

/// What `slowdir` made, a line each.
pub(crate) fn made(house: &House) -> std::path::PathBuf {
    house.path().join("made")
}

/// The lines of [`made`].
pub(crate) fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Puts a program on the workers' path.
pub(crate) fn add_tool(house: &House, name: &str, text: &str) {
    let path = house.path().join("bin").join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

/// Asks for something, and has olga approve its plan.
pub(crate) fn approved(server: &Server, change: &str, words: &str) {
    request(server, change, words);
    verdict(server, change, "wait");
    crate::house::approve(server, change, "olga", "owner");
}

/// A plan of somebody's own planner, in place of the workers' one: commands, and nothing beside them.
pub(crate) fn planned_elsewhere(server: &Server, change: &str, commands: &[&str]) {
    request(server, change, "create area elsewhere");
    verdict(server, change, "wait");
    let event = json!({"provisioning_event": {
        "id": format!("{change}-own-plan"), "change_id": change, "timestamp": "2026-11-30T12:00:00Z", "phase": "plan", "environment": "test",
        "intent": {"source": "api", "initiator": "ines", "tenant": "acme"},
        "plan": {"commands": commands, "resources_needed": []},
    }});
    emit(server, &event, "planner");
}

/// Puts an event of a producer on record.
pub(crate) fn emit(server: &Server, event: &Value, producer: &str) {
    let mut command = server.upm(&["emit", "-", "--producer", producer, "--wait"]);
    let (code, out, err) = upm_tests::run_with_input(&mut command, event.to_string().as_bytes());
    assert_eq!(code, 0, "{out}{err}");
}

/// Waits until the newest verdict is of the plan of [`planned_elsewhere`].
pub(crate) fn verdict_on_own_plan(server: &Server, change: &str, word: &str) -> Value {
    upm_tests::wait_for(&format!("change {change}'s own plan to be told {word}"), || {
        let all = events(server, change);
        let own = all.iter().position(|event| event["id"] == format!("{change}-own-plan").as_str())?;
        let newest = all[own..].iter().rev().find(|event| event["preflight"]["verdict"].is_string())?;
        (newest["preflight"]["verdict"] == word).then(|| newest.clone())
    })
}

/// Waits until a step is over: its document.
pub(crate) fn step_over(server: &Server, change: &str, step: &str) -> Value {
    let over =
        |event: &Value| event["execution"]["steps"][0]["id"] == step && event["execution"]["steps"][0]["rc"].is_i64();
    event_that(server, change, &format!("the end of {step}"), over)["execution"]["steps"][0].clone()
}

/// Waits until a try of a step begins.
pub(crate) fn step_begins(server: &Server, change: &str, step: &str, number: u64) -> Value {
    let begins =
        |event: &Value| event["execution"]["started"]["step"] == step && event["execution"]["started"]["try"] == number;
    event_that(server, change, &format!("try {number} of {step}"), begins)
}
