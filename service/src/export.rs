//! A log as files: checkpoint, tiles and entry bundles as C2SP tlog-tiles names them, so that any static file server or object store
//! can carry it.
//!
//! ```text
//! DIR/checkpoint   DIR/tile/0/x001/234   DIR/tile/1/000.p/17   DIR/tile/entries/000   DIR/.export/   (ours: lock, name, unfinished)
//! ```
//!
//! Whoever reads never sees a checkpoint whose tiles are missing: each file appears whole (written aside, synced, renamed) and the
//! checkpoint comes last, so an export that was cut off anywhere leaves the older one valid and the next run goes on. Only what is
//! new is written. A partial tile is kept until the full one is there, as C2SP asks for sizes that had a checkpoint.
//!
//! Nothing is written that the checkpoint does not commit to, and nothing over a log that it does not extend.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ledger::checkpoint::{self, Checkpoint, CheckpointError};
use ledger::tiles::{self, FULL, Fetch, Resource, ResourcePath, TileFormError, TiledError, TiledLog};
use ledger::tree::TileSource as _;

/// Files that are written, synced and renamed together.
const BATCH: usize = 256;

/// Syncs that wait side by side.
const SYNCS: usize = 32;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// Entries that the export had before; none where there was none.
    pub from: Option<u64>,
    /// Entries that it has now.
    pub size: u64,
    /// Tiles and bundles written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Partial tiles and bundles that full ones replaced.
    pub removed: u64,
}

/// Why nothing was exported. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ExportError<E> {
    /// The system refused.
    #[error("can't write the export: {path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another export is at work there.
    #[error("another process exports to {0}")]
    Busy(PathBuf),
    /// There is something else in the directory.
    #[error("{dir} is not empty and holds no export (found {found}): name a new directory")]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// Something in it.
        found: String,
    },
    /// Its checkpoint can't be read.
    #[error("{path} is no checkpoint: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CheckpointError,
    },
    /// It is of another log.
    #[error("{dir} holds an export of {found}, not of {asked}: name another directory")]
    OtherLog {
        /// The directory.
        dir: PathBuf,
        /// Whose export it is.
        found: String,
        /// Whose was asked for.
        asked: String,
    },
    /// It is ahead of the log.
    #[error("{dir} holds {found} entries, the log has only {size}: it was rolled back, or is an older copy")]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Entries in the export.
        found: u64,
        /// Entries in the log.
        size: u64,
    },
    /// Its files are not what its own checkpoint commits to.
    #[error("{dir} is damaged ({why}): remove it and export again")]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        why: Box<TiledError<io::Error>>,
    },
    /// The log is another than the one that was exported.
    #[error("the log does not extend what {dir} holds; keep both as evidence: {why}")]
    Forked {
        /// The directory.
        dir: PathBuf,
        /// What does not fit.
        why: Box<TiledError<E>>,
    },
    /// The log could not be read, or is not what its checkpoint says.
    #[error("{0}")]
    Log(Box<TiledError<E>>),
    /// An entry fits in no bundle.
    #[error(transparent)]
    Form(#[from] TileFormError),
}

impl<E> From<TiledError<E>> for ExportError<E> {
    fn from(error: TiledError<E>) -> Self {
        ExportError::Log(Box::new(error))
    }
}

/// Writes the log of `note`, whose checkpoint is `head`, to `dir`. `progress` is told how many of how many files are written.
pub fn export<F: Fetch>(
    dir: &Path,
    fetch: F,
    note: &str,
    head: &Checkpoint,
    progress: impl FnMut(u64, u64),
) -> Result<Exported, ExportError<F::Error>> {
    export_with(dir, fetch, (note, head), progress, &|_| Ok(()))
}

/// The same; `may` is asked before anything on disk is changed, and an error of it is one of the disk.
fn export_with<F: Fetch>(
    dir: &Path,
    fetch: F,
    (note, head): (&str, &Checkpoint),
    mut progress: impl FnMut(u64, u64),
    may: May<'_>,
) -> Result<Exported, ExportError<F::Error>> {
    let folder = Folder::open(dir, head, may)?;
    let log = TiledLog::open(fetch, head)?;
    let before = folder.checkpoint()?;
    if let Some((_, before)) = &before {
        check_older(&folder, &log, before, head)?;
    }
    let newest = before.as_ref().is_some_and(|(older, _)| older == note);
    let before = before.map(|(_, before)| before);
    let from = before.as_ref().map_or(0, |before| before.size);
    let total = tiles::added(from, head.size).count() as u64;
    let mut done = Exported { from: before.map(|before| before.size), size: head.size, files: 0, bytes: 0, removed: 0 };
    let mut batch = Vec::with_capacity(BATCH);
    for path in tiles::added(from, head.size) {
        let bytes = resource(&log, path)?;
        (done.files, done.bytes) = (done.files + 1, done.bytes + bytes.len() as u64);
        batch.push((path.to_string(), bytes));
        if batch.len() == BATCH {
            folder.write(&mut batch)?;
        }
        progress(done.files, total);
    }
    folder.write(&mut batch)?;
    for path in tiles::added(from, head.size).filter(|path| path.width == FULL) {
        done.removed += folder.remove_partials(path)?;
    }
    if !newest {
        folder.write(&mut vec![("checkpoint".to_owned(), note.as_bytes().to_vec())])?;
    }
    Ok(done)
}

/// Checks every file of an export against its own checkpoint. `progress` is told how many of how many files are checked.
pub fn check<E>(dir: &Path, head: &Checkpoint, mut progress: impl FnMut(u64, u64)) -> Result<(), ExportError<E>> {
    let damaged = |why| ExportError::Damaged { dir: dir.to_owned(), why: Box::new(why) };
    let log = TiledLog::open(Files(dir), head).map_err(damaged)?;
    let total = tiles::resources(head.size).count() as u64;
    for (path, done) in tiles::resources(head.size).zip(1..) {
        // A bundle and a tile of the same number are both read; each is compared with what stands above it.
        let read = match path.resource {
            Resource::Tile(id) => log.tile(id, path.width).map(drop),
            Resource::Entries(index) => log.bundle(index).map(drop),
        };
        read.map_err(damaged)?;
        progress(done, total);
    }
    Ok(())
}

/// An export as whoever is handed it reads it.
struct Files<'a>(&'a Path);

impl Fetch for Files<'_> {
    type Error = io::Error;

    fn fetch(&self, path: &ResourcePath) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(path.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }
}

/// Refuses to write over what the log does not extend.
fn check_older<F: Fetch>(
    folder: &Folder<'_>,
    log: &TiledLog<F>,
    before: &Checkpoint,
    head: &Checkpoint,
) -> Result<(), ExportError<F::Error>> {
    let dir = folder.dir.clone();
    if before.origin != head.origin {
        let (found, asked) = (before.origin.to_string(), head.origin.to_string());
        return Err(ExportError::OtherLog { dir, found, asked });
    }
    if before.size > head.size {
        return Err(ExportError::Newer { dir, found: before.size, size: head.size });
    }
    // What the log is to be written behind must be there: its newest tiles at least.
    TiledLog::open(Files(&dir), before).map_err(|why| ExportError::Damaged { dir: dir.clone(), why: Box::new(why) })?;
    log.extends(before).map(drop).map_err(|why| match why {
        why @ TiledError::Forked { .. } => ExportError::Forked { dir, why: Box::new(why) },
        other => other.into(),
    })
}

/// The bytes of a resource, as the checkpoint commits to them.
fn resource<F: Fetch>(log: &TiledLog<F>, path: ResourcePath) -> Result<Vec<u8>, ExportError<F::Error>> {
    match path.resource {
        Resource::Tile(id) => Ok(tiles::encode_tile(&log.tile(id, path.width)?)),
        Resource::Entries(index) => Ok(tiles::encode_bundle(log.bundle(index)?.iter().map(Vec::as_slice))?),
    }
}

/// Whether a file or folder may be written, moved, synced or removed.
type May<'a> = &'a dyn Fn(&Path) -> io::Result<()>;

/// The directory of an export, held by this process.
struct Folder<'a> {
    dir: PathBuf,
    own: PathBuf,
    may: May<'a>,
    // Held for the kernel's lock on it.
    _lock: File,
}

impl<'a> Folder<'a> {
    fn open<E>(dir: &Path, head: &Checkpoint, may: May<'a>) -> Result<Folder<'a>, ExportError<E>> {
        let own = dir.join(".export");
        let name = own.join("log");
        let origin = head.origin.as_str();
        if !dir.join("checkpoint").exists() && !name.exists() {
            // What an interrupted first export left has our name in it; what has not, is not ours.
            if let Some(found) = first_in(dir).map_err(at(dir))? {
                return Err(ExportError::NotEmpty { dir: dir.to_owned(), found });
            }
        }
        may(&own).and_then(|()| fs::create_dir_all(&own)).map_err(at(&own))?;
        let path = own.join("lock");
        may(&path).map_err(at(&path))?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ExportError::Busy(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(ExportError::Io { path, source }),
        }
        match fs::read_to_string(&name) {
            Ok(found) if found.trim_end() != origin => {
                let (found, asked) = (found.trim_end().to_owned(), origin.to_owned());
                return Err(ExportError::OtherLog { dir: dir.to_owned(), found, asked });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                may(&own.join("log.new")).map_err(at(&own))?;
                write_synced(&own.join("log.new"), format!("{origin}\n").as_bytes())?;
                may(&name).and_then(|()| fs::rename(own.join("log.new"), &name)).map_err(at(&name))?;
                may(&own).map_err(at(&own))?;
                sync_dir(&own)?;
            }
            Err(source) => return Err(ExportError::Io { path: name, source }),
        }
        Ok(Folder { dir: dir.to_owned(), own, may, _lock: lock })
    }

    /// The checkpoint that the export has, as note and as what it says.
    fn checkpoint<E>(&self) -> Result<Option<(String, Checkpoint)>, ExportError<E>> {
        let path = self.dir.join("checkpoint");
        match fs::read_to_string(&path) {
            Ok(note) => match checkpoint::peek(&note) {
                Ok(head) => Ok(Some((note, head))),
                Err(source) => Err(ExportError::Unreadable { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ExportError::Io { path, source }),
        }
    }

    /// Puts files in their places, each whole and durable. Empties `batch`.
    fn write<E>(&self, batch: &mut Vec<(String, Vec<u8>)>) -> Result<(), ExportError<E>> {
        let aside = |number: usize| self.own.join(format!("{number}.new"));
        let mut written = Vec::with_capacity(batch.len());
        for (number, (_, bytes)) in batch.iter().enumerate() {
            let path = aside(number);
            let mut file = (self.may)(&path).and_then(|()| File::create(&path)).map_err(at(&path))?;
            (self.may)(&path).and_then(|()| file.write_all(bytes)).map_err(at(&path))?;
            written.push((path, file));
        }
        (self.may)(&self.own).map_err(at(&self.own))?;
        sync_all(&written)?;
        let mut folders: Vec<PathBuf> = Vec::new();
        for (number, (path, _)) in batch.drain(..).enumerate() {
            let place = self.dir.join(path);
            for folder in self.make_folders(&place)? {
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
            (self.may)(&place).and_then(|()| fs::rename(aside(number), &place)).map_err(at(&place))?;
        }
        folders.iter().try_for_each(|folder| {
            (self.may)(folder).map_err(at(folder))?;
            sync_dir(folder)
        })
    }

    /// Makes the folders above a file; those that have to be synced, so that the file is found after a loss of power.
    fn make_folders<E>(&self, place: &Path) -> Result<Vec<PathBuf>, ExportError<E>> {
        let mut touched = Vec::new();
        let mut missing = Vec::new();
        for folder in place.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.dir)) {
            touched.push(folder.to_owned());
            if folder.exists() {
                break;
            }
            missing.push(folder);
        }
        for folder in missing.iter().rev() {
            (self.may)(folder).and_then(|()| fs::create_dir(folder)).map_err(at(folder))?;
        }
        Ok(touched)
    }

    /// Takes away the partial beginnings of a resource that is there in full.
    fn remove_partials<E>(&self, full: ResourcePath) -> Result<u64, ExportError<E>> {
        let folder = self.dir.join(format!("{full}.p"));
        let count = match fs::read_dir(&folder) {
            Ok(files) => files.count() as u64,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(source) => return Err(ExportError::Io { path: folder, source }),
        };
        (self.may)(&folder).and_then(|()| fs::remove_dir_all(&folder)).map_err(at(&folder))?;
        Ok(count)
    }
}

/// Syncs files side by side: a file system commits what waits together at once, and one after the other each would wait for itself.
fn sync_all<E>(files: &[(PathBuf, File)]) -> Result<(), ExportError<E>> {
    let failed = std::thread::scope(|scope| {
        let sync = |part: &[(PathBuf, File)]| -> Result<(), (PathBuf, io::Error)> {
            part.iter().try_for_each(|(path, file)| file.sync_all().map_err(|source| (path.clone(), source)))
        };
        let waiting: Vec<_> =
            files.chunks(files.len().div_ceil(SYNCS).max(1)).map(|part| scope.spawn(move || sync(part))).collect();
        let joined =
            waiting.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.fold(Ok(()), Result::and)
    });
    failed.map_err(|(path, source)| ExportError::Io { path, source })
}

/// The name of something in a folder that is not ours; none where there is nothing, or no folder.
fn first_in(dir: &Path) -> io::Result<Option<String>> {
    match fs::read_dir(dir) {
        Ok(files) => {
            let names: io::Result<Vec<_>> = files.map(|file| Ok(file?.file_name())).collect();
            let strange = names?.into_iter().find(|name| name != ".export");
            Ok(strange.map(|name| name.to_string_lossy().into_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_synced<E>(path: &Path, bytes: &[u8]) -> Result<(), ExportError<E>> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(at(path))
}

fn sync_dir<E>(dir: &Path) -> Result<(), ExportError<E>> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

fn at<E>(path: &Path) -> impl FnOnce(io::Error) -> ExportError<E> {
    let path = path.to_owned();
    move |source| ExportError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::{BTreeMap, HashMap};

    use ledger::checkpoint::Origin;
    use ledger::hash::{self, Hash};
    use ledger::signing::Signer;
    use ledger::tree::{Edge, TileId};

    use super::*;

    /// A log in memory that stops answering after so many resources, as if the process had been killed there.
    struct Mem {
        entries: Vec<Vec<u8>>,
        full: HashMap<TileId, Vec<Hash>>,
        edge: Edge,
        lives: Cell<u64>,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("killed")]
    struct Killed;

    impl Mem {
        fn of(size: u64, word: &str) -> Mem {
            let (mut full, mut edge, mut entries) = (HashMap::new(), Edge::new(), Vec::new());
            for number in 0..size {
                let entry = format!("{word} {number}").into_bytes();
                edge.push(hash::leaf(&entry), &mut |id, hashes| drop(full.insert(id, hashes.to_vec())));
                entries.push(entry);
            }
            Mem { entries, full, edge, lives: Cell::new(u64::MAX) }
        }

        fn export_to(&self, dir: &Path) -> Result<Exported, ExportError<Killed>> {
            self.export_as("here/acme", dir)
        }

        fn export_as(&self, origin: &str, dir: &Path) -> Result<Exported, ExportError<Killed>> {
            let (note, head) = self.signed(origin);
            export(dir, self, &note, &head, |_, _| ())
        }

        fn signed(&self, origin: &str) -> (String, Checkpoint) {
            let signer = Signer::from_seed(&Origin::parse(origin).unwrap(), [1; 32]);
            let head = Checkpoint { origin: signer.name().clone(), size: self.edge.size(), root: self.edge.root() };
            (signer.sign_checkpoint(&head), head)
        }
    }

    impl Fetch for Mem {
        type Error = Killed;

        fn fetch(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, Killed> {
            self.lives.set(self.lives.get().checked_sub(1).ok_or(Killed)?);
            if !path.is_in(self.edge.size()) {
                return Ok(None);
            }
            let width = usize::from(path.width);
            Ok(Some(match path.resource {
                Resource::Tile(id) => {
                    tiles::encode_tile(&self.full.get(&id).map_or(self.edge.level(id.level), Vec::as_slice)[..width])
                }
                Resource::Entries(index) => {
                    let first = usize::try_from(index).unwrap() * 256;
                    let entries = &self.entries[first..first + width];
                    tiles::encode_bundle(entries.iter().map(Vec::as_slice)).unwrap()
                }
            }))
        }
    }

    /// The size of an export whose every entry, tile and proof is under its checkpoint.
    fn whole(dir: &Path) -> u64 {
        let head = checkpoint::peek(&fs::read_to_string(dir.join("checkpoint")).unwrap()).unwrap();
        let log = TiledLog::open(Files(dir), &head).unwrap();
        for path in tiles::resources(head.size) {
            assert_eq!(Some(resource(&log, path).unwrap()), Files(dir).fetch(&path).unwrap(), "{path}");
        }
        head.size
    }

    fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.ends_with(".export") {
                    folders.push(path);
                } else if path.is_file() {
                    found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn a_log_grows_in_its_folder_and_only_what_is_new_is_written() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("logs/acme");
        let (mut before, mut expect) = (None, 0);
        // Files, and what full ones replaced: of two partial beginnings of tile 0 (1 and 255 entries) each had two.
        for (size, files, removed) in
            [(1, 2, 0), (255, 2, 0), (256, 3, 4), (256, 0, 0), (257, 2, 0), (700, 5, 2), (66_000, 515, 4)]
        {
            let done = Mem::of(size, "entry").export_to(&dir).unwrap();
            assert_eq!((done.from, done.size, done.files, done.removed), (before, size, files, removed), "{size}");
            assert_eq!(whole(&dir), size);
            before = Some(size);
            expect = size;
        }
        assert_eq!(expect, 66_000);
    }

    #[test]
    fn an_export_in_steps_is_the_export_in_one() {
        let temp = tempfile::tempdir().unwrap();
        let (steps, one) = (temp.path().join("steps"), temp.path().join("one"));
        for size in [0, 100, 300, 512, 1_024] {
            Mem::of(size, "entry").export_to(&steps).unwrap();
        }
        Mem::of(1_024, "entry").export_to(&one).unwrap();
        let mut stepped = files(&steps);
        // The tile above the leaves is still partial: its earlier beginnings stay, as C2SP asks.
        stepped.retain(|path, _| !["tile/1/000.p/1", "tile/1/000.p/2"].iter().any(|old| path.ends_with(old)));
        assert_eq!(stepped, files(&one));
    }

    /// Killed before any fetch: the older export is whole, and the next run finishes.
    #[test]
    fn an_export_that_is_cut_off_leaves_the_older_one_valid() {
        for old in [None, Some(200)] {
            let mut lives = 0;
            loop {
                let temp = tempfile::tempdir().unwrap();
                if let Some(old) = old {
                    Mem::of(old, "entry").export_to(temp.path()).unwrap();
                }
                let log = Mem::of(1_000, "entry");
                log.lives.set(lives);
                if log.export_to(temp.path()).is_ok() {
                    break;
                }
                match old {
                    Some(old) => assert_eq!(whole(temp.path()), old),
                    None => assert!(!temp.path().join("checkpoint").exists()),
                }
                assert_eq!(Mem::of(1_000, "entry").export_to(temp.path()).unwrap().size, 1_000);
                assert_eq!(whole(temp.path()), 1_000);
                lives += 1;
            }
            assert!(lives > 8, "{lives}: it was cut off everywhere");
        }
    }

    /// Killed before any single write, move, sync or removal: whoever reads finds the older export or the newer one, each entry and tile
    /// of it, and the next run finishes.
    #[test]
    fn an_export_that_is_cut_off_at_any_step_is_readable_and_goes_on() {
        let readable = |dir: &Path| {
            let note = fs::read_to_string(dir.join("checkpoint")).ok()?;
            let head = checkpoint::peek(&note).unwrap();
            let log = TiledLog::open(Files(dir), &head).unwrap();
            for path in tiles::resources(head.size) {
                resource(&log, path).unwrap_or_else(|error| panic!("{path} of {}: {error}", head.size));
            }
            Some(head.size)
        };
        for (old, new) in [(None, 300), (Some(200), 700), (Some(256), 257)] {
            let log = Mem::of(new, "entry");
            let (note, head) = log.signed("here/acme");
            let mut ends = BTreeMap::new();
            for cut in 0.. {
                let temp = tempfile::tempdir().unwrap();
                let dir = temp.path().join("acme");
                if let Some(old) = old {
                    Mem::of(old, "entry").export_to(&dir).unwrap();
                }
                let steps = Cell::new(0);
                let may = |_: &Path| {
                    steps.set(steps.get() + 1);
                    if steps.get() > cut { Err(io::Error::other("killed")) } else { Ok(()) }
                };
                let done = export_with(&dir, &log, (&note, &head), |_, _| (), &may);
                let found = readable(&dir);
                *ends.entry(found).or_insert(0) += 1;
                assert_eq!(log.export_to(&dir).unwrap().size, new, "{old:?} to {new}, cut off at step {cut}");
                assert_eq!(readable(&dir), Some(new));
                if done.is_ok() {
                    break;
                }
            }
            // The checkpoint is the last thing that is moved: only its folder's sync may still fail behind it.
            assert_eq!(ends.keys().copied().collect::<Vec<_>>(), [old, Some(new)], "{ends:?}");
            assert!(ends[&old] > 10 && ends[&Some(new)] == 2, "{ends:?}");
        }
    }

    #[test]
    fn any_damaged_file_of_an_export_is_found() {
        let temp = tempfile::tempdir().unwrap();
        Mem::of(600, "entry").export_to(temp.path()).unwrap();
        let note = fs::read_to_string(temp.path().join("checkpoint")).unwrap();
        let checked = || check::<Killed>(temp.path(), &checkpoint::peek(&note).unwrap(), |_, _| ());
        checked().unwrap();
        for path in tiles::resources(600) {
            let file = temp.path().join(path.to_string());
            let kept = fs::read(&file).unwrap();
            for at in [0, kept.len() / 2, kept.len() - 1] {
                let mut bytes = kept.clone();
                bytes[at] ^= 1;
                fs::write(&file, bytes).unwrap();
                let refused = checked().unwrap_err().to_string();
                assert!(refused.contains("is damaged"), "{path}, byte {at}: {refused}");
            }
            fs::remove_file(&file).unwrap();
            assert!(checked().unwrap_err().to_string().contains(&format!("{path} is missing")), "{path}");
            fs::write(&file, kept).unwrap();
        }
        checked().unwrap();
    }

    #[test]
    fn nothing_is_written_over_what_the_log_does_not_extend() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("acme");
        Mem::of(300, "entry").export_to(&dir).unwrap();
        let kept = files(&dir);
        let check = |log: &Mem, origin: &str, expect: &str| {
            let refused = log.export_as(origin, &dir).unwrap_err().to_string();
            assert!(refused.contains(expect), "{refused}");
            assert_eq!(files(&dir), kept, "{expect}");
        };
        check(&Mem::of(299, "entry"), "here/acme", "rolled back");
        check(&Mem::of(300, "other"), "here/acme", "keep both as evidence");
        check(&Mem::of(900, "other"), "here/acme", "keep both as evidence");
        check(&Mem::of(300, "entry"), "here/globex", "holds an export of here/acme, not of here/globex");
        let held = Folder::open::<Killed>(
            &dir,
            &checkpoint::peek(&fs::read_to_string(dir.join("checkpoint")).unwrap()).unwrap(),
            &|_| Ok(()),
        );
        check(&Mem::of(400, "entry"), "here/acme", "another process exports");
        drop(held);

        // A first export that was cut off before it said whose it is.
        let begun = temp.path().join("begun");
        fs::create_dir_all(begun.join(".export")).unwrap();
        Mem::of(3, "entry").export_to(&begun).unwrap();
        let strange = temp.path().join("strange");
        fs::create_dir(&strange).unwrap();
        fs::write(strange.join("thesis.txt"), "years").unwrap();
        let refused = Mem::of(3, "entry").export_to(&strange).unwrap_err().to_string();
        assert!(refused.contains("found thesis.txt"), "{refused}");
        assert_eq!(files(&strange).len(), 1);
        let edge = fs::read(dir.join("tile/0/001.p/44")).unwrap();
        fs::remove_file(dir.join("tile/0/001.p/44")).unwrap();
        let refused = Mem::of(400, "entry").export_to(&dir).unwrap_err().to_string();
        assert!(refused.contains("is damaged (tile/0/001.p/44 is missing"), "{refused}");
        fs::write(dir.join("tile/0/001.p/44"), edge).unwrap();
        fs::write(dir.join("checkpoint"), "nonsense").unwrap();
        let refused = Mem::of(400, "entry").export_to(&dir).unwrap_err().to_string();
        assert!(refused.contains("is no checkpoint"), "{refused}");
    }
}
