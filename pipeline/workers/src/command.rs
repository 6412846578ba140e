//! A wrapped command as an event: how its arguments are shown, what of its output is kept, and where in the event it goes.
//!
//! Output is masked as it streams in, line by line (a private key block counts as one line), so no secret rests in
//! memory longer than its line, none is cut in two by the truncation, and none can be guessed from the digest: size
//! counts the bytes as written, while the SHA-256 is over the complete *masked* output.

use crate::build::{Sections, object};
use schemas::ids::Phase;
use schemas::redact;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, VecDeque};

mod encoded;

/// What is kept of each of the two outputs: half from the beginning, half from the end. Twice this and a command line stay
/// under the event's limit of 1,000,000 bytes even if every byte needs `\u001b`.
pub const KEPT_BYTES: usize = 64 * 1024;

/// What is kept of a command line.
pub const COMMAND_BYTES: usize = 16 * 1024;

/// A line longer than this is masked in pieces: output without line ends must not fill the memory.
const LINE_BYTES: usize = 64 * 1024;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this code.
    Exited(i32),
    /// Killed by this signal.
    Killed(i32),
    /// It never ran: 127 for not found, 126 for not executable, as shells number it.
    NotStarted(i32),
}

impl Ending {
    /// The step's `rc`, as a shell would see it: the code, or 128 + signal.
    pub fn rc(self) -> i32 {
        match self {
            Self::Exited(code) | Self::NotStarted(code) => code,
            Self::Killed(signal) => 128_i32.saturating_add(signal),
        }
    }
}

/// A command that ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Program and arguments; see [`quoted`].
    pub argv: Vec<String>,
    /// How it ended.
    pub ending: Ending,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// By a clock that does not jump.
    pub duration_ms: u64,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
}

/// One of a command's outputs, as an event carries it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Masked; where it was longer than [`KEPT_BYTES`], beginning and end with a line between that says what is missing.
    pub text: String,
    /// Whether something is missing.
    pub truncated: bool,
    /// All bytes as written by the command.
    pub bytes: u64,
    /// SHA-256 of the complete output after masking, hex.
    pub sha256: String,
}

/// Collects one output while it streams.
#[derive(Debug, Default)]
pub struct Capture {
    line: Vec<u8>,
    in_key: bool,
    /// A key block that never ends was masked already: what follows belongs to it, up to its end line.
    key_was_masked: bool,
    head: String,
    tail: VecDeque<String>,
    tail_bytes: usize,
    dropped: u64,
    bytes: u64,
    digest: Sha256,
    /// Texts that are secret here whatever they look like.
    secrets: Vec<String>,
    /// What was masked since it was last taken, where somebody takes it.
    masked: Option<String>,
}

/// A credential shorter than this is not looked for: it would be found in every other word.
const SECRET_BYTES_MIN: usize = 6;

impl Capture {
    /// Nothing captured.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing captured; these texts are masked wherever they appear, line by line if they have several, and as programs encode them.
    pub fn hiding(secrets: &[String]) -> Self {
        let lines = secrets.iter().flat_map(|secret| secret.lines().map(str::trim).chain([secret.trim()]));
        let lines: BTreeSet<&str> = lines.filter(|line| line.len() >= SECRET_BYTES_MIN).collect();
        let forms: BTreeSet<String> = lines.into_iter().flat_map(encoded::forms).collect();
        let mut secrets: Vec<String> = forms.into_iter().collect();
        // One that another begins with must not leave the other's end.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets, ..Self::default() }
    }

    /// Has everything masked handed over by [`Self::take`].
    #[must_use]
    pub fn handing_over(self) -> Self {
        Self { masked: Some(String::new()), ..self }
    }

    /// What was masked since the last time.
    pub fn take(&mut self) -> String {
        self.masked.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Nothing more comes: what waited for the end of its line is masked.
    pub fn end(&mut self) {
        self.flush();
    }

    /// The next bytes, cut anywhere.
    pub fn push(&mut self, mut chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&chunk[..=end]);
            chunk = &chunk[end + 1..];
            self.line_ended();
        }
        self.line.extend_from_slice(chunk);
        if self.line.len() > LINE_BYTES {
            self.flush();
        }
    }

    /// What an event carries of it.
    pub fn finish(mut self) -> Output {
        self.flush();
        let truncated = self.dropped > 0;
        let mut text = self.head;
        if truncated {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&left_out(self.dropped));
            text.push('\n');
        }
        text.extend(self.tail);
        // Once more as a whole: a secret may stand on another line than its name.
        Output {
            text: redact::mask_text(&text).0,
            truncated,
            bytes: self.bytes,
            sha256: hex::encode(self.digest.finalize()),
        }
    }

    fn line_ended(&mut self) {
        let line_start =
            self.line[..self.line.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let last = &self.line[line_start..];
        let has = |word: &[u8]| last.windows(word.len()).any(|window| window == word);
        if has(b"PRIVATE KEY") && has(b"-----BEGIN ") && !has(b"-----END ") {
            self.in_key = true;
        } else if has(b"-----END ") {
            self.in_key = false;
        }
        if !self.in_key || self.line.len() > LINE_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        if self.key_was_masked {
            self.key_was_masked = self.in_key;
            return;
        }
        self.key_was_masked = self.in_key;
        let text = String::from_utf8_lossy(&line);
        let known = self.secrets.iter().any(|secret| text.contains(secret));
        let (masked, _) = redact::mask_text(&if known { hide(&text, &self.secrets).into() } else { text });
        self.digest.update(masked.as_bytes());
        if let Some(taken) = &mut self.masked {
            taken.push_str(&masked);
        }
        self.keep(masked);
    }

    fn keep(&mut self, masked: String) {
        const HALF: usize = KEPT_BYTES / 2;
        if self.tail.is_empty() && self.head.len() + masked.len() <= HALF {
            self.head.push_str(&masked);
            return;
        }
        self.tail_bytes += masked.len();
        self.tail.push_back(masked);
        while self.tail_bytes > HALF {
            // The newest line alone may be too long: then its end stays.
            if self.tail.len() == 1 {
                let only = &mut self.tail[0];
                let cut = only.ceil_char_boundary(only.len() - HALF);
                only.drain(..cut);
                self.dropped += cut as u64;
                self.tail_bytes -= cut;
                return;
            }
            let oldest = self.tail.pop_front().map_or(0, |line| line.len());
            self.dropped += oldest as u64;
            self.tail_bytes -= oldest;
        }
    }
}

/// The text without these secrets.
pub fn hide(text: &str, secrets: &[String]) -> String {
    let hidden = |text: String, secret: &String| text.replace(secret.as_str(), "[masked:credential]");
    secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN).fold(text.to_owned(), hidden)
}

fn left_out(bytes: u64) -> String {
    format!("[… {bytes} bytes left out …]")
}

/// A command line as POSIX shells read it: what needs no quotes has none, everything else stands in single quotes.
pub fn quoted(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quoted_word(word)).collect();
    words.join(" ")
}

fn quoted_word(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c))
}

/// The command line as an event carries it: each argument masked, then quoted, masked once more for what stands in two
/// arguments, and cut where it is longer than [`COMMAND_BYTES`].
pub fn shown(argv: &[String]) -> String {
    let shown_word = |word: &String| {
        // A mark is a word for the reader, not for a shell.
        let marked = word.contains("[masked:") && is_plain(&word.replace(['[', ']'], "-"));
        if marked { word.clone() } else { quoted_word(word) }
    };
    let words: Vec<String> = redact::mask_arguments(argv).iter().map(shown_word).collect();
    let (mut text, _) = redact::mask_text(&words.join(" "));
    if text.len() > COMMAND_BYTES {
        let missing = left_out((text.len() - COMMAND_BYTES) as u64);
        text.truncate(text.floor_char_boundary(COMMAND_BYTES));
        text.push(' ');
        text.push_str(&missing);
    }
    text
}

/// The sections of the event of a command that ran in `phase`.
///
/// - execute: `execution.steps`;
/// - preflight, verify: a check of type `command`, ok if it exited 0;
/// - plan: `plan.compile_ms` where it exited 0, else a failed check; the step in section `run`;
/// - audit: section `run` alone.
pub fn sections(phase: Phase, finished: &Finished) -> Sections {
    let mut sections = Sections::new();
    let ok = finished.ending == Ending::Exited(0);
    match phase {
        Phase::Execute => {
            sections.add("execution", serde_json::json!({"executor": "upm run", "steps": [step(finished)]}));
        }
        Phase::Preflight => sections.add("preflight", serde_json::json!({"checks": [check(finished, ok)]})),
        Phase::Verify => {
            sections.add(
                "verification",
                serde_json::json!({"checks": [check(finished, ok)], "duration_ms": finished.duration_ms}),
            );
        }
        Phase::Plan => {
            if ok {
                sections.add("plan", serde_json::json!({"compile_ms": finished.duration_ms}));
            } else {
                sections.add(
                    "preflight",
                    serde_json::json!({"checks": [{"type": "plan", "ok": false, "target": shown(&finished.argv)}]}),
                );
            }
            sections.add("run", step(finished));
        }
        Phase::Audit => sections.add("run", step(finished)),
    }
    sections
}

fn check(finished: &Finished, ok: bool) -> Value {
    let mut check = step(finished);
    if let Value::Object(members) = &mut check {
        let command = members.remove("cmd").unwrap_or_default();
        members.insert("type".to_owned(), "command".into());
        members.insert("target".to_owned(), command);
        members.insert("ok".to_owned(), ok.into());
    }
    check
}

fn step(finished: &Finished) -> Value {
    step_of(shown(&finished.argv), finished)
}

/// The step of a command that is shown as this line.
pub(crate) fn step_of(line: String, finished: &Finished) -> Value {
    let signal = match finished.ending {
        Ending::Killed(signal) => Some(signal.into()),
        _ => None,
    };
    let text = |output: &Output| (output.bytes > 0).then(|| Value::String(output.text.clone()));
    // That it said nothing is an output, too: an empty log, not a missing one.
    let is_silent = finished.stdout.bytes == 0 && finished.stderr.bytes == 0;
    let silence = is_silent.then(|| Value::from(""));
    let digest = |output: &Output| (output.bytes > 0).then(|| Value::String(output.sha256.clone()));
    let members = [
        ("cmd", Some(line.into())),
        ("rc", Some(finished.ending.rc().into())),
        ("signal", signal),
        ("started", matches!(finished.ending, Ending::NotStarted(_)).then_some(false.into())),
        ("started_at", Some(finished.started_at.as_str().into())),
        ("finished_at", Some(finished.finished_at.as_str().into())),
        ("duration_ms", Some(finished.duration_ms.into())),
        ("stdout", text(&finished.stdout).or(silence)),
        ("stdout_trunc", Some(finished.stdout.truncated.into())),
        ("stdout_bytes", Some(finished.stdout.bytes.into())),
        ("stdout_masked_sha256", digest(&finished.stdout)),
        ("stderr", text(&finished.stderr)),
        ("stderr_trunc", Some(finished.stderr.truncated.into())),
        ("stderr_bytes", Some(finished.stderr.bytes.into())),
        ("stderr_masked_sha256", digest(&finished.stderr)),
    ];
    object(members).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn captured(chunks: &[&[u8]]) -> Output {
        let mut capture = Capture::new();
        for chunk in chunks {
            capture.push(chunk);
        }
        capture.finish()
    }

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn finished(ending: Ending) -> Finished {
        Finished {
            argv: argv(&["kubectl", "create", "namespace", "team-alpha"]),
            ending,
            started_at: "2025-10-09T12:00:00.000Z".into(),
            finished_at: "2025-10-09T12:00:01.500Z".into(),
            duration_ms: 1500,
            stdout: captured(&[b"namespace/team-alpha created\n"]),
            stderr: Output::default(),
        }
    }

    #[test]
    fn words_are_quoted_as_a_shell_reads_them() {
        for (words, expect) in [
            (vec!["az", "group", "create", "--name=rg-demo"], "az group create --name=rg-demo"),
            (vec!["echo", ""], "echo ''"),
            (vec!["echo", "it's"], r"echo 'it'\''s'"),
            (vec!["sh", "-c", "a; b\n$(c)"], "sh -c 'a; b\n$(c)'"),
            (vec!["~", "é", "*"], "'~' 'é' '*'"),
        ] {
            assert_eq!(quoted(&argv(&words)), expect);
        }
    }

    #[test]
    fn a_real_shell_reads_the_same_words() {
        let words = argv(&["it's", "a b", "$HOME `x` \"q\" \\", "", "--x=*", "\n", "é~#!"]);
        let script = format!("for w in {}; do printf '%s\\0' \"$w\"; done", quoted(&words));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let read: Vec<String> =
            output.stdout.split(|b| *b == 0).map(|w| String::from_utf8(w.to_vec()).unwrap()).collect();
        assert_eq!(read[..read.len() - 1], words);
    }

    #[test]
    fn short_output_is_kept_whole() {
        let output = captured(&[b"name", b"space/", b"a created\nand"]);
        assert_eq!(output.text, "namespace/a created\nand");
        assert_eq!((output.truncated, output.bytes), (false, 23));
        assert_eq!(output.sha256, hex::encode(Sha256::digest(b"namespace/a created\nand")));
    }

    #[test]
    fn long_output_keeps_both_ends_and_says_what_is_missing() {
        let lines = (0..20_000).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n") + "\n";
        let output = captured(&[lines.as_bytes()]);
        assert!(
            output.truncated && output.text.starts_with("line 0\nline 1\n") && output.text.ends_with("line 19999\n")
        );
        assert_eq!(output.bytes, lines.len() as u64);
        assert_eq!(output.sha256, hex::encode(Sha256::digest(lines.as_bytes())));
        let marker = output.text.lines().find(|line| line.starts_with('[')).unwrap();
        let missing: usize = marker.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(output.text.len() - marker.len() - 1 + missing, lines.len());
    }

    #[test]
    fn one_endless_line_stays_bounded() {
        let mut capture = Capture::new();
        for _ in 0..1000 {
            capture.push(&[b'x'; 10_000]);
            assert!(capture.line.len() <= LINE_BYTES + 10_000);
        }
        let output = capture.finish();
        assert_eq!(output.bytes, 10_000_000);
        assert!(output.truncated && output.text.len() <= KEPT_BYTES + 100, "{}", output.text.len());
    }

    #[test]
    fn secrets_are_masked_and_digests_confirm_no_guess() {
        let secret = "AKIAIOSFODNN7EXAMPLE";
        let with = |key: &str| format!("deploying\nAuthorization: Bearer {key}\ndone\n");
        let output = captured(&[with("ghp_abcdefghijklmnopqrstuvwxyz0123456789").as_bytes()]);
        assert!(output.text.contains("[masked:") && !output.text.contains("ghp_abc"), "{}", output.text);
        assert_ne!(output.sha256, hex::encode(Sha256::digest(with("ghp_abcdefghijklmnopqrstuvwxyz0123456789"))));
        assert_eq!(output.sha256, hex::encode(Sha256::digest(output.text.as_bytes())));
        let shown = shown(&argv(&["deploy", "--password", "hunter2hunter2", secret]));
        assert!(!shown.contains("hunter2") && !shown.contains(secret), "{shown}");
    }

    #[test]
    fn credentials_are_masked_whatever_they_look_like() {
        let secrets = ["horse battery".to_owned(), "horse battery staple\nsecond line".to_owned(), "abc".to_owned()];
        let mut capture = Capture::hiding(&secrets).handing_over();
        capture.push(b"a horse battery staple, abc\nsecond ");
        assert_eq!(capture.take(), "a [masked:credential], abc\n");
        capture.push(b"line");
        capture.end();
        assert_eq!(capture.take(), "[masked:credential]");
        assert_eq!(capture.finish().text, "a [masked:credential], abc\n[masked:credential]");
    }

    #[test]
    fn arguments_are_masked_before_they_are_quoted() {
        for (words, expect) in [
            (vec!["x", "--token", "it's a\nsqZ"], "x --token [masked:argument]"),
            (vec!["x", "--password=a b\nc'd", "-v"], "x --password=[masked:argument] -v"),
            (vec!["env", "DB_PASS=a 'b' c", "run"], "env DB_PASS=[masked:argument] run"),
            (
                vec!["x", "--pass", "a b", "--credentials", "c d"],
                "x --pass [masked:argument] --credentials [masked:argument]",
            ),
            (vec!["/usr/bin/mysql", "-u", "root", "-pa'b c", "db"], "/usr/bin/mysql -u root -p[masked:argument] db"),
            (vec!["curl", "-H", "a;b", "-u", "u:p'\nq"], "curl -H 'a;b' -u u:[masked:argument]"),
            (vec!["sudo", "docker", "login", "-u", "me", "-p", "a b"], "sudo docker login -u me -p [masked:argument]"),
            (vec!["sh", "-c", "true --token 'sqB01'"], r"sh -c 'true --token '\''[masked:argument]'\'''"),
            (vec!["sh", "-c", "true --token 'it'\\''s-x' -v"], "sh -c 'true --token [masked:argument] -v'"),
            (vec!["x", "--token", "--verbose", "--path", "a b"], "x --token --verbose --path 'a b'"),
            (vec!["ssh", "-p", "22", "h", "cat --pattern=a bypass=b"], "ssh -p 22 h 'cat --pattern=a bypass=b'"),
        ] {
            assert_eq!(shown(&argv(&words)), expect);
        }
    }

    #[test]
    fn a_private_key_is_masked_whole_even_where_the_middle_is_left_out() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n".repeat(4000);
        let text = format!("before\n-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\nafter\n");
        for size in [1, 7, 4096, text.len()] {
            let output = captured(&text.as_bytes().chunks(size).collect::<Vec<_>>());
            assert!(!output.text.contains("MIIEvQ"), "chunks of {size}");
            assert!(output.text.starts_with("before\n") && output.text.ends_with("after\n"), "{}", output.text);
        }
    }

    #[test]
    fn each_phase_says_it_in_its_own_section() {
        let cases = [
            (Phase::Execute, Ending::Exited(0), "/execution/steps/0/rc", Value::from(0)),
            (Phase::Execute, Ending::Killed(9), "/execution/steps/0/rc", Value::from(137)),
            (Phase::Execute, Ending::Killed(9), "/execution/steps/0/signal", Value::from(9)),
            (Phase::Execute, Ending::NotStarted(127), "/execution/steps/0/started", Value::from(false)),
            (Phase::Preflight, Ending::Exited(1), "/preflight/checks/0/ok", Value::from(false)),
            (Phase::Verify, Ending::Exited(0), "/verification/checks/0/ok", Value::from(true)),
            (
                Phase::Verify,
                Ending::Exited(0),
                "/verification/checks/0/target",
                Value::from("kubectl create namespace team-alpha"),
            ),
            (Phase::Plan, Ending::Exited(0), "/plan/compile_ms", Value::from(1500)),
            (Phase::Plan, Ending::Exited(3), "/preflight/checks/0/ok", Value::from(false)),
            (Phase::Plan, Ending::Exited(3), "/run/rc", Value::from(3)),
            (Phase::Audit, Ending::Exited(0), "/run/stdout", Value::from("namespace/team-alpha created\n")),
        ];
        for (phase, ending, pointer, expect) in cases {
            let value = serde_json::to_value(sections(phase, &finished(ending)).into_map()).unwrap();
            assert_eq!(value.pointer(pointer), Some(&expect), "{phase:?} {ending:?} {value}");
        }
    }

    proptest! {
        #[test]
        fn where_the_chunks_are_cut_makes_no_difference(text in "([a-z =]{0,30}\n|-----(BEGIN|END) PRIVATE KEY-----\n|password=hunter2\n){0,20}", at in 0usize..200) {
            let bytes = text.as_bytes();
            let at = at.min(bytes.len());
            prop_assert_eq!(captured(&[bytes]), captured(&[&bytes[..at], &bytes[at..]]));
        }

        #[test]
        fn any_bytes_are_captured(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let output = captured(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(output.bytes, chunks.iter().map(|c| c.len() as u64).sum::<u64>());
        }
    }
}
