//! Probes: asking something that should answer, over HTTP or TCP or by a command, and how long it took.
//!
//! Left out: what has to be asked and what an answer means (`workers::verify`).

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use workers::argv;
use workers::command::Ending;
use workers::verify::{Probed, Run, Way};

use super::process::{self, Limits, Place};
use super::{Shop, WorkError};

/// What of an answer is looked at.
const ANSWER_BYTES: u64 = 1 << 20;

/// Puts one probe as often as it says.
pub(crate) async fn all(shop: &Shop, run: &Run) -> Result<Vec<Probed>, WorkError> {
    let Ok(way) = &run.way else { return Ok(Vec::new()) };
    let within = Duration::from_millis(run.within_ms);
    let mut answers = Vec::new();
    for _ in 0..run.samples {
        answers.push(match way {
            Way::Http { url, status, contains } => http(url, *status, contains.as_deref(), within).await?,
            Way::Tcp(address) => tcp(address, within).await,
            Way::Command { line, prints } => command(shop, line, prints.as_deref(), within).await?,
        });
        super::aftermath::goes_on(shop, "probing")?;
    }
    Ok(answers)
}

fn probed(began: Instant, good: bool, message: impl Into<String>) -> Probed {
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Probed { good, message: message.into(), ms, printed: None }
}

async fn http(url: &str, status: u64, contains: Option<&str>, within: Duration) -> Result<Probed, WorkError> {
    let began = Instant::now();
    let asked = url.to_owned();
    let answer = tokio::task::spawn_blocking(move || get(&asked, within)).await;
    let answer = answer.map_err(|error| WorkError::failed(url, &error))?;
    Ok(match answer {
        Err(error) => probed(began, false, format!("{url} does not answer: {error}")),
        Ok((found, _)) if u64::from(found) != status => {
            probed(began, false, format!("{url} answers {found}, expected {status}"))
        }
        Ok((found, body)) => match contains {
            Some(text) if !body.contains(text) => {
                probed(began, false, format!("{url} answers {found} without {text:?}"))
            }
            _ => probed(began, true, format!("{url} answers {found}")),
        },
    })
}

fn get(url: &str, within: Duration) -> Result<(u16, String), ureq::Error> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(within));
    let agent: ureq::Agent = config.proxy(None).max_redirects(0).build().into();
    let mut answer = agent.get(url).call()?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES).lossy_utf8(true).read_to_string()?;
    Ok((status, body))
}

async fn tcp(address: &str, within: Duration) -> Probed {
    let began = Instant::now();
    match timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(_)) => probed(began, true, format!("{address} takes connections")),
        Ok(Err(error)) => probed(began, false, format!("{address} takes no connection: {error}")),
        Err(_) => probed(began, false, format!("{address} took no connection in {} ms", within.as_millis())),
    }
}

async fn command(shop: &Shop, line: &str, prints: Option<&str>, within: Duration) -> Result<Probed, WorkError> {
    let began = Instant::now();
    let pipeline = match workers::rollback::pipeline(line, &shop.catalogue, &shop.config.guard) {
        Ok(pipeline) => pipeline,
        Err(reason) => return Ok(probed(began, false, format!("{line:?} is not run: {reason}"))),
    };
    let directory = shop.workdir.join("probe");
    std::fs::create_dir_all(&directory).map_err(|error| WorkError::failed(directory.display().to_string(), &error))?;
    let place = Place::new(&directory, shop.environment(&directory), shop.clock.clone());
    let limits = Limits { time: within, output_bytes: ANSWER_BYTES, memory_bytes: None, processes: None };
    let shown = argv::render(&pipeline.commands[0]);
    let ran = match process::run(&pipeline.commands, &place, &limits, &shop.stop).await {
        Ok(ran) => ran,
        Err(error) => return Ok(probed(began, false, format!("{shown}: {error}"))),
    };
    let printed = ran.stdout.output.text.clone();
    let as_asked = prints.is_none_or(|text| printed.trim() == text);
    let good = ran.ending == Ending::Exited(0) && ran.stopped.is_none() && as_asked;
    let said = printed.lines().chain(ran.stderr.output.text.lines()).find(|line| !line.trim().is_empty());
    let said: String = said.unwrap_or_default().trim().chars().take(160).collect();
    let message = format!("{shown}: exit code {}, {said:?}", ran.ending.rc());
    Ok(Probed { printed: Some(printed), ..probed(began, good, message) })
}
