//! A house whose resources are folders, made with coreutils: a catalogue of real commands that are on every machine, with options for workers and
//! what tests ask of them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use upm_tests::{Server, ok, run, wait_for};

/// Areas are folders below `land/`; folders lie in areas.
pub(crate) struct House {
    folder: TempDir,
}

impl House {
    /// With the options of the house, TOML, beside its catalogue.
    pub(crate) fn new(options: &str) -> Self {
        let house = Self { folder: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir(house.land()).expect("made");
        std::fs::write(house.path().join("folders.toml"), catalogue(&house.land())).expect("written");
        let options = format!("catalogue = [\"folders.toml\"]\n{options}");
        std::fs::write(house.path().join("workers.toml"), options).expect("written");
        house
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where areas are.
    pub(crate) fn land(&self) -> PathBuf {
        self.path().join("land")
    }

    /// The file of options.
    pub(crate) fn options(&self) -> String {
        self.path().join("workers.toml").display().to_string()
    }

    /// A server of tenant acme with workers in its process.
    pub(crate) fn working(&self) -> Server {
        Server::start(&self.path().join("data"), &["--tenant", "acme", "--workers", &self.options()])
    }

    /// A server of tenant acme without.
    pub(crate) fn idle(&self) -> Server {
        Server::start(&self.path().join("data"), &["--tenant", "acme"])
    }

    /// `upm work WHAT` beside the server, which it finds by the data directory.
    pub(crate) fn workers(&self, server: &Server, what: &str) -> Command {
        let mut command = server.upm(&["work", what, "--workers", &self.options(), "--tenant", "acme"]);
        command.env_remove("UPM_SERVER");
        command
    }
}

/// The version that a program of coreutils and its like says.
pub(crate) fn version(program: &str) -> String {
    let said = ok(Command::new(program).arg("--version"));
    let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    said.split_whitespace().find(is_version).expect("it says its version").to_owned()
}

/// A worker's process, killed with the value.
pub(crate) struct Worker(Child);

impl Worker {
    /// `upm work WHAT` beside the server, with the house's tools on its path.
    pub(crate) fn start(house: &House, server: &Server, what: &str) -> Self {
        Self::start_with(house, server, what, &[])
    }

    /// The same with more variables.
    pub(crate) fn start_with(house: &House, server: &Server, what: &str, variables: &[(&str, &str)]) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(house.path().join("work.log"));
        let path = format!("{}:{}", house.path().join("bin").display(), std::env::var("PATH").expect("a path"));
        let mut command = house.workers(server, what);
        command.env("PATH", path).envs(variables.iter().copied());
        command.stdout(Stdio::null()).stderr(log.expect("a log file"));
        Self(command.spawn().expect("it starts"))
    }

    /// SIGKILL, as a crash would.
    pub(crate) fn crash(mut self) {
        self.0.kill().expect("it is there");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn catalogue(land: &Path) -> String {
    let tools = ["mkdir", "ls", "rmdir"].map(|tool| {
        format!(
            "[tools.{tool}]\nprogram = \"{tool}\"\nversion = \"{}\"\nversion_check = [\"--version\"]\n\n",
            version(tool)
        )
    });
    let tools = tools.concat();
    let land = land.display();
    format!(
        r#"{tools}
[types.area]
title = "area"
words = ["area"]
create = ["mkdir", "{land}/{{name}}"]
exists = {{ command = ["ls", "-d", "{land}/{{name}}"], absent_code = 2 }}
read_back = ["ls", "-ld", "{land}/{{name}}"]
delete = ["rmdir", "{land}/{{name}}"]

[types.area.fields]
name = {{ pattern = "[a-z][a-z0-9-]*" }}

[types.folder]
title = "folder in an area"
words = ["folder"]
create = ["mkdir", "{land}/{{area}}/{{name}}"]
exists = {{ command = ["ls", "-d", "{land}/{{area}}/{{name}}"], absent_code = 2 }}
read_back = ["ls", "-ld", "{land}/{{area}}/{{name}}"]
delete = ["rmdir", "{land}/{{area}}/{{name}}"]

[types.folder.fields]
name = {{ pattern = "[a-z][a-z0-9-]*" }}
area = {{ phrases = ["in area {{}}"], required = true, refers_to = "area", pattern = "[a-z][a-z0-9-]*" }}
"#
    )
}

/// Asks for something as ines, and gives what the ledger answers.
pub(crate) fn request(server: &Server, change: &str, words: &str) -> Value {
    let said =
        ["request", words, "--change", change, "--initiator", "ines", "--env", "test", "--tenant", "acme", "--json"];
    serde_json::from_str(&ok(&mut server.upm(&said))).expect("JSON")
}

/// The change's events as stored, oldest first: what `provisioning_event` holds.
pub(crate) fn events(server: &Server, change: &str) -> Vec<Value> {
    let (status, body) = server.get(&format!("/v1/tenants/acme/changes/{change}/events"));
    if status != 200 {
        return Vec::new();
    }
    let listed: Value = serde_json::from_str(&body).expect("JSON");
    let rows = listed["events"].as_array().expect("a list").iter();
    rows.map(|row| {
        server.json(&format!("/v1/tenants/acme/events/{}", row["index"]))["event"]["provisioning_event"].clone()
    })
    .collect()
}

/// Waits for the first event of the change that `is` what is wanted.
pub(crate) fn event_that(server: &Server, change: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("{what} of change {change}"), || events(server, change).into_iter().find(&is))
}

/// Waits for the newest verdict of preflight to be `word`.
pub(crate) fn verdict(server: &Server, change: &str, word: &str) -> Value {
    wait_for(&format!("change {change} to be told {word}"), || {
        let all = events(server, change);
        let newest = all.into_iter().rev().find(|event| event["preflight"]["verdict"].is_string())?;
        (newest["preflight"]["verdict"] == word).then_some(newest)
    })
}

/// Approves the newest plan of a change as `approver`, in a role.
pub(crate) fn approve(server: &Server, change: &str, approver: &str, role: &str) {
    let shown = server.json(&format!("/v1/tenants/acme/changes/{change}"));
    let attempts = shown["attempts"].as_array().expect("attempts").iter();
    let digest =
        attempts.rev().find(|attempt| attempt["plan_digest"].is_string()).expect("a plan")["plan_digest"].clone();
    let now =
        shown["timeline"].as_array().and_then(|all| all.last()).expect("an entry")["at"].as_i64().expect("a time");
    let at = rfc3339(now);
    let event = json!({"provisioning_event": {
        "id": format!("approval-{change}-{approver}"), "change_id": change, "timestamp": at, "phase": "preflight",
        "intent": {"source": "api", "initiator": approver, "tenant": "acme"},
        "preflight": {"approvals": [{"approver": approver, "role": role, "decision": "approved", "at": at, "plan_digest": digest}]},
    }});
    let (code, _, err) = upm_tests::run_with_input(
        &mut server.upm(&["emit", "-", "--producer", "review", "--wait"]),
        event.to_string().as_bytes(),
    );
    assert_eq!(code, 0, "{err}");
}

/// Milliseconds since 1970 as RFC 3339, by the system's `date`.
pub(crate) fn rfc3339(ms: i64) -> String {
    let (code, out, err) =
        run(Command::new("date").args(["-u", "-d", &format!("@{}", ms / 1000), "+%Y-%m-%dT%H:%M:%SZ"]));
    assert_eq!(code, 0, "{err}");
    out.trim().to_owned()
}
