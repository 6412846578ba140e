//! A real `upm serve` to measure: started, asked over HTTP, stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::Value;

use crate::usage;
use crate::world::Failure;

/// How long the server may take to start, or to catch up.
const PATIENCE: Duration = Duration::from_hours(1);

/// Milliseconds over HTTP.
#[derive(Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Of microseconds.
pub(crate) fn quantiles(took: &Histogram<u64>) -> Quantiles {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^53")]
    let ms = |quantile| took.value_at_quantile(quantile) as f64 / 1e3;
    Quantiles { p50: ms(0.5), p99: ms(0.99), max: ms(1.0) }
}

/// The program beside ours.
pub(crate) fn upm(nats_server: &Path) -> Result<Command, Failure> {
    let program: PathBuf = std::env::current_exe()?.with_file_name("upm");
    let mut command = Command::new(program);
    command.env("NATS_SERVER", nats_server).stdout(Stdio::null());
    Ok(command)
}

/// A running `upm serve`, ended with the value.
pub(crate) struct Server {
    child: Child,
    tenant: String,
    pub(crate) http: String,
    pub(crate) nats: String,
    agent: ureq::Agent,
}

/// How far a tenant has come.
pub(crate) struct Standing {
    pub(crate) entries: u64,
    pub(crate) core: u64,
    pub(crate) detail: u64,
}

impl Server {
    /// One with this tenant, ready to be asked; `more` are further options.
    pub(crate) fn start(nats_server: &Path, tenant: &str, data: &Path, more: &[&str]) -> Result<Self, Failure> {
        let mut command = upm(nats_server)?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--tenant", tenant]).args(more).arg("--data").arg(data);
        let told = data.with_extension("log");
        let child = command.stderr(File::create(&told)?).spawn()?;
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut server = Self { child, tenant: tenant.to_owned(), http: String::new(), nats: String::new(), agent };
        let start = Instant::now();
        loop {
            let places: Value = std::fs::read(data.join("serve.json"))
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default();
            if let (Some(http), Some(nats)) = (places["http"].as_str(), places["nats"].as_str()) {
                (server.http, server.nats) = (http.to_owned(), nats.to_owned());
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                let told = std::fs::read_to_string(&told)?;
                return Err(format!("upm serve ended with {status}: {}", told.trim_end()).into());
            }
            server.patient(start)?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn patient(&self, since: Instant) -> Result<(), Failure> {
        if since.elapsed() < PATIENCE { Ok(()) } else { Err(format!("{} is too slow", self.http).into()) }
    }

    /// Status and body.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String), Failure> {
        let mut response = self.agent.get(format!("{}{path}", self.http)).call()?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    /// The same of a JSON document that is put.
    pub(crate) fn post(&self, path: &str, document: &Value) -> Result<(u16, String), Failure> {
        let request = self.agent.post(format!("{}{path}", self.http)).header("Content-Type", "application/json");
        let mut response = request.send(document.to_string())?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    pub(crate) fn standing(&self) -> Result<Standing, Failure> {
        let text = self.get("/metrics")?.1;
        let gauge = |name: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{tenant=\"{}\"}} ", self.tenant)));
            line.and_then(|number| number.parse::<u64>().ok()).ok_or(format!("/metrics has no {name}"))
        };
        let entries = gauge("upm_entries")?;
        let behind = |name: &str| gauge(name).map(|lag| entries.saturating_sub(lag));
        Ok(Standing { entries, core: behind("upm_views_lag_entries")?, detail: behind("upm_detail_lag_entries")? })
    }

    /// CPU seconds of it and of all that it has started.
    pub(crate) fn cpu_s(&self) -> f64 {
        usage::of_tree(self.child.id())
    }

    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
