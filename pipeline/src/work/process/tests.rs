//! Real processes, no shell.

use super::*;

mod hostile;

fn place() -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let environment = BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]);
    let place = Place::new(dir.path(), environment, Arc::new(|| 1_760_000_000_000));
    (dir, place)
}

fn limits() -> Limits {
    Limits { time: Duration::from_secs(30), output_bytes: 1 << 20, memory_bytes: None, processes: None }
}

fn pipeline(stages: &[&[&str]]) -> Vec<Vec<String>> {
    stages.iter().map(|argv| argv.iter().map(|word| (*word).to_owned()).collect()).collect()
}

async fn ran(stages: &[&[&str]], place: &Place, limits: &Limits) -> Ran {
    run(&pipeline(stages), place, limits, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    let (_dir, place) = place();
    let words = ["a b", "", "$HOME `id` $(id)", "*", "~", "it's \"q\" \\ ; | && > x", "é\n\t", "-e", "--", "x"];
    let argv: Vec<&str> = [&["printf", "%s\\0"][..], &words[..]].concat();
    let done = ran(&[&argv], &place, &limits()).await;
    assert_eq!(done.ending, Ending::Exited(0), "{}", done.stderr.output.text);
    assert_eq!(done.stdout.output.text.split_terminator('\0').collect::<Vec<_>>(), words);
}

#[tokio::test]
async fn the_environment_is_what_is_given_and_nothing_else() {
    let (dir, mut place) = place();
    place.environment.insert("UPM_STEP".to_owned(), "a b".to_owned());
    let done = ran(&[&["env"], &["sort"]], &place, &limits()).await;
    assert_eq!(done.stdout.output.text, "PATH=/usr/local/bin:/usr/bin:/bin\nUPM_STEP=a b\n");
    let done = ran(&[&["pwd"]], &place, &limits()).await;
    assert_eq!(Path::new(done.stdout.output.text.trim_end()), dir.path().canonicalize().unwrap());
    assert_eq!(done.started_ms, 1_760_000_000_000);
}

#[tokio::test]
async fn a_pipeline_ends_as_its_first_failure_or_its_last_command() {
    let (dir, place) = place();
    std::fs::write(dir.path().join("in"), "{\"a\":[3,1,2]}").unwrap();
    let cases: [(&[&[&str]], Ending, &str); 6] = [
        (&[&["cat", "in"], &["jq", "-c", ".a[]"], &["sort", "-n"], &["head", "-n", "1"]], Ending::Exited(0), "1\n"),
        (&[&["cat", "in"], &["grep", "nothing"]], Ending::Exited(1), ""),
        (&[&["cat", "missing"], &["wc", "-c"]], Ending::Exited(1), "0\n"),
        // Nobody listened to yes; that is no failure.
        (&[&["yes"], &["head", "-n", "2"]], Ending::Exited(0), "y\ny\n"),
        (&[&["false"]], Ending::Exited(1), ""),
        (&[&["cat"]], Ending::Exited(0), ""),
    ];
    for (stages, ending, text) in cases {
        let done = ran(stages, &place, &limits()).await;
        assert_eq!((done.ending, done.stdout.output.text.as_str()), (ending, text), "{stages:?}");
        assert_eq!(done.endings.len(), stages.len());
    }
    let done = ran(&[&["cat", "missing"], &["wc", "-c", "gone"]], &place, &limits()).await;
    let said = &done.stderr.output.text;
    assert!(said.contains("missing") && said.contains("gone"), "{said}");
}

#[tokio::test]
async fn nothing_starts_where_one_program_is_missing() {
    let (dir, place) = place();
    let done = ran(&[&["touch", "made"], &["no-such-program"]], &place, &limits()).await;
    assert_eq!(done.ending, Ending::NotStarted(127));
    assert!(done.stderr.output.text.contains("no-such-program: not found in /usr/local/bin"));
    assert!(!dir.path().join("made").exists());
    // A program that a step left in its directory is nobody's.
    std::fs::copy("/usr/bin/env", dir.path().join("planted")).unwrap();
    let mut place = place;
    place.environment.insert("PATH".to_owned(), format!(".::relative:{}", "/usr/bin"));
    for program in ["planted", "./planted"] {
        assert_eq!(ran(&[&[program]], &place, &limits()).await.ending, Ending::NotStarted(127), "{program}");
    }
    let gone = Place { directory: dir.path().join("gone"), ..place };
    let error = run(&pipeline(&[&["env"]]), &gone, &limits(), &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, ProcessError::Directory { .. }), "{error}");
}

/// Processes whose arguments are exactly these.
fn running(argv: &[&str]) -> usize {
    let wanted = argv.join("\0") + "\0";
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| std::fs::read_to_string(process.path().join("cmdline")).is_ok_and(|own| own == wanted))
        .count()
}

#[tokio::test]
async fn time_and_cancelling_end_the_whole_group() {
    let (_dir, place) = place();
    let short = Limits { time: Duration::from_millis(200), ..limits() };
    // env starts nothing of its own: timeout has a child, in the same group unless it is told otherwise.
    let stages: [&[&str]; 2] = [&["timeout", "--foreground", "3600", "sleep", "3601.5"], &["cat"]];
    let done = ran(&stages, &place, &short).await;
    assert!(done.timed_out && done.stopped == Some(Stop::Time), "{:?}", done.ending);
    assert_eq!(running(&["sleep", "3601.5"]), 0);

    let cancel = CancellationToken::new();
    let stages = pipeline(&[&["timeout", "--foreground", "3600", "sleep", "3602.5"]]);
    let limits = limits();
    let run = run(&stages, &place, &limits, &cancel);
    let stop = async {
        while running(&["sleep", "3602.5"]) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let (done, ()) = tokio::join!(run, stop);
    assert_eq!(done.unwrap().stopped, Some(Stop::Cancelled));
    assert_eq!(running(&["sleep", "3602.5"]), 0);
}

#[tokio::test]
async fn a_run_that_is_given_up_leaves_nothing() {
    let (_dir, place) = place();
    let (stages, limits, cancel) = (pipeline(&[&["sleep", "3603.5"]]), limits(), CancellationToken::new());
    let seen = async {
        while running(&["sleep", "3603.5"]) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = run(&stages, &place, &limits, &cancel) => panic!("it sleeps for an hour"),
        () = seen => {}
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while running(&["sleep", "3603.5"]) > 0 {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_left_running_is_ended_with_the_last_command() {
    let (dir, place) = place();
    // The one place with a shell: only a program that leaves something behind can show what becomes of it.
    std::fs::write(dir.path().join("leave"), "sleep 3604.5 &\n").unwrap();
    let done = ran(&[&["sh", "leave"]], &place, &limits()).await;
    assert_eq!(done.ending, Ending::Exited(0));
    assert!(done.duration_ms < 20_000);
    assert_eq!(running(&["sleep", "3604.5"]), 0);
}

#[tokio::test]
async fn output_has_a_limit_and_long_output_a_file() {
    let (dir, mut place) = place();
    place.keep = Some(dir.path().join("step-1"));
    let done = ran(&[&["seq", "100000"]], &place, &limits()).await;
    assert_eq!(done.ending, Ending::Exited(0));
    assert!(done.stdout.output.truncated && done.stdout.output.text.ends_with("100000\n"));
    let whole = done.stdout.read().unwrap();
    assert_eq!(whole.lines().count(), 100_000);
    assert_eq!(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(whole.as_bytes())), done.stdout.output.sha256);
    assert_eq!(done.stdout.whole.unwrap(), dir.path().join("step-1.stdout"));
    assert_eq!(done.stderr.whole, None);

    let done = ran(&[&["seq", "8000"]], &place, &limits()).await;
    assert!(!done.stdout.output.truncated && done.stdout.whole.is_none());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "what fits into the event has no file");

    let done = ran(&[&["yes"]], &place, &Limits { output_bytes: 200_000, ..limits() }).await;
    assert_eq!(done.stopped, Some(Stop::Output));
    assert_eq!(done.stdout.output.bytes, 200_000);
}

#[tokio::test]
async fn secrets_reach_neither_memory_nor_file() {
    let (dir, mut place) = place();
    place.keep = Some(dir.path().join("step"));
    place.secrets = vec!["correct-horse".to_owned()];
    let mut text = "the word is correct-horse\npassword=hunter2hunter2\n".to_owned();
    text.extend((0..20_000).map(|n| format!("line {n}\n")));
    std::fs::write(dir.path().join("in"), text).unwrap();
    let done = ran(&[&["cat", "in"]], &place, &limits()).await;
    let whole = done.stdout.read().unwrap();
    for text in [&whole, &done.stdout.output.text] {
        assert!(text.starts_with("the word is [masked:credential]\n") && !text.contains("hunter2"), "{}", &text[..100]);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_and_processes_have_limits() {
    let (dir, place) = place();
    let small = Limits { memory_bytes: Some(64 << 20), ..limits() };
    // tail keeps what it may have to print.
    let done = ran(&[&["head", "-c", "300M", "/dev/zero"], &["tail", "-c", "300M"]], &place, &small).await;
    assert_eq!(done.stopped, None, "it ended by itself");
    assert!(done.stderr.output.text.contains("memory exhausted"), "{:?} {}", done.ending, done.stderr.output.text);
    std::fs::write(dir.path().join("fork"), "for i in 1 2 3 4 5 6 7 8 9; do sleep 3605.5 & done; wait\n").unwrap();
    let done = ran(&[&["sh", "fork"]], &place, &Limits { processes: Some(4), ..limits() }).await;
    assert_eq!(done.stopped, Some(Stop::Processes));
    assert_eq!(running(&["sleep", "3605.5"]), 0);
}

#[test]
fn a_program_has_one_file_and_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tool"), "").unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    assert_eq!(resolve("tool", &path), None, "not executable");
    let found = digest("env", &path).unwrap();
    assert!(found.path.ends_with("bin/env") && found.sha256.len() == 64);
    let error = digest("no-such-program", &path).unwrap_err();
    assert!(error.to_string().contains("no-such-program is not in"), "{error}");
}

#[tokio::test]
async fn a_lock_is_held_as_long_as_the_command_runs() {
    let (dir, mut place) = place();
    let path = dir.path().join("lock");
    let held = File::create_new(&path).unwrap();
    held.try_lock().unwrap();
    place.input = Some(Arc::new(held));
    let stages = pipeline(&[&["sleep", "3606.5"], &["cat"]]);
    let (limits, cancel) = (limits(), CancellationToken::new());
    let other = File::open(&path).unwrap();
    let run = run(&stages, &place, &limits, &cancel);
    let look = async {
        while running(&["sleep", "3606.5"]) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(other.try_lock().is_err());
        cancel.cancel();
    };
    let (done, ()) = tokio::join!(run, look);
    assert_eq!(done.unwrap().stopped, Some(Stop::Cancelled));
    drop(place);
    // A process that another test forks has the file open, too, until it is another program.
    let free = async {
        while other.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), free).await.expect("nobody holds the lock any more");
}
