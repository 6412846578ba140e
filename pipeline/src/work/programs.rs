//! What is known of programs: digest and version, found once for each file as it is and not once for each change (decision 220).
//!
//! A file is known again by everything that the kernel says of it. Whoever changes its bytes changes at least the time of its last change, which only the kernel
//! sets; so it is looked at before every first step, and what it was is not believed of what it has become. Left out: finding programs
//! (`process::resolve`), and what a version has to be (`workers`).

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use workers::preflight::Answer;

/// How old a file's last change has to be before anything is remembered of it: kernels stamp by the tick, some file systems by the second, and what is
/// written twice in one tick looks the same.
const SETTLES_MS: u64 = 3_000;
/// How long a version is believed. A program may be a script whose version lies in other files, or be told by its directory which one to be.
const VERSION_MS: u64 = 60_000;
/// No answer that is longer is remembered.
const ANSWER_BYTES: usize = 64 * 1024;
/// Files that are remembered; a house has some ten.
const FILES: usize = 256;

/// A file as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
    length: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct Programs(Mutex<BTreeMap<Identity, Known>>);

#[derive(Debug, Default)]
struct Known {
    sha256: Option<String>,
    /// Answers of version checks by their arguments, with when they were given.
    versions: BTreeMap<Vec<String>, (u64, Answer)>,
}

impl Identity {
    /// Of the file that a path leads to.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let about = path.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            device: about.dev(),
            inode: about.ino(),
            length: about.len(),
            mode: about.mode(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }

    /// Whether a later change can't look the same. One that lies ahead of our clock tells nothing.
    fn is_settled(&self, now_ms: u64) -> bool {
        let changed_ms = u64::try_from(self.changed.0).ok().and_then(|s| s.checked_mul(1_000));
        changed_ms.is_some_and(|changed_ms| changed_ms.saturating_add(1_000 + SETTLES_MS) <= now_ms)
    }

    /// Whether the file is still what it was, so that what was seen between is its own.
    fn still_is(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

impl Programs {
    /// The SHA-256 of a file, where it is known.
    pub(crate) fn digest(&self, file: &Identity) -> Option<String> {
        self.lock().get(file)?.sha256.clone()
    }

    /// Remembers it. `file` is from before the digest was made, and `now_ms` too.
    pub(crate) fn keep_digest(&self, file: &Identity, sha256: &str, now_ms: u64) {
        self.keep(file, now_ms, |known| known.sha256 = Some(sha256.to_owned()));
    }

    /// What a program answered to this version check not long ago.
    pub(crate) fn version(&self, file: &Identity, argv: &[String], now_ms: u64) -> Option<Answer> {
        let known = self.lock();
        let (at_ms, answer) = known.get(file)?.versions.get(argv)?;
        now_ms.checked_sub(*at_ms).filter(|age_ms| *age_ms < VERSION_MS).map(|_| answer.clone())
    }

    /// Remembers a good answer. `file` is from before it was asked, and `now_ms` too.
    pub(crate) fn keep_version(&self, file: &Identity, argv: &[String], answer: &Answer, now_ms: u64) {
        if answer.code == Some(0) && answer.stdout.len() + answer.stderr.len() <= ANSWER_BYTES {
            self.keep(file, now_ms, |known| drop(known.versions.insert(argv.to_vec(), (now_ms, answer.clone()))));
        }
    }

    fn keep(&self, file: &Identity, now_ms: u64, note: impl FnOnce(&mut Known)) {
        if !file.is_settled(now_ms) || !file.still_is() {
            return;
        }
        let mut all = self.lock();
        if all.len() >= FILES && !all.contains_key(file) {
            all.clear();
        }
        note(all.entry(file.clone()).or_default());
    }

    /// A lock whose holder panicked still guards plain values.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Identity, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// A minute after the file was last changed, by the kernel's own stamp.
    fn later(file: &Identity) -> u64 {
        (u64::try_from(file.changed.0).expect("after 1970") + 60) * 1_000
    }

    fn program(directory: &Path, text: &str) -> PathBuf {
        let path = directory.join("tool");
        std::fs::write(&path, text).expect("written");
        path
    }

    fn good() -> Answer {
        Answer { code: Some(0), stdout: "tool 1.2".to_owned(), ..Answer::default() }
    }

    #[test]
    fn what_was_swapped_for_the_same_length_and_time_is_not_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = program(dir.path(), "version 1");
        let before = Identity::of(&path).expect("a file");
        let (programs, now_ms) = (Programs::default(), later(&before));
        programs.keep_digest(&before, "aa", now_ms);
        programs.keep_version(&before, &["tool".to_owned()], &good(), now_ms);
        assert_eq!(programs.digest(&before).as_deref(), Some("aa"));
        // As an attacker would: in place, as long, with the old time of modification. Until the kernel's clock has ticked, that could look the same, which is why
        // nothing is remembered of a file that was changed a moment ago.
        let mut after;
        loop {
            std::fs::write(&path, "version 2").expect("written");
            let modified = UNIX_EPOCH
                + Duration::new(before.modified.0.unsigned_abs(), u32::try_from(before.modified.1).expect("ns"));
            let times = FileTimes::new().set_modified(modified);
            File::options().write(true).open(&path).expect("opened").set_times(times).expect("set");
            after = Identity::of(&path).expect("a file");
            if after.changed != before.changed {
                break;
            }
        }
        assert_eq!((&after.length, &after.modified, &after.inode), (&before.length, &before.modified, &before.inode));
        assert_eq!(programs.digest(&after), None);
        assert_eq!(programs.version(&after, &["tool".to_owned()], now_ms), None);
        // And what was seen of the file that is gone is not kept any more.
        programs.keep_digest(&before, "bb", now_ms);
        assert_eq!(programs.digest(&before).as_deref(), Some("aa"));
    }

    #[test]
    fn nothing_is_kept_of_what_was_changed_a_moment_ago() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = Identity::of(&program(dir.path(), "new")).expect("a file");
        let changed_ms = u64::try_from(file.changed.0).expect("after 1970") * 1_000;
        for (now_ms, kept) in [(0, false), (changed_ms, false), (changed_ms + 3_999, false), (changed_ms + 4_000, true)]
        {
            let programs = Programs::default();
            programs.keep_digest(&file, "aa", now_ms);
            assert_eq!(programs.digest(&file).is_some(), kept, "{now_ms}");
        }
    }

    #[test]
    fn a_version_is_believed_for_a_minute_and_only_where_it_was_said_well() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = Identity::of(&program(dir.path(), "tool")).expect("a file");
        let (programs, now_ms) = (Programs::default(), later(&file));
        let (asked, other) = (["tool".to_owned(), "version".to_owned()], ["tool".to_owned()]);
        programs.keep_version(&file, &other, &Answer { code: Some(1), ..Answer::default() }, now_ms);
        programs.keep_version(&file, &asked, &good(), now_ms);
        assert_eq!(programs.version(&file, &other, now_ms), None);
        assert_eq!(programs.version(&file, &asked, now_ms + 59_999), Some(good()));
        // Also where somebody set the clock back.
        for at_ms in [now_ms + 60_000, now_ms - 1] {
            assert_eq!(programs.version(&file, &asked, at_ms), None);
        }
    }
}
