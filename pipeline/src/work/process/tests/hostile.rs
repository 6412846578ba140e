//! Every line of the guard's own table of hostile lines, through the real process runner: what is refused is not run, what is accepted is run as
//! exactly the arguments that it says. The programs are recorders of what they were given, under the names of the tools.

use std::os::unix::fs::PermissionsExt as _;

use workers::argv;
use workers::catalogue::shipped;

use super::*;

#[allow(dead_code, reason = "where and why a line is refused is for the guard's own tests")]
#[path = "../../../../workers/src/argv/tests/table.rs"]
mod table;
use table::Gives;

/// Writes its name and arguments, each ended by a NUL, into a file of its own.
const RECORDER: &str = "#!/bin/sh\nprintf '%s\\0' \"${0##*/}\" \"$@\" > \"$RECORDS/$$\"\n";

/// A place where every tool and filter is a recorder.
fn recording() -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let (bin, records, work) = (dir.path().join("bin"), dir.path().join("records"), dir.path().join("work"));
    for path in [&bin, &records, &work] {
        std::fs::create_dir(path).unwrap();
    }
    let tools = shipped().tools.values().map(|tool| tool.program.clone());
    for name in tools.chain(schemas::canonicals::get().pipe_allow_list.iter().cloned()) {
        let path = bin.join(name);
        std::fs::write(&path, RECORDER).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let environment = BTreeMap::from([
        ("PATH".to_owned(), bin.display().to_string()),
        ("RECORDS".to_owned(), records.display().to_string()),
    ]);
    let place = Place::new(work, environment, Arc::new(|| 0));
    (dir, place)
}

/// What the recorders were given, in no order; then it is forgotten.
fn recorded(place: &Place) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(&place.environment["RECORDS"]).unwrap() {
        let path = file.unwrap().path();
        let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
        all.push(text.split_terminator('\0').map(str::to_owned).collect());
        std::fs::remove_file(path).unwrap();
    }
    all.sort();
    all
}

#[tokio::test]
async fn what_is_refused_is_not_run_and_what_is_accepted_is_run_as_it_says() {
    let (_dir, place) = recording();
    let (mut refused, mut ran_as_shown) = (0, 0);
    for (line, gives) in table::table() {
        match (argv::parse(line, shipped()), gives) {
            (Ok(pipeline), Gives::Argv(commands)) => {
                let done = run(&pipeline.commands, &place, &limits(), &CancellationToken::new()).await.unwrap();
                assert_eq!(done.ending, Ending::Exited(0), "{line:?}: {}", done.stderr.output.text);
                let mut expected: Vec<Vec<String>> =
                    commands.iter().map(|argv| argv.iter().map(|word| (*word).to_owned()).collect()).collect();
                expected.sort();
                assert_eq!(recorded(&place), expected, "{line:?}");
                ran_as_shown += 1;
            }
            (Err(_), Gives::No(..)) => refused += 1,
            (read, gives) => panic!("{line:?}: {read:?}, expected {gives:?}"),
        }
    }
    assert!(refused >= 150 && ran_as_shown >= 30, "{refused} refused, {ran_as_shown} run");
    assert_eq!(std::fs::read_dir(&place.directory).unwrap().count(), 0, "nothing was written");
}
