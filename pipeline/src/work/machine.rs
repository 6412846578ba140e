//! What programs this machine has: where they are, what they say of their version, their digest where that is pinned.

use workers::preflight::Question;
use workers::rollback::{Machine, ToolFound, Way};

use super::process::{digest, resolve};
use super::{Shop, WorkError, ask};

/// The programs of a way back.
pub(crate) async fn of(shop: &Shop, way: &Way) -> Result<Machine, WorkError> {
    let programs = way.programs(&shop.catalogue);
    let directory = shop.workdir.join("look");
    let path = shop.environment(&directory).get("PATH").cloned().unwrap_or_default();
    let mut machine = Machine::new();
    let mut questions = Vec::new();
    for (program, asks) in programs {
        let found = resolve(&program, &path);
        let is_pinned = shop.catalogue.tool_of(&program).is_some_and(|tool| tool.sha256.is_some());
        let mut tool =
            ToolFound { path: found.as_ref().map(|path| path.display().to_string()), ..ToolFound::default() };
        if found.is_some() && is_pinned {
            let (name, path) = (program.clone(), path.clone());
            let hashed = tokio::task::spawn_blocking(move || digest(&name, &path)).await;
            let hashed = hashed.map_err(|error| WorkError::failed(&program, &error))?;
            tool.sha256 = Some(hashed.map_err(|error| WorkError::failed(&program, &error))?.sha256);
        }
        if let (Some(_), Some(argv)) = (found, asks) {
            questions.push(Question { id: program.clone(), argv });
        }
        machine.insert(program, tool);
    }
    for (program, answer) in ask::all(shop, questions).await? {
        if let Some(tool) = machine.get_mut(&program) {
            tool.version = Some(answer);
        }
    }
    super::aftermath::goes_on(shop, "looking at programs")?;
    Ok(machine)
}
