//! The workers' file of options, read with everything that it names: catalogue files and policies. Paths start at the file's own directory.

use std::path::{Path, PathBuf};

use pipeline::work::Policies;
use workers::catalogue::Catalogue;
use workers::config::Config;

use crate::bounded;
use crate::cli::CliError;

/// No file of options or catalogue is longer.
const FILE_BYTES: u64 = 4 << 20;

/// Options, and what they name.
pub struct Options {
    /// As read; the defaults without a file.
    pub config: Config,
    /// The shipped catalogue with the files that the options name.
    pub catalogue: Catalogue,
    /// None where none are named.
    pub policies: Option<Policies>,
    /// Where their paths start.
    pub base: PathBuf,
}

/// Reads them. What is wrong is told all at once, a line each.
pub fn read(file: Option<&Path>) -> Result<Options, CliError> {
    let Some(file) = file else {
        let (config, catalogue) = (Config::default(), workers::catalogue::shipped().clone());
        return Ok(Options { config, catalogue, policies: None, base: PathBuf::from(".") });
    };
    let base = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let shown = file.display().to_string();
    let config = Config::read(&shown, &text(file)?).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        wrong(&shown, &lines)
    })?;
    let mut texts = Vec::new();
    for name in &config.catalogue {
        let path = base.join(name);
        texts.push((path.display().to_string(), text(&path)?));
    }
    let catalogue = Catalogue::read(&texts).map_err(|mistake| CliError::could_not(mistake.to_string()))?;
    let policies = Policies::read(&config.policy, &base).map_err(|error| {
        let told = error.to_string();
        let lines: Vec<String> = told.lines().map(str::to_owned).collect();
        wrong("the policies", &lines)
    })?;
    Ok(Options { config, catalogue, policies, base })
}

fn wrong(what: &str, lines: &[String]) -> CliError {
    match lines {
        [only] => CliError::could_not(only),
        several => {
            CliError::could_not(format!("{what}: {} things are wrong", several.len())).with_detail(several.join("\n"))
        }
    }
}

fn text(path: &Path) -> Result<String, CliError> {
    bounded::text(path, FILE_BYTES).map_err(|error| CliError::because(path.display().to_string(), &error))
}
