//! `upm change watch`: a change as it happens, a line for each entry. It reads the server's events (`…/watch`), and comes back with what it has seen
//! where the connection breaks.

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use projector::fold::State;
use schemas::ids::{ChangeId, Tenant};
use serde_json::{Value, json};

use super::super::client::http::{Client, segment};
use super::super::client::lookup::tenant_of;
use super::super::client::print;
use super::{list_of, time, word};
use crate::cli::{CliError, Globals};
use crate::clock;

/// How long a server that went away may take to come back.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(300);

/// Options of `upm change watch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm change watch c-42 --tenant acme\n  upm change watch c-42 --until verified --until failed --for 600\n  \
                  upm change watch c-42 --json | jq -r .text\n\n\
                  Exit codes: 0 it came to a state of --until (without: it was closed), 1 it did not, 2 could not do it."
)]
pub struct Args {
    /// The change
    #[arg(value_name = "ID")]
    change: ChangeId,
    #[command(flatten)]
    until: Until,
}

/// When it has been watched long enough.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Until {
    /// Until it is in this state, for instance verified; repeatable [default: closed]
    #[arg(long = "until", value_name = "STATE", value_parser = state)]
    states: Vec<State>,
    /// For so many seconds at most
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
}

fn state(text: &str) -> Result<State, String> {
    State::parse(text).ok_or_else(|| format!("expected one of {}", State::ALL.map(State::as_str).join(", ")))
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let tenant = tenant_of(&Client::new(globals), globals, &args.change)?;
    follow(globals, &tenant, args.change.as_str(), &args.until)
}

/// Follows a change until it has come where it should.
pub fn follow(globals: &Globals, tenant: &Tenant, change: &str, until: &Until) -> Result<ExitCode, CliError> {
    let path = format!("/v1/tenants/{}/changes/{}/watch", segment(tenant.as_str()), segment(change));
    let end = until.seconds.map(|seconds| clock::now() + Duration::from_secs(seconds));
    let mut watching = Watching { json: globals.json, until, seen: None, state: None };
    let mut broken: Option<Instant> = None;
    loop {
        if end.is_some_and(|end| clock::now() >= end) {
            return watching.late();
        }
        let left = end.map(|end| end.saturating_duration_since(clock::now()));
        // Another client each time: the server may be another one by now.
        match Client::new(globals).follow(&path, watching.seen, left) {
            Ok(reader) => {
                broken = None;
                if let Some(code) = watching.read(BufReader::new(reader))? {
                    return Ok(code);
                }
            }
            Err(error @ CliError::No { .. }) => return Err(error),
            Err(error) => {
                let since = *broken.get_or_insert_with(clock::now);
                if watching.seen.is_none() || since.elapsed() >= PATIENCE {
                    return Err(error);
                }
            }
        }
        std::thread::sleep(RETRY);
    }
}

struct Watching<'a> {
    json: bool,
    until: &'a Until,
    /// The last entry that was shown.
    seen: Option<u64>,
    state: Option<String>,
}

impl Watching<'_> {
    /// Reads events until the connection ends; a code where the end is reached.
    fn read(&mut self, mut reader: impl BufRead) -> Result<Option<ExitCode>, CliError> {
        let (mut kind, mut data, mut line) = (String::new(), String::new(), String::new());
        loop {
            line.clear();
            // A connection that breaks off is taken up again.
            if !matches!(reader.read_line(&mut line), Ok(read) if read > 0) {
                return Ok(None);
            }
            let text = line.trim_end_matches(['\n', '\r']);
            match text.split_once(':') {
                None if text.is_empty() => {
                    let said: Value = serde_json::from_str(&data).unwrap_or_default();
                    if let Some(code) = self.take(&kind, said)? {
                        return Ok(Some(code));
                    }
                    kind.clear();
                    data.clear();
                }
                Some(("event", value)) => value.trim_start().clone_into(&mut kind),
                Some(("data", value)) => data.push_str(value.strip_prefix(' ').unwrap_or(value)),
                // Comments keep the connection alive; the id stands in the data too.
                _ => {}
            }
        }
    }

    fn take(&mut self, kind: &str, said: Value) -> Result<Option<ExitCode>, CliError> {
        match kind {
            "entry" => {
                self.seen = said["index"].as_u64().or(self.seen);
                self.show(kind, said)?;
                Ok(None)
            }
            "state" => {
                let state = word(&said, "state").to_owned();
                self.show(kind, said)?;
                self.state = Some(state.clone());
                Ok(self.ended(&state))
            }
            _ => Ok(None),
        }
    }

    fn ended(&self, state: &str) -> Option<ExitCode> {
        let wanted = &self.until.states;
        let is_reached = wanted.iter().any(|wanted| wanted.as_str() == state);
        match (state == State::Closed.as_str(), is_reached || wanted.is_empty()) {
            (true, true) => Some(ExitCode::SUCCESS),
            (true, false) => Some(ExitCode::from(1)),
            (false, _) if is_reached => Some(ExitCode::SUCCESS),
            (false, _) => None,
        }
    }

    fn show(&self, kind: &str, mut said: Value) -> Result<(), CliError> {
        if self.json {
            said["event"] = json!(kind);
            return print::json_line(&said);
        }
        if kind == "state" {
            let attempt = said["attempt"].as_u64().filter(|attempt| *attempt > 1);
            let attempt = attempt.map(|attempt| format!(" (attempt {attempt})")).unwrap_or_default();
            return print::line(&format!("  = {}{attempt}", print::clean(&word(&said, "state").replace('_', " "))));
        }
        print::line(&format!(
            "{}  {:<9} {}",
            time(&said["at"]),
            print::clean(word(&said, "phase")),
            print::clean(word(&said, "text"))
        ))?;
        for note in list_of(&said, "notes").iter().filter_map(Value::as_str) {
            print::line(&format!("    ! {}", print::clean(note)))?;
        }
        Ok(())
    }

    fn late(&self) -> Result<ExitCode, CliError> {
        let state = self.state.as_deref().unwrap_or("not known").replace('_', " ");
        Err(CliError::no(format!("the time is over; the change is {}", print::clean(&state))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, states: &[State]) -> (Option<ExitCode>, Option<u64>) {
        let until = Until { states: states.to_vec(), seconds: None };
        let mut watching = Watching { json: true, until: &until, seen: None, state: None };
        let code = watching.read(text.as_bytes()).unwrap();
        (code, watching.seen)
    }

    #[test]
    fn it_ends_where_it_should() {
        let entry = "id: 7\nevent: entry\ndata: {\"index\":7,\"text\":\"x\"}\n\n: alive\n\n";
        let state = |word: &str| format!("{entry}event: state\ndata: {{\"state\":\"{word}\",\"attempt\":1}}\n\n");
        assert_eq!(read(entry, &[]), (None, Some(7)));
        assert_eq!(read(&state("verified"), &[]), (None, Some(7)));
        assert_eq!(read(&state("verified"), &[State::Verified]).0, Some(ExitCode::SUCCESS));
        assert_eq!(read(&state("closed"), &[]).0, Some(ExitCode::SUCCESS));
        assert_eq!(read(&state("closed"), &[State::Verified]).0, Some(ExitCode::from(1)));
        // Half an event says nothing.
        assert_eq!(read("event: state\ndata: {\"state\":\"closed\"}\n", &[]).0, None);
    }
}
