//! Commands that only look, and their answers: what preflight's questions are put with.
//!
//! Left out: which commands only look (`workers::catalogue`), and what an answer means (`workers::preflight`).

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use workers::command::Ending;
use workers::preflight::{Answer, Answers, Question};

use super::process::{self, Limits, Place, Ran};
use super::programs::Identity;
use super::{Shop, WorkError};

/// Commands that look at once.
const AT_ONCE: usize = 4;
/// What one may print: lists of a cloud are long.
const OUTPUT_BYTES: u64 = 8 << 20;

/// Puts all questions and waits for the answers. One that can't be put is answered with why.
pub(crate) async fn all(shop: &Shop, questions: Vec<Question>) -> Result<Answers, WorkError> {
    let directory = shop.workdir.join("look");
    std::fs::create_dir_all(&directory).map_err(|error| WorkError::failed(directory.display().to_string(), &error))?;
    let put_one = |question: Question| {
        let directory = &directory;
        async move {
            let answer = put(shop, directory, &question.argv).await;
            (question.id, answer)
        }
    };
    Ok(futures::stream::iter(questions.into_iter().map(put_one)).buffer_unordered(AT_ONCE).collect().await)
}

/// Asks, but for a version that a program has said not long ago and since when it is the same file.
async fn put(shop: &Shop, directory: &Path, argv: &[String]) -> Answer {
    let Some(file) = versioned(shop, directory, argv) else { return one(shop, directory, argv).await };
    let now_ms = shop.now_ms();
    if let Some(answer) = shop.programs.version(&file, argv, now_ms) {
        return answer;
    }
    let answer = one(shop, directory, argv).await;
    shop.programs.keep_version(&file, argv, &answer, now_ms);
    answer
}

/// The program's file, where the question is what the catalogue calls its version check.
fn versioned(shop: &Shop, directory: &Path, argv: &[String]) -> Option<Identity> {
    let (program, arguments) = argv.split_first()?;
    let tool = shop.catalogue.tool_of(program)?;
    if tool.version_check.is_empty() || arguments != tool.version_check {
        return None;
    }
    let path = shop.environment(directory).remove("PATH").unwrap_or_default();
    Identity::of(&process::resolve(program, &path)?).ok()
}

async fn one(shop: &Shop, directory: &Path, argv: &[String]) -> Answer {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut place = Place::new(directory, shop.environment(directory), shop.clock.clone());
    place.keep = Some(directory.join(format!("{}-{number}", shop.instance)));
    let limits = Limits {
        time: Duration::from_secs(shop.config.preflight.time_limit_s),
        output_bytes: OUTPUT_BYTES,
        memory_bytes: None,
        processes: None,
    };
    match process::run(&[argv.to_vec()], &place, &limits, &shop.stop).await {
        Ok(ran) => {
            let answer = answer(&ran, &limits);
            for kept in [&ran.stdout.whole, &ran.stderr.whole].into_iter().flatten() {
                if let Err(error) = std::fs::remove_file(kept) {
                    tracing::debug!(path = %kept.display(), %error, "an output that was read is left");
                }
            }
            answer
        }
        Err(error) => Answer { problem: Some(error.to_string()), ..Answer::default() },
    }
}

pub(super) fn answer(ran: &Ran, limits: &Limits) -> Answer {
    let text = |captured: &process::Captured| captured.read();
    let (stdout, stderr) = match (text(&ran.stdout), text(&ran.stderr)) {
        (Ok(stdout), Ok(stderr)) => (stdout, stderr),
        (Err(error), _) | (_, Err(error)) => {
            return Answer { problem: Some(format!("its output can't be read: {error}")), ..Answer::default() };
        }
    };
    let problem = match (ran.stopped, ran.ending) {
        (Some(process::Stop::Time), _) => Some(format!("it took longer than {} s", limits.time.as_secs())),
        (Some(process::Stop::Cancelled), _) => Some("it was cancelled".to_owned()),
        (Some(process::Stop::Output), _) => Some(format!("it printed more than {} bytes", limits.output_bytes)),
        (Some(process::Stop::Processes), _) => Some("it started too many processes".to_owned()),
        (None, Ending::NotStarted(_)) => Some(stderr.trim().to_owned()),
        (None, Ending::Killed(signal)) => Some(format!("it was killed by signal {signal}")),
        (None, Ending::Exited(_)) => None,
    };
    let code = match ran.ending {
        Ending::Exited(code) if ran.stopped.is_none() => u64::try_from(code).ok(),
        _ => None,
    };
    Answer { code, stdout, stderr, problem }
}
