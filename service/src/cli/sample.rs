//! `upm sample`: draw a sample of a population, offline, and fill its work sheet out of evidence packs. What is drawn and what the sheet asks
//! is `evidence`'s.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use evidence::population::read_changes;
use evidence::sample::{By, Drawn, Sample, draw, pack_name};
use evidence::{Verdict, cli, worksheet};

use super::client::print;
use super::error::say;
use super::{CliError, Globals};

/// Options of `upm sample`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm sample q1.zip --size 25 --seed 'audit 2026-04-02' --key my-copy.vkey --json > sample.json\n  \
                        upm pack --sample sample.json -o packs\n  \
                        upm sample q1.zip --size 25 --seed 'audit 2026-04-02' --key my-copy.vkey --worksheet --packs packs > sheet.csv\n\n\
                        The seed is the auditor's, chosen after the population was handed over. See docs/sampling.md."
)]
pub struct Args {
    /// The population
    #[arg(value_name = "FILE")]
    population: PathBuf,
    /// How many changes to draw
    #[arg(long, value_name = "N")]
    size: u64,
    /// Any text; the same one draws the same changes
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    seed: String,
    /// Spread the sample over environments, classes or outcomes
    #[arg(long, value_name = "WHAT", value_parser = by)]
    by: Option<By>,
    /// The log's public key, from elsewhere: without it the population is not known to be genuine
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// Print CSV
    #[arg(long, conflicts_with = "worksheet")]
    csv: bool,
    /// Print the work sheet: the attributes that auditors test, for each change drawn; CSV, or JSON with --json
    #[arg(long)]
    worksheet: bool,
    /// The folder with the packs of the sample (`upm pack --sample`), for the work sheet
    #[arg(long, value_name = "DIR", requires = "worksheet")]
    packs: Option<PathBuf>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    if args.csv && globals.json {
        return Err(CliError::could_not("--csv and --json: a sample is printed in one form"));
    }
    let trust = cli::trust_in(args.key.as_deref()).map_err(|error| CliError::of(&error))?;
    let path = &args.population;
    let cannot = |error: &std::io::Error| CliError::because(format!("can't read {}", path.display()), error);
    let population =
        read_changes(File::open(path).map_err(|error| cannot(&error))?, &trust, &mut cli::progress(globals.json));
    let report = &population.report;
    let document = population.document.as_ref().filter(|_| report.verdict != Verdict::Refuted);
    let Some(document) = document else {
        return Err(
            CliError::no(format!("{} is no population to draw from", path.display())).with_detail(report.to_string())
        );
    };
    if report.verdict == Verdict::Undecided {
        let undone = report.checks.iter().filter(|check| check.status == evidence::Status::NotDone);
        let why: Vec<String> = undone.map(|check| format!("{}: {}", check.id, check.detail)).collect();
        say(&format!("upm: the population is not known to be genuine: {}", why.join("; ")));
    }
    let sample = draw(document, || population.changes(), &args.seed, args.size, args.by)
        .map_err(|error| CliError::could_not(error.to_string()))?;
    if sample.population < sample.size {
        say(&format!("upm: the population has {} changes: all of them are drawn", sample.population));
    }
    tell(globals, &args, &sample, &trust)?;
    Ok(ExitCode::SUCCESS)
}

fn tell(globals: &Globals, args: &Args, sample: &Sample, trust: &evidence::Trust) -> Result<(), CliError> {
    if args.worksheet {
        let sheets = worksheet::sheet(sample, trust, |drawn| pack(args.packs.as_deref(), drawn));
        return if globals.json {
            print::json(&sheets)
        } else {
            print::raw_line(worksheet::to_csv(&sheets).trim_end())
        };
    }
    if globals.json {
        return print::json(sample);
    }
    if args.csv {
        return print::raw_line(sample.to_csv().trim_end());
    }
    let Sample { population, root, seed, strata, .. } = sample;
    print::line(&format!("{} of {population} changes, drawn with seed {seed:?} from root {root}", sample.drawn.len()))?;
    for stratum in strata.iter().filter(|stratum| !stratum.name.is_empty()) {
        print::line(&format!("  {}: {} of {}", print::clean(&stratum.name), stratum.drawn, stratum.changes))?;
    }
    for Drawn { change, number, stratum, .. } in &sample.drawn {
        print::line(&format!("{number:>4}  {}  {}", print::clean(&change.change), print::clean(stratum)))?;
    }
    Ok(())
}

/// The pack of a change drawn, if it is there.
fn pack(dir: Option<&Path>, drawn: &Drawn) -> io::Result<File> {
    let dir = dir.ok_or(io::ErrorKind::NotFound)?;
    File::open(dir.join(pack_name(drawn.number, &drawn.change.change)))
}

fn by(word: &str) -> Result<By, String> {
    By::parse(word).ok_or_else(|| "expected environment, class or outcome".to_owned())
}
