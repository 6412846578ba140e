//! The files of the child server: its configuration, what it leaves behind, and where.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{MAX_PAYLOAD_BYTES, PRIVATE_INBOX, SERVICE_USER, SYSTEM_USER, ServerError, WORK_INBOX, WORK_USER};
use crate::work::own;

/// Environment variables that carry its secrets; the configuration refers to them.
pub(super) const KEY_VARIABLE: &str = "UPM_NATS_KEY";
pub(super) const PASSWORD_VARIABLE: &str = "UPM_NATS_PASSWORD";
pub(super) const SYSTEM_VARIABLE: &str = "UPM_NATS_SYSTEM_PASSWORD";
pub(super) const WORK_VARIABLE: &str = "UPM_NATS_WORK_PASSWORD";

/// What everybody may publish: events and requests, administrative acts (which are signed), objects that events refer to, and whether there is a road.
const ANYBODY: [&str; 9] = [
    "upm.events.*.*",
    "upm.events.*.*.*",
    "upm.control.*",
    "upm.requests.*",
    "$O.*.C.*",
    "$O.*.M.*",
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.NAMES",
];
/// What workers may beside it: to be woken.
const WORKERS: [&str; 5] = [
    "$JS.API.CONSUMER.CREATE.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.>",
    "$JS.API.CONSUMER.INFO.>",
    "$JS.API.CONSUMER.MSG.NEXT.>",
    "$JS.ACK.>",
];

/// Where everything is.
pub(super) struct Files {
    pub(super) dir: PathBuf,
    pub(super) store: PathBuf,
    pub(super) conf: PathBuf,
    pub(super) port: PathBuf,
    /// Address, user and password for whoever plays a worker.
    pub(super) workers: PathBuf,
    pub(super) log: PathBuf,
    pub(super) stderr: PathBuf,
}

impl Files {
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            store: dir.join("store"),
            conf: dir.join("nats-server.conf"),
            port: dir.join("port"),
            workers: dir.join(super::WORKERS_FILE),
            log: dir.join("nats-server.log"),
            stderr: dir.join("nats-server.stderr"),
        }
    }
}

/// The server's configuration. Secrets are referenced, never written.
pub(super) fn conf_text(files: &Files, port: u16) -> String {
    let quoted = |path: &Path| serde_json::Value::String(path.display().to_string()).to_string();
    let list = |subjects: &[&str]| serde_json::Value::from(subjects).to_string();
    let own: Vec<String> = own::PRODUCERS.iter().map(|name| format!("upm.events.*.*.{name}")).collect();
    format!(
        r#"# Written by upm at every start.
listen: "127.0.0.1:{port}"
server_name: "upm-ledger"
max_payload: {MAX_PAYLOAD_BYTES}
max_pending: 256MB
log_file: {log}
logfile_size_limit: 16MB
logfile_max_num: 3
jetstream {{
  store_dir: {store}
  cipher: aes
  key: ${KEY_VARIABLE}
  # Each road has its own limit; the sum of all limits is not what a disk must hold.
  max_file_store: 1000TB
}}
authorization {{
  users = [
    {{ user: {SERVICE_USER}, password: ${PASSWORD_VARIABLE} }}
    # Whoever gives no credentials: publishes events and requests, puts objects that they refer to, hears answers, and can neither read the road nor cut it,
    # nor speak in the name of a worker or a door.
    {{ user: producer, password: producer, permissions: {{
        publish: {{ allow: {anybody}, deny: {own} }}
        subscribe: {{ allow: ["_INBOX.>", "upm.receipts.>", "upm.rejected.*"] }} }} }}
    # Workers beside us: they also speak in their own names, and are woken. They can't cut the road either.
    {{ user: {WORK_USER}, password: ${WORK_VARIABLE}, permissions: {{
        publish: {{ allow: {workers} }}
        subscribe: {{ allow: ["_INBOX.>", "{WORK_INBOX}.>", "upm.receipts.>", "upm.rejected.*"] }} }} }}
  ]
}}
no_auth_user: producer
# Ours too: it may ask whether the server is well, and nothing else.
accounts {{
  $SYS: {{ users = [
    {{ user: {SYSTEM_USER}, password: ${SYSTEM_VARIABLE}, permissions: {{
        publish: {{ allow: ["$SYS.REQ.SERVER.PING.HEALTHZ"] }}
        subscribe: {{ allow: ["{PRIVATE_INBOX}.>"] }} }} }} ] }}
}}
"#,
        log = quoted(&files.log),
        store = quoted(&files.store),
        anybody = list(&ANYBODY),
        own = serde_json::Value::from(own),
        workers = list(&[&ANYBODY[..], &WORKERS[..]].concat()),
    )
}

/// Makes its directories.
pub(super) fn prepare_dirs(files: &Files) -> Result<(), ServerError> {
    for dir in [&files.dir, &files.store] {
        let made = std::fs::create_dir_all(dir);
        made.map_err(|source| ServerError::Io { path: dir.clone(), source })?;
    }
    Ok(())
}

/// For a file that only we may read.
pub(super) fn private_options() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Writes such a file.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    let written = private_options().truncate(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| ServerError::Io { path: path.to_owned(), source })
}

/// The last line of a log, without process id, time and level.
pub(super) fn last_line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.split_once("[FTL] ").map_or(line, |(_, reason)| reason).to_owned())
}

/// Why a server ended, in the words that it left: its panic, or its last line.
pub(super) fn last_words(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let panic = text.lines().find(|line| line.starts_with("panic:") || line.starts_with("fatal error:"));
    panic.map(str::to_owned).or_else(|| last_line(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_panicked_is_quoted_with_its_panic() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, expect) in [
            ("", None),
            ("[1] 2026/11/22 10:00:00.000001 [FTL] no port\n", Some("no port")),
            ("panic: out of range\n\ngoroutine 1 [running]:\nmain.main()\n", Some("panic: out of range")),
        ] {
            std::fs::write(file.path(), text).expect("written");
            assert_eq!(last_words(file.path()).as_deref(), expect);
        }
    }

    #[test]
    fn a_configuration_never_contains_a_secret() {
        let files = Files::in_dir(Path::new("/tmp/a \"quoted\" dir"));
        let text = conf_text(&files, 4222);
        assert!(text.contains("key: $UPM_NATS_KEY") && text.contains("password: $UPM_NATS_PASSWORD"), "{text}");
        assert!(text.contains("password: $UPM_NATS_SYSTEM_PASSWORD"), "{text}");
        assert!(text.contains("password: $UPM_NATS_WORK_PASSWORD"), "{text}");
        assert!(text.contains(r#"deny: ["upm.events.*.*.plan","upm.events.*.*.preflight""#), "{text}");
        assert!(text.contains(r#"store_dir: "/tmp/a \"quoted\" dir/store""#), "{text}");
    }
}
