//! `upm pack`: fetch the evidence pack of a change. The file is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use evidence::sample::{Sample, pack_name};
use indicatif::{ProgressBar, ProgressStyle};
use ledger::checkpoint::Origin;
use schemas::ids::{ChangeId, Tenant};
use serde_json::json;

use super::client::http::{Client, segment};
use super::client::lookup::tenant_of;
use super::client::{input, print};
use super::{CliError, Globals};

/// Options of `upm pack`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "upm pack ID -o FILE [OPTIONS]\n       upm pack --sample FILE -o DIR [OPTIONS]",
    after_help = "Examples:\n  upm pack c-42 --tenant acme -o c-42.zip && upm verify c-42.zip --key my-copy.vkey\n  \
                  upm pack --sample sample.json --tenant acme -o packs"
)]
pub struct Args {
    /// The change
    #[arg(value_name = "ID", required_unless_present = "sample")]
    change: Option<ChangeId>,
    /// The packs of all changes of a sample (`upm sample --json`), as of its population, into the folder that -o names
    #[arg(long, value_name = "FILE", conflicts_with_all = ["change", "at", "witnessed"])]
    sample: Option<PathBuf>,
    /// Where to write it; `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// As of this tree size [default: the newest checkpoint]
    #[arg(long, value_name = "SIZE")]
    at: Option<u64>,
    /// As of the newest checkpoint with enough cosignatures (see `upm serve --witness-policy`)
    #[arg(long, conflicts_with = "at")]
    witnessed: bool,
    /// With every header behind the change's last entry, which shows that it is the last
    #[arg(long)]
    with_headers: bool,
    /// Replace FILE if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let client = Client::new(globals);
    if let Some(sample) = &args.sample {
        return of_sample(globals, &client, sample, &args);
    }
    // clap asks for it where no sample is named.
    let change = args.change.as_ref().ok_or_else(|| CliError::could_not("name a change, or a sample with --sample"))?;
    let to_stdout = args.output == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(CliError::could_not("a pack is a zip file, not for a terminal: name a file with -o FILE"));
    }
    if !to_stdout {
        takes_file(&args.output, args.force, "pack.zip")?;
    }
    let tenant = tenant_of(&client, globals, change)?;
    let at = match args.at {
        Some(size) => Some(format!("at={size}")),
        None if args.witnessed => Some("witnessed".to_owned()),
        None => None,
    };
    let path = path(&tenant, change.as_str(), at, args.with_headers);
    if to_stdout {
        let body = client.download(&path)?;
        let mut body = bar(globals, body.length).wrap_read(body);
        io::copy(&mut body, &mut io::stdout().lock())
            .map_err(|error| CliError::because("the pack broke off", &error))?;
        return Ok(ExitCode::SUCCESS);
    }
    let bytes = fetch(&client, &path, &args.output, args.force, |length| bar(globals, length))?;
    if globals.json {
        print::json_line(
            &json!({"file": args.output, "bytes": bytes, "change": change.as_str(), "tenant": tenant.as_str()}),
        )?;
    } else {
        print::line(&format!(
            "wrote {} ({bytes} bytes); check it with: upm verify {0} --key KEY",
            args.output.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How often a pack is fetched from its beginning because it has become another one meanwhile: by a cosignature, once for each.
const FETCHES_MAX: usize = 4;

/// Fetches a pack into a file, and shows how far it is.
fn fetch(
    client: &Client,
    path: &str,
    target: &Path,
    force: bool,
    bar: impl Fn(Option<u64>) -> ProgressBar,
) -> Result<u64, CliError> {
    let mut fetched = 1;
    loop {
        let mut body = client.download(path)?;
        let length = body.length;
        let done = write(target, force, &mut bar(length).wrap_read(&mut body));
        if done.is_ok() || !body.changed || fetched == FETCHES_MAX {
            return done;
        }
        fetched += 1;
    }
}

/// The path of a pack.
fn path(tenant: &Tenant, change: &str, at: Option<String>, with_headers: bool) -> String {
    let words: Vec<String> = at.into_iter().chain(with_headers.then(|| "with_headers".to_owned())).collect();
    let query = if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) };
    format!("/v1/tenants/{}/changes/{}/evidence.zip{query}", segment(tenant.as_str()), segment(change))
}

/// The packs of a sample, into a folder.
fn of_sample(globals: &Globals, client: &Client, file: &Path, args: &Args) -> Result<ExitCode, CliError> {
    let text = input::whole(file)?;
    let sample = Sample::parse(&text).map_err(|why| CliError::could_not(format!("{}: {why}", file.display())))?;
    let origin = Origin::parse(&sample.origin).map_err(|error| CliError::because("the sample's log", &error))?;
    let tenant = match globals.tenant() {
        Some(tenant) => tenant.clone(),
        None => Tenant::parse(origin.log()).map_err(|error| CliError::because("the sample's tenant", &error))?,
    };
    fs::create_dir_all(&args.output)
        .map_err(|error| CliError::because(format!("can't make {}", args.output.display()), &error))?;
    let bar = if watched(globals) { ProgressBar::new(sample.drawn.len() as u64) } else { ProgressBar::hidden() };
    let mut bytes = 0;
    for drawn in &sample.drawn {
        let at = Some(format!("at={}", sample.tree_size));
        let path = path(&tenant, &drawn.change.change, at, args.with_headers);
        let target = args.output.join(pack_name(drawn.number, &drawn.change.change));
        bytes += fetch(client, &path, &target, args.force, |_| ProgressBar::hidden())?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let count = sample.drawn.len();
    if globals.json {
        print::json_line(&json!({"dir": args.output, "packs": count, "bytes": bytes, "tenant": tenant.as_str()}))?;
    } else {
        print::line(&format!("wrote {count} packs ({bytes} bytes) into {}", args.output.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a person sees how far it is: never where standard error goes into a file, or a program asks with `--json`.
fn watched(globals: &Globals) -> bool {
    !globals.json && io::stderr().is_terminal()
}

/// How far a download is.
pub(super) fn bar(globals: &Globals, length: Option<u64>) -> ProgressBar {
    if !watched(globals) {
        return ProgressBar::hidden();
    }
    if let Some(length) = length {
        return ProgressBar::new(length);
    }
    let bar = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{spinner} {binary_bytes} {binary_bytes_per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Whether a file may come to stand there: asked before anything is fetched. `example` is a name for it.
pub(super) fn takes_file(path: &Path, force: bool, example: &str) -> Result<(), CliError> {
    if path.is_dir() {
        let file = path.join(example);
        let (path, file) = (path.display(), file.display());
        return Err(CliError::could_not(format!("{path} is a folder: name a file with -o, for example {file}")));
    }
    if !force && fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    Ok(())
}

fn exists(path: &Path) -> CliError {
    CliError::could_not(format!("{} exists; --force replaces it", path.display()))
}

/// Writes beside `path` and moves it there when all of it is durable.
pub(super) fn write(path: &Path, force: bool, body: &mut impl Read) -> Result<u64, CliError> {
    let cannot = |error: &io::Error| {
        CliError::because(format!("can't write {}{}", path.display(), what_to_do(error.kind())), error)
    };
    let mut name =
        path.file_name().ok_or_else(|| CliError::could_not(format!("{} is no file name", path.display())))?.to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let mut file = File::create_new(&partial).map_err(|error| cannot(&error))?;
    let mut body = Body { inner: body, broke: false };
    let done = io::copy(&mut body, &mut file)
        .and_then(|bytes| file.flush().and_then(|()| file.sync_all()).map(|()| bytes))
        .and_then(|bytes| {
            if force {
                fs::rename(&partial, path).map(|()| bytes)
            } else {
                // A link, unlike a rename, refuses to replace what came in the meantime.
                fs::hard_link(&partial, path).map(|()| bytes)
            }
        });
    // After a rename it is gone already.
    let _ = fs::remove_file(&partial);
    match done {
        Err(error) if body.broke => {
            let what = format!("the download of {} broke off, and nothing of it was kept: try again", path.display());
            Err(CliError::because(what, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        other => other.map_err(|error| cannot(&error)),
    }
}

/// What is downloaded, and whether that was what broke.
struct Body<'r, R> {
    inner: &'r mut R,
    broke: bool,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        self.broke |= read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        read
    }
}

/// What a person can do about a place that takes no file.
fn what_to_do(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (the disk is full and nothing was kept: make room, or name another place with -o)"
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => " (name a file in a folder that exists with -o)",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            " (name a place that you may write to with -o)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Breaks(usize);

    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("connection lost"));
            }
            let n = buffer.len().min(self.0);
            buffer[..n].fill(b'x');
            self.0 -= n;
            Ok(n)
        }
    }

    #[test]
    fn a_pack_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack.zip");
        let error = write(&path, false, &mut Breaks(100_000)).unwrap_err().to_string();
        assert!(error.contains("broke off, and nothing of it was kept: try again"), "{error}");
        let error = write(&folder.path().join("absent/pack.zip"), false, &mut &b""[..]).unwrap_err().to_string();
        assert!(error.contains("name a file in a folder that exists with -o"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        assert_eq!(write(&path, false, &mut &b"first"[..]).unwrap(), 5);
        assert!(write(&path, false, &mut &b"second"[..]).unwrap_err().to_string().contains("--force"));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        write(&path, true, &mut &b"second"[..]).unwrap();
        assert!(write(&path, true, &mut Breaks(10)).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing partial stays");
    }
}
