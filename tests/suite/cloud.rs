//! Workers against a real AWS API (moto, on this machine) by the real AWS command-line tool: made, read back, verified, removed behind our back, told, and taken
//! away again by a change of its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use upm_tests::{Server, ok, project, run, tool, wait_for};

use crate::house::{event_that, events};

/// An AWS API, and what speaks to it; ended with the value.
struct Cloud {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn programs() -> PathBuf {
    let moto = tool("MOTO_SERVER", "cloud-1/bin/moto_server");
    assert!(moto.exists(), "{} is not there: scripts/setup cloud", moto.display());
    moto.parent().expect("a folder").to_path_buf()
}

impl Cloud {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let mut command = Command::new(programs().join("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &free.port().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let cloud = Self {
            child: command.spawn().expect("moto_server starts"),
            url: format!("http://{free}"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        wait_for("the AWS API", || std::net::TcpStream::connect(free).ok());
        cloud
    }

    fn with_environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap_or_default());
        let region = ("AWS_DEFAULT_REGION", "us-east-1");
        let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), region];
        command.env("PATH", path).env("AWS_ENDPOINT_URL", &self.url).envs(keys)
    }

    fn aws(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(programs().join("aws"));
        let (code, out, err) = run(self.with_environment(command.args(words)));
        (code, out + &err)
    }

    /// Workers that may do what is low risk without asking.
    fn work(&self, server: &Server) -> Worker {
        let options = self.folder.path().join("workers.toml");
        let house = project().join("examples/workers/house.toml");
        let text = format!(
            "catalogue = [\"{}\"]\n[guard]\nenvironment = [\"AWS_ENDPOINT_URL\", \"AWS_ACCESS_KEY_ID\", \"AWS_SECRET_ACCESS_KEY\", \"AWS_DEFAULT_REGION\"]\n\
             [[lanes]]\nname = \"test\"\nenvironments = [\"test\"]\nactions = [\"create\", \"delete\"]\nmax_risk = 95\nneeds_rollback = false\n",
            house.display()
        );
        std::fs::write(&options, text).expect("written");
        let mut command = server.upm(&["work", "all", "--tenant", "acme", "--workers"]);
        command.arg(&options).stdout(Stdio::null()).stderr(Stdio::null());
        Worker(self.with_environment(&mut command).spawn().expect("it starts"))
    }
}

/// A worker's process, killed with the value.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(server: &Server, change: &str, words: &str) {
    let said = ["request", words, "--change", change, "--initiator", "ines", "--env", "test", "--tenant", "acme"];
    ok(&mut server.upm(&said));
    let watch = ["change", "watch", change, "--until", "closed", "--for", "120", "--tenant", "acme"];
    let (code, out, err) = run(&mut server.upm(&watch));
    let all: Vec<String> = events(server, change).iter().map(ToString::to_string).collect();
    assert_eq!(code, 0, "{out}{err}\n{}", all.join("\n"));
}

#[test]
fn a_bucket_a_queue_a_table_a_topic_and_an_instance_are_made_verified_missed_and_removed() {
    let cloud = Cloud::start();
    let server = Server::start(&cloud.folder.path().join("data"), &["--tenant", "acme"]);
    let _worker = cloud.work(&server);
    let place = "of account 123456789012 in us-east-1";
    // Version 1 of the AWS tool sends SQS to AWS's own first host names in regions that have such a name, whatever endpoint it is told: this one has none.
    let queue = "of account 123456789012 in eu-central-2";
    ask(
        &server,
        "c-1",
        &format!(
            "create bucket acme-logs in us-east-1 and table orders in us-east-1 and topic alarms {place} and queue jobs {queue} and instance web from image ami-12c6146b in us-east-1"
        ),
    );
    assert_eq!(cloud.aws(&["s3api", "head-bucket", "--bucket", "acme-logs"]).0, 0);
    let sqs = |words: &[&str]| cloud.aws(&[&["sqs", "--region", "eu-central-2"], words].concat());
    let (code, said) = sqs(&["get-queue-url", "--queue-name", "jobs", "--output", "text"]);
    let url = said.trim().to_owned();
    assert!(code == 0 && url.ends_with("/123456789012/jobs"), "{said}");
    let (code, said) = sqs(&["send-message", "--queue-url", &url, "--message-body", "hello"]);
    assert_eq!(code, 0, "{said}");
    let round = event_that(&server, "c-1", "a round", |event| event["verification"]["purpose"] == "change");
    let checks = round["verification"]["checks"].as_array().expect("checks");
    assert!(checks.len() == 10 && checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    let state = &round["verification"]["state"];
    assert_eq!(state["aws_dynamodb_table/orders"]["Table"]["TableName"], "orders", "{state}");
    assert_eq!(state["aws_sqs_queue/jobs"]["QueueUrl"], url.as_str(), "{state}");
    assert!(state["aws_ec2_instance/web"].to_string().contains("i-"), "{state}");

    // What takes it back is proved; an instance's id is known only after it was made, and that is said.
    let told = ok(&mut server.upm(&["rollback", "c-1", "--dry-run", "--by", "olga", "--tenant", "acme"]));
    assert!(told.starts_with("4 of 4 commands can run") && told.contains("aws_ec2_instance/web stays"), "{told}");

    let (code, said) = cloud.aws(&["dynamodb", "delete-table", "--table-name", "orders"]);
    assert_eq!(code, 0, "{said}");
    let (code, told, err) = run(&mut server.upm(&["drift", "check", "c-1", "--by", "olga", "--tenant", "acme"]));
    assert!(code == 1 && told.contains("aws_dynamodb_table/orders is gone"), "{code} {told}{err}");

    ask(
        &server,
        "c-2",
        &format!("delete bucket acme-logs in us-east-1 and topic alarms {place} and queue jobs {queue}"),
    );
    assert_ne!(cloud.aws(&["s3api", "head-bucket", "--bucket", "acme-logs"]).0, 0);
    let (code, said) = sqs(&["get-queue-url", "--queue-name", "jobs"]);
    assert!(code != 0 && said.contains("NonExistentQueue"), "{said}");
    let round = event_that(&server, "c-2", "a round", |event| event["verification"]["purpose"] == "change");
    let gone: Vec<&Value> =
        round["verification"]["checks"].as_array().expect("checks").iter().map(|check| &check["message"]).collect();
    assert_eq!(gone, [&json!("it is gone"), &json!("it is gone"), &json!("it is gone")]);
    let figures = server.json("/v1/tenants/acme/kpis").to_string();
    assert!(figures.contains("change_success"), "{figures}");
    assert_eq!(server.stop(), 0);
}
