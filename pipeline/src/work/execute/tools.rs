//! That programs are those that are pinned: looked for along the path, hashed, and asked for their version, before the first step.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use workers::catalogue::Tool;
use workers::execute::Runnable;
use workers::preflight::answer::{is_pinned, version};
use workers::preflight::{Answer, Question};

use crate::work::process::{Program, digest, resolve};
use crate::work::{Shop, ask};

/// A file as it was when it was looked at: path, length, time of change, inode.
type Look = (PathBuf, u64, i64, i64, u64);

/// What was found once is found again without hashing 50 MB, or starting the program, for every change.
static KNOWN: Mutex<BTreeMap<Look, (Program, Option<String>)>> = Mutex::new(BTreeMap::new());

/// Each program with version and digest, and why the plan can't be run with what is there.
pub(super) async fn found(shop: &Shop, runnable: &Runnable) -> (Vec<Value>, Option<String>) {
    let directory = shop.workdir.join("look");
    let path = shop.environment(&directory).remove("PATH").unwrap_or_default();
    let (mut told, mut trouble) = (Vec::new(), None);
    for name in programs(runnable) {
        let tool = shop.catalogue.tool_of(&name);
        match of_program(shop, &name, tool, &path).await {
            Ok(found) => told.push(found),
            Err(why) => trouble = trouble.or(Some(why)),
        }
    }
    (told, trouble)
}

fn programs(runnable: &Runnable) -> BTreeSet<String> {
    let commands = runnable.steps.iter().flat_map(|step| &step.pipeline.commands);
    commands.filter_map(|argv| argv.first()).cloned().collect()
}

async fn of_program(shop: &Shop, name: &str, tool: Option<&Tool>, path: &str) -> Result<Value, String> {
    let missing = || format!("{name} is not in {path}");
    let file = resolve(name, path).ok_or_else(missing)?;
    let about = file.metadata().map_err(|error| format!("{}: {error}", file.display()))?;
    let look = (file, about.len(), about.mtime(), about.mtime_nsec(), about.ino());
    let known = lock().get(&look).cloned();
    let (program, found) = match known {
        Some(known) => known,
        None => {
            let looked = (hashed(name, path).await?, asked(shop, name, tool).await);
            lock().insert(look, looked.clone());
            looked
        }
    };
    let Some(tool) = tool else {
        return Ok(json!({"name": name, "sha256": program.sha256}));
    };
    if let Some(pinned) = tool.sha256.as_ref().filter(|pinned| **pinned != program.sha256) {
        let path = program.path.display();
        return Err(format!("{path} has the digest {}, and {pinned} is pinned", program.sha256));
    }
    match found {
        Some(found) if is_pinned(&found, &tool.version) => {
            Ok(json!({"name": name, "version": found, "sha256": program.sha256}))
        }
        Some(found) => Err(format!("{name} is version {found}, and {} is pinned", tool.version)),
        None if tool.version_check.is_empty() => {
            Ok(json!({"name": name, "version": tool.version, "sha256": program.sha256}))
        }
        None => Err(format!("{name} does not say its version, and {} is pinned", tool.version)),
    }
}

async fn hashed(name: &str, path: &str) -> Result<Program, String> {
    let (name, path) = (name.to_owned(), path.to_owned());
    let hashed = tokio::task::spawn_blocking(move || digest(&name, &path)).await;
    hashed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// The version that a pinned tool says of itself.
async fn asked(shop: &Shop, name: &str, tool: Option<&Tool>) -> Option<String> {
    let tool = tool.filter(|tool| !tool.version_check.is_empty())?;
    let argv = [name.to_owned()].into_iter().chain(tool.version_check.iter().cloned()).collect();
    let question = Question { id: name.to_owned(), argv };
    let answers = ask::all(shop, vec![question]).await.ok()?;
    let said = |answer: &Answer| {
        let text = format!("{}\n{}", answer.stdout, answer.stderr);
        version(&text).map(str::to_owned)
    };
    answers.get(name).filter(|answer| answer.code == Some(0)).and_then(said)
}

/// A lock whose holder panicked still guards plain values.
fn lock() -> std::sync::MutexGuard<'static, BTreeMap<Look, (Program, Option<String>)>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
