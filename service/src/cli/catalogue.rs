//! `upm catalogue`: the resource types that can be asked for, and the commands behind them.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;
use workers::catalogue::Catalogue;

use super::client::{input, print};
use super::{CliError, Globals};

/// Options of `upm catalogue`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm catalogue\n  upm catalogue az_aks\n  upm catalogue --catalogue own.toml --json\n\n\
                  Exit codes: 0 shown, 1 no such type, 2 a file is no catalogue."
)]
pub struct Args {
    /// Show this type with its fields and commands [default: list all]
    #[arg(value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    files: Files,
}

/// Catalogue files beside those that come with the program.
#[derive(Debug, Clone, clap::Args)]
pub struct Files {
    /// A catalogue file (TOML) beside those that come with the program; repeatable
    #[arg(long = "catalogue", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Files {
    /// The shipped catalogue with these files.
    pub fn read(&self) -> Result<Catalogue, CliError> {
        let mut texts = Vec::new();
        for path in &self.files {
            let text = String::from_utf8(input::whole(path)?)
                .map_err(|error| CliError::because(path.display().to_string(), &error))?;
            texts.push((path.display().to_string(), text));
        }
        Catalogue::read(&texts).map_err(|error| CliError::of(&error))
    }
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let catalogue = args.files.read()?;
    match args.kind {
        None => list(globals, &catalogue)?,
        Some(name) => {
            let kind = catalogue.types.get(&name).ok_or_else(|| {
                let known: Vec<&str> = catalogue.types.keys().map(String::as_str).collect();
                CliError::no(format!("the catalogue has no type {}", print::short(&name, 60)))
                    .with_detail(format!("types: {}", known.join(", ")))
            })?;
            let document = catalogue.type_document(kind);
            if globals.json { print::json(&document)? } else { print::line(&shown(&document))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(globals: &Globals, catalogue: &Catalogue) -> Result<(), CliError> {
    if globals.json {
        return print::json(&catalogue.document());
    }
    let mut rows = vec![["type", "title", "asked for as", "made by"].map(str::to_owned).to_vec()];
    for kind in catalogue.types.values() {
        rows.push(vec![
            kind.name.clone(),
            kind.title.clone(),
            kind.words.join(", "),
            catalogue.program(&kind.create.tool),
        ]);
    }
    print::line(&print::columns(&rows))
}

/// One member a line; what is below one stands in from it.
fn shown(document: &Value) -> String {
    let mut rows = Vec::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) => {
                for (inner_name, value) in inner {
                    rows.push(vec![format!("{name}.{inner_name}"), text(value)]);
                }
            }
            value => rows.push(vec![name.clone(), text(value)]),
        }
    }
    print::columns(&rows)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            members.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}
