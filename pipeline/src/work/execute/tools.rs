//! That programs are those that are pinned: looked for along the path, hashed, and asked for their version, before the first step.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use workers::catalogue::Tool;
use workers::execute::Runnable;
use workers::preflight::answer::{is_pinned, version};
use workers::preflight::{Answer, Question};

use crate::work::process::{digest, resolve};
use crate::work::programs::Identity;
use crate::work::{Shop, ask};

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
    let sha256 = hashed(shop, &file).await?;
    let Some(tool) = tool else {
        return Ok(json!({"name": name, "sha256": sha256}));
    };
    if let Some(pinned) = tool.sha256.as_ref().filter(|pinned| **pinned != sha256) {
        return Err(format!("{} has the digest {sha256}, and {pinned} is pinned", file.display()));
    }
    match asked(shop, name, tool).await {
        Some(found) if is_pinned(&found, &tool.version) => {
            Ok(json!({"name": name, "version": found, "sha256": sha256}))
        }
        Some(found) => Err(format!("{name} is version {found}, and {} is pinned", tool.version)),
        None if tool.version_check.is_empty() => Ok(json!({"name": name, "version": tool.version, "sha256": sha256})),
        None => Err(format!("{name} does not say its version, and {} is pinned", tool.version)),
    }
}

/// The digest of a program: of 50 MB not for every change, as long as it is the same file.
async fn hashed(shop: &Shop, file: &Path) -> Result<String, String> {
    let now_ms = shop.now_ms();
    let identity = Identity::of(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if let Some(sha256) = shop.programs.digest(&identity) {
        return Ok(sha256);
    }
    let file = file.display().to_string();
    let hashed = tokio::task::spawn_blocking(move || digest(&file, "")).await;
    let program = hashed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    shop.programs.keep_digest(&identity, &program.sha256, now_ms);
    Ok(program.sha256)
}

/// The version that a pinned tool says of itself.
async fn asked(shop: &Shop, name: &str, tool: &Tool) -> Option<String> {
    if tool.version_check.is_empty() {
        return None;
    }
    let argv = [name.to_owned()].into_iter().chain(tool.version_check.iter().cloned()).collect();
    let question = Question { id: name.to_owned(), argv };
    let answers = ask::all(shop, vec![question]).await.ok()?;
    let said = |answer: &Answer| {
        let text = format!("{}\n{}", answer.stdout, answer.stderr);
        version(&text).map(str::to_owned)
    };
    answers.get(name).filter(|answer| answer.code == Some(0)).and_then(said)
}
