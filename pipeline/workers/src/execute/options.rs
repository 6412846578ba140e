//! `[execute]`: limits, retries, waves, credentials. `docs/workers.md` has every key.

use std::collections::BTreeSet;

use crate::scope::{self, Scope};
use crate::table::{Entry, Read};

/// `[execute]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecuteOptions {
    /// Seconds for each step.
    pub time_limit_s: u64,
    /// Bytes that a step may write, to each of its two outputs.
    pub output_bytes: u64,
    /// Memory of each process.
    pub memory_bytes: u64,
    /// Processes of a step at once.
    pub processes: u64,
    /// Whether a certificate error is answered by one try without checking certificates.
    pub tls_fallback: bool,
    /// Environments in which it never is.
    pub tls_fallback_except: BTreeSet<String>,
    /// When idempotent steps are tried again.
    pub retries: Retries,
    /// How far steps go at once.
    pub waves: WaveOptions,
    /// Who hands over credentials for which step; the first that fits.
    pub credentials: Vec<Helper>,
}

/// `[execute.retries]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Tries in all.
    pub tries: u64,
    /// Milliseconds before the second try; each later one waits twice as long.
    pub first_ms: u64,
    /// The longest wait.
    pub most_ms: u64,
    /// How much shorter or longer a wait may be, in per cent.
    pub jitter_percent: u64,
    /// Which exits, first match first.
    pub classes: Vec<RetryClass>,
}

/// Exits that another try may mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryClass {
    /// For the record.
    pub name: String,
    /// Exit codes; every code but 0 if empty.
    pub codes: BTreeSet<i32>,
    /// One of these is among the errors, whatever its case; no text is asked for if empty.
    pub says: Vec<String>,
    /// Only of these programs; of every one if empty.
    pub programs: BTreeSet<String>,
}

/// `[execute.waves]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveOptions {
    /// Steps that run at once.
    pub concurrency: u64,
    /// Steps that may start within a minute; 0: as many as come.
    pub starts_per_minute: u64,
    /// The most steps of one wave: a larger one is cut. 0: any number.
    pub most_steps: u64,
    /// Seconds in which the read-backs of a gate have to hold.
    pub gate_s: u64,
    /// Probes of `[[verify.probes]]` that have to answer before the next wave, beside the read-backs.
    pub probes: BTreeSet<String>,
    /// What pauses the change before its next wave.
    pub pause_on: BTreeSet<Oddity>,
    /// Whether each next wave waits for `upm change resume`.
    pub promote_by_hand: bool,
}

/// What may happen in a wave that went well in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oddity {
    /// A certificate was not checked.
    TlsFallback,
    /// A step was tried more than once.
    Retry,
}

impl Oddity {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TlsFallback => "tls_fallback",
            Self::Retry => "retry",
        }
    }
}

/// `[[execute.credentials]]`: a program that prints credentials, or a file that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// For the record.
    pub name: String,
    /// Which changes.
    pub scope: Scope,
    /// Which programs; every one if empty.
    pub programs: BTreeSet<String>,
    /// Where they come from.
    pub source: Source,
    /// The longest time for which they may be good; none: they need no end.
    pub most_ttl_s: Option<u64>,
    /// Whether they hold a client's certificate, for the record.
    pub mtls: bool,
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Program and arguments.
    Program(Vec<String>),
    /// A path.
    File(String),
}

impl Default for ExecuteOptions {
    fn default() -> Self {
        Self {
            time_limit_s: 900,
            output_bytes: 64 << 20,
            memory_bytes: 4 << 30,
            processes: 256,
            tls_fallback: true,
            tls_fallback_except: BTreeSet::new(),
            retries: Retries::default(),
            waves: WaveOptions::default(),
            credentials: Vec::new(),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        let class = |name: &str, says: &[&str]| RetryClass {
            name: name.to_owned(),
            codes: BTreeSet::new(),
            says: says.iter().map(|text| (*text).to_owned()).collect(),
            programs: BTreeSet::new(),
        };
        let network = [
            "connection refused",
            "connection reset",
            "i/o timeout",
            "tls handshake timeout",
            "timed out",
            "temporary failure in name resolution",
            "could not connect",
            "failed to connect",
            "unexpected eof",
            "service unavailable",
            "bad gateway",
            "gateway timeout",
        ];
        let throttled =
            ["throttling", "toomanyrequests", "too many requests", "rate exceeded", "requestlimitexceeded", "slowdown"];
        let busy = ["etcdserver: leader changed", "state lock", "try again later", "operation conflict"];
        let classes = vec![class("throttled", &throttled), class("network", &network), class("busy", &busy)];
        Self { tries: 3, first_ms: 1_000, most_ms: 30_000, jitter_percent: 20, classes }
    }
}

impl Default for WaveOptions {
    fn default() -> Self {
        Self {
            concurrency: 1,
            starts_per_minute: 0,
            most_steps: 0,
            gate_s: 60,
            probes: BTreeSet::new(),
            pause_on: BTreeSet::new(),
            promote_by_hand: false,
        }
    }
}

const MIB: u64 = 1 << 20;

impl ExecuteOptions {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&[
            "time_limit_s",
            "output_mib",
            "memory_mib",
            "processes",
            "tls_fallback",
            "tls_fallback_except",
            "retries",
            "waves",
            "credentials",
        ])?;
        let default = Self::default();
        let number = |key: &str, least: u64, most: u64, default: u64| -> Read<u64> {
            Ok(entry.number_within(key, least, most)?.unwrap_or(default))
        };
        Ok(Self {
            time_limit_s: number("time_limit_s", 1, 86_400, default.time_limit_s)?,
            output_bytes: number("output_mib", 1, 1_024, default.output_bytes / MIB)? * MIB,
            memory_bytes: number("memory_mib", 16, 1 << 20, default.memory_bytes / MIB)? * MIB,
            processes: number("processes", 1, 100_000, default.processes)?,
            tls_fallback: flag_or(entry, "tls_fallback", default.tls_fallback)?,
            tls_fallback_except: entry.names("tls_fallback_except")?.unwrap_or_default(),
            retries: entry.inner("retries")?.map_or(Ok(default.retries), |entry| Retries::read(&entry))?,
            waves: entry.inner("waves")?.map_or(Ok(default.waves), |entry| WaveOptions::read(&entry))?,
            credentials: entry.list("credentials", "credentials")?.iter().map(Helper::read).collect::<Read<_>>()?,
        })
    }

    /// Whether a certificate error may be answered in this environment; a change that names none is bound by every exception.
    pub fn may_fall_back(&self, environment: Option<&str>) -> bool {
        let except = match environment {
            Some(name) => self.tls_fallback_except.contains(name),
            None => !self.tls_fallback_except.is_empty(),
        };
        self.tls_fallback && !except
    }
}

fn flag_or(entry: &Entry<'_>, key: &str, default: bool) -> Read<bool> {
    if entry.table.contains_key(key) { entry.flag(key) } else { Ok(default) }
}

impl Retries {
    fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&["tries", "first_ms", "most_ms", "jitter_percent", "classes"])?;
        let default = Self::default();
        let classes: Vec<RetryClass> =
            entry.list("classes", "class")?.iter().map(RetryClass::read).collect::<Read<_>>()?;
        Ok(Self {
            tries: entry.number_within("tries", 1, 20)?.unwrap_or(default.tries),
            first_ms: entry.number_within("first_ms", 0, 600_000)?.unwrap_or(default.first_ms),
            most_ms: entry.number_within("most_ms", 0, 3_600_000)?.unwrap_or(default.most_ms),
            jitter_percent: entry.number_within("jitter_percent", 0, 100)?.unwrap_or(default.jitter_percent),
            // The house's come before the shipped ones.
            classes: classes.into_iter().chain(default.classes).collect(),
        })
    }
}

impl RetryClass {
    fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&["name", "codes", "says", "programs"])?;
        let mut codes = BTreeSet::new();
        for value in entry.table.get("codes").and_then(toml::Value::as_array).into_iter().flatten() {
            match value.as_integer().and_then(|code| i32::try_from(code).ok()).filter(|code| (1..=255).contains(code)) {
                Some(code) => codes.insert(code),
                None => return entry.wrong("codes", value.to_string(), "exit codes from 1 to 255"),
            };
        }
        let says: Vec<String> = entry.texts("says")?.iter().map(|text| text.to_lowercase()).collect();
        if codes.is_empty() && says.is_empty() {
            return entry.wrong(
                "says",
                "neither codes nor says",
                "one of them: not every failure is worth another try",
            );
        }
        if says.iter().any(|text| text.trim().is_empty()) {
            return entry.wrong("says", "an empty text", "what stands among the errors");
        }
        let programs = entry.names("programs")?.unwrap_or_default();
        Ok(Self { name: entry.needed_text("name")?, codes, says, programs })
    }
}

impl WaveOptions {
    fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&["concurrency", "starts_per_minute", "most_steps", "gate_s", "probes", "pause_on", "promote"])?;
        let default = Self::default();
        let known = [Oddity::TlsFallback, Oddity::Retry];
        let mut pause_on = BTreeSet::new();
        for word in entry.texts("pause_on")? {
            match known.into_iter().find(|oddity| oddity.as_str() == word) {
                Some(oddity) => pause_on.insert(oddity),
                None => return entry.wrong("pause_on", format!("{word:?}"), "tls_fallback or retry"),
            };
        }
        Ok(Self {
            concurrency: entry.number_within("concurrency", 1, 100)?.unwrap_or(default.concurrency),
            starts_per_minute: entry
                .number_within("starts_per_minute", 0, 10_000)?
                .unwrap_or(default.starts_per_minute),
            most_steps: entry.number_within("most_steps", 0, 10_000)?.unwrap_or(default.most_steps),
            gate_s: entry.number_within("gate_s", 0, 3_600)?.unwrap_or(default.gate_s),
            probes: entry.names("probes")?.unwrap_or_default(),
            pause_on,
            promote_by_hand: entry.word("promote", &[("by itself", false), ("by hand", true)])?.unwrap_or(false),
        })
    }
}

impl Helper {
    fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(
            &[&["name", "programs", "program", "file", "most_ttl_s", "lasting", "mtls"][..], &scope::KEYS].concat(),
        )?;
        let program = entry.texts("program")?;
        let source = match (program.first().is_some_and(|name| !name.is_empty()), entry.text("file")?) {
            (true, None) => Source::Program(program),
            (false, Some(path)) if !path.is_empty() => Source::File(path),
            _ => return entry.wrong("program", "neither or both", "program, a list of texts, or file, a path"),
        };
        let most_ttl_s = entry.number_within("most_ttl_s", 1, 86_400)?;
        let lasting = entry.flag("lasting")?;
        if lasting && most_ttl_s.is_some() {
            return entry.wrong("lasting", "it beside most_ttl_s", "one of them");
        }
        Ok(Self {
            name: entry.needed_text("name")?,
            scope: Scope::read(entry)?,
            programs: entry.names("programs")?.unwrap_or_default(),
            source,
            most_ttl_s: if lasting { None } else { Some(most_ttl_s.unwrap_or(3_600)) },
            mtls: entry.flag("mtls")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ExecuteOptions, String> {
        let config = crate::config::Config::read("workers.toml", text);
        config.map(|config| config.execute).map_err(|mistakes| mistakes[0].to_string())
    }

    #[test]
    fn without_a_word_the_guard_rails_are_on() {
        let options = read("").unwrap();
        assert_eq!(options, ExecuteOptions::default());
        assert!(options.credentials.is_empty() && options.may_fall_back(None));
        assert_eq!((options.retries.tries, options.waves.concurrency, options.time_limit_s), (3, 1, 900));
    }

    #[test]
    fn every_key_is_read() {
        let options = read(
            r#"
            [execute]
            time_limit_s = 5
            output_mib = 2
            memory_mib = 64
            processes = 7
            tls_fallback_except = ["production"]
            [execute.retries]
            tries = 4
            first_ms = 10
            most_ms = 40
            jitter_percent = 0
            classes = [{ name = "lock", codes = [75], says = ["Locked"], programs = ["tofu"] }]
            [execute.waves]
            concurrency = 4
            starts_per_minute = 30
            most_steps = 2
            gate_s = 9
            pause_on = ["retry", "tls_fallback"]
            promote = "by hand"
            [[execute.credentials]]
            name = "vault"
            environments = ["production"]
            programs = ["aws"]
            program = ["vault-helper", "aws"]
            most_ttl_s = 60
            mtls = true
            [[execute.credentials]]
            name = "file"
            file = "kube.json"
            lasting = true
            "#,
        )
        .unwrap();
        assert_eq!((options.time_limit_s, options.output_bytes, options.memory_bytes), (5, 2 << 20, 64 << 20));
        assert_eq!(options.retries.classes[0].says, ["locked"]);
        assert_eq!(options.retries.classes.len(), 1 + Retries::default().classes.len());
        assert_eq!(options.waves.pause_on, [Oddity::TlsFallback, Oddity::Retry].into());
        assert!(options.waves.promote_by_hand);
        assert_eq!(options.credentials[0].most_ttl_s, Some(60));
        assert_eq!(options.credentials[1].source, Source::File("kube.json".to_owned()));
        assert_eq!(options.credentials[1].most_ttl_s, None);
        assert!(options.may_fall_back(Some("staging")));
        assert!(!options.may_fall_back(Some("production")) && !options.may_fall_back(None));
        assert!(!read("[execute]\ntls_fallback = false").unwrap().may_fall_back(Some("staging")));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, told) in [
            ("[execute]\nshell = true", "a key that means nothing here"),
            ("[execute]\ntime_limit_s = 0", "a whole number from 1 to 86400"),
            ("[execute.retries]\nclasses = [{ name = \"all\" }]", "neither codes nor says"),
            ("[execute.retries]\nclasses = [{ name = \"ok\", codes = [0] }]", "exit codes from 1 to 255"),
            ("[execute.waves]\npause_on = [\"moon\"]", "tls_fallback or retry"),
            ("[[execute.credentials]]\nname = \"a\"", "neither or both"),
            (
                "[[execute.credentials]]\nname = \"a\"\nfile = \"x\"\nlasting = true\nmost_ttl_s = 5",
                "it beside most_ttl_s",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told) && error.starts_with("workers.toml: "), "{text}: {error}");
        }
    }
}
