//! A planned pack, copied: the whole of it or any range of its bytes, file by file, each made again where it was not kept.
//!
//! What comes out is compared with the plan before it is written, file by file, so a log that changed its mind ends the copying.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Read as _, Write};
use std::ops::Range;

use schemas::ids::ChangeId;
use sha2::{Digest as _, Sha256};

use crate::files;
use crate::headers;
use crate::parts::{self, PackFile};
use crate::plan::{InMemory, PackLog};
use crate::planned::{Pair, Planned, Source};
use crate::summary::diff::{self, At};
use crate::zip::{self, PlanError, Record};
use crate::{attest, sums};

/// Why a pack was not copied to its end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The log could not be read.
    #[error("the log could not be read: {0}")]
    Log(Box<dyn Error + Send + Sync>),
    /// The log gives something else than it gave for the plan.
    #[error("{name} is no longer what was planned: the log changed meanwhile (an erasure?); make the pack again")]
    Changed {
        /// The file.
        name: String,
    },
    /// An object cannot be read, or has other bytes than it had when it was taken.
    #[error("{name} cannot be read as it was taken in ({source}): run `upm fsck`")]
    Object {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The output failed.
    #[error("writing the pack: {0}")]
    Io(#[from] io::Error),
}

/// Bytes of an object that are in memory at once.
const PIECE_BYTES: usize = 64 * 1024;

impl CopyError {
    fn of_log(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Log(Box::new(error))
    }
}

/// All files of a pack, sorted by name.
#[derive(Clone, Debug)]
pub struct SealedPack<L = InMemory> {
    files: Vec<Planned>,
    copier: Copier<L>,
    length: u64,
}

/// Makes files of a plan again.
#[derive(Clone, Debug)]
pub(crate) struct Copier<L> {
    pub(crate) log: L,
    pub(crate) origin: String,
    pub(crate) change: ChangeId,
    pub(crate) checkpoint: String,
    /// Of the change's entries, by place.
    pub(crate) indices: Vec<u64>,
}

impl<L: PackLog> SealedPack<L> {
    pub(crate) fn new(files: Vec<Planned>, copier: Copier<L>) -> Result<Self, PlanError> {
        let records = layout(&files)?;
        let length = zip::end_of(&records) + zip::tail(&records).len() as u64;
        Ok(Self { files, copier, length })
    }

    /// Bytes of the zip.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// A name for exactly these bytes, in hex: SHA-256 of the digests of `SHA256SUMS` and of the attestation. All else of the zip follows from
    /// these two, so the name is known before anything is copied.
    pub fn tag(&self) -> String {
        let mut hasher = Sha256::new();
        for file in self.files.iter().filter(|file| [sums::NAME, attest::NAME].contains(&file.name.as_str())) {
            hasher.update(file.sha256);
        }
        hex::encode(hasher.finalize())
    }

    /// The names of the files, in ascending order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// The content of a file; none where there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CopyError> {
        self.copier.read(&self.files, name)
    }

    /// Writes a range of the zip's bytes, as far as there are any.
    pub fn copy(&self, range: Range<u64>, out: &mut impl Write) -> Result<(), CopyError> {
        // It was laid out before.
        let records = layout(&self.files).map_err(io::Error::other)?;
        let mut maker = Maker::of(&self.copier);
        let mut window = Window { out, range, at: 0 };
        for (record, file) in records.iter().zip(&self.files) {
            if window.is_over() {
                return Ok(());
            }
            window.piece(record.content() - record.offset, || Ok(Cow::Owned(zip::local_header(record))))?;
            match &file.source {
                Source::Object(_) => window.object(file, &self.copier)?,
                _ => window.piece(file.size, || maker.make(file))?,
            }
        }
        let tail = zip::tail(&records);
        window.piece(tail.len() as u64, || Ok(Cow::Owned(tail)))
    }
}

/// Writes a whole pack as a zip.
pub fn write<L: PackLog>(pack: &SealedPack<L>, out: &mut impl Write) -> Result<(), CopyError> {
    pack.copy(0..pack.length, out)
}

fn layout(files: &[Planned]) -> Result<Vec<Record<'_>>, PlanError> {
    zip::layout(files.iter().map(|file| (file.name.as_str(), file.size, file.crc)))
}

/// Lets through what falls into a range; what does not is not even made.
struct Window<'o, W> {
    out: &'o mut W,
    range: Range<u64>,
    at: u64,
}

impl<W: Write> Window<'_, W> {
    fn is_over(&self) -> bool {
        self.at >= self.range.end
    }

    fn piece<'p>(
        &mut self,
        length: u64,
        make: impl FnOnce() -> Result<Cow<'p, [u8]>, CopyError>,
    ) -> Result<(), CopyError> {
        let start = self.at;
        self.at += length;
        let (from, to) = (self.range.start.max(start), self.range.end.min(self.at));
        if from >= to {
            return Ok(());
        }
        let bytes = make()?;
        // Both are within the piece, which is in memory.
        let within = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
        self.out.write_all(bytes.get(within(from)..within(to)).unwrap_or_default())?;
        Ok(())
    }

    /// A piece that is never in memory. It is read to its end whatever part of it is asked for, and the last bytes of that part are held back
    /// until its digest is known: nobody is handed the end of an object that is not the one that was planned.
    fn object<L: PackLog>(&mut self, file: &Planned, copier: &Copier<L>) -> Result<(), CopyError> {
        let start = self.at;
        self.at += file.size;
        let (from, to) = (self.range.start.max(start), self.range.end.min(self.at));
        if from >= to {
            return Ok(());
        }
        let failed = |source| CopyError::Object { name: file.name.clone(), source };
        let mut source = copier.open_object(file).map_err(failed)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; PIECE_BYTES]);
        let (mut held, mut at) = (Vec::new(), start);
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            hasher.update(&buffer[..read]);
            let (first, end) = (from.clamp(at, at + read as u64), to.clamp(at, at + read as u64));
            if first < end {
                self.out.write_all(&held)?;
                held.clear();
                // Both are within the piece.
                let within = |place: u64| usize::try_from(place - at).unwrap_or(usize::MAX);
                held.extend_from_slice(&buffer[within(first)..within(end)]);
            }
            at += read as u64;
        }
        if at != self.at || <[u8; 32]>::from(hasher.finalize()) != file.sha256 {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "its bytes are not those of its digest")));
        }
        self.out.write_all(&held)?;
        Ok(())
    }
}

impl<L: PackLog> Copier<L> {
    /// One file of a plan.
    pub(crate) fn read(&self, files: &[Planned], name: &str) -> Result<Option<Vec<u8>>, CopyError> {
        let Ok(at) = files.binary_search_by(|file| file.name.as_str().cmp(name)) else { return Ok(None) };
        Maker::of(self).make(&files[at]).map(|bytes| Some(bytes.into_owned()))
    }

    /// The bytes of an object, and one more where there are more of them than planned.
    fn open_object(&self, file: &Planned) -> io::Result<impl io::Read> {
        let Source::Object(sha256) = &file.source else { return Err(io::ErrorKind::NotFound.into()) };
        Ok(self.log.open_object(sha256)?.take(file.size.saturating_add(1)))
    }

    /// Copies one file of a plan.
    pub(crate) fn copy(&self, file: &Planned, out: &mut impl Write) -> Result<(), CopyError> {
        let mut window = Window { out, range: 0..file.size, at: 0 };
        match &file.source {
            Source::Object(_) => window.object(file, self),
            _ => window.piece(file.size, || Maker::of(self).make(file)),
        }
    }
}

/// Makes one file after the other. Files of one entry come one behind the other in each folder, so the last payload and what was cut out of it
/// are kept.
struct Maker<'c, L> {
    copier: &'c Copier<L>,
    parts: Option<(usize, Vec<PackFile>)>,
}

impl<'c, L: PackLog> Maker<'c, L> {
    fn of(copier: &'c Copier<L>) -> Self {
        Self { copier, parts: None }
    }

    fn make<'f>(&mut self, file: &'f Planned) -> Result<Cow<'f, [u8]>, CopyError> {
        let bytes = match &file.source {
            Source::Kept(bytes) => return Ok(Cow::Borrowed(bytes.as_ref())),
            Source::Entry(place) => Some(self.copier.log.entry(*place).map_err(CopyError::of_log)?),
            Source::Event(place) => Some(self.payload(*place)?),
            Source::Proof(place) => {
                let path = self.copier.log.path(*place).map_err(CopyError::of_log)?;
                Some(files::proof_text(self.copier.indices[*place], &path, &self.copier.checkpoint).into_bytes())
            }
            Source::Headers(range) => {
                Some(headers::lines(self.copier.log.behind(range.clone()).map_err(CopyError::of_log)?))
            }
            Source::Object(_) => {
                let mut bytes = Vec::new();
                let read = self.copier.open_object(file).and_then(|mut source| source.read_to_end(&mut bytes));
                read.map_err(|source| CopyError::Object { name: file.name.clone(), source })?;
                Some(bytes)
            }
            Source::Part(place) => self.part(*place, &file.name)?,
            Source::Diff(pair) => self.diff(pair)?,
        };
        let bytes = bytes.filter(|bytes| file.is(bytes));
        bytes.map(Cow::Owned).ok_or_else(|| CopyError::Changed { name: file.name.clone() })
    }

    fn payload(&self, place: usize) -> Result<Vec<u8>, CopyError> {
        Ok(self.copier.log.stored(place).map_err(CopyError::of_log)?.1)
    }

    fn part(&mut self, place: usize, name: &str) -> Result<Option<Vec<u8>>, CopyError> {
        if self.parts.as_ref().is_none_or(|(known, _)| *known != place) {
            let Copier { origin, change, indices, .. } = self.copier;
            // What can no longer be read gives no files, and that is not what was planned.
            let parts = parts::files(origin, change, indices[place], &self.payload(place)?).unwrap_or_default();
            self.parts = Some((place, parts));
        }
        let found = self.parts.iter_mut().flat_map(|(_, parts)| parts).find(|(known, _)| known == name);
        Ok(found.map(|(_, bytes)| bytes.clone()))
    }

    fn diff(&self, pair: &Pair) -> Result<Option<Vec<u8>>, CopyError> {
        let Pair { before, now } = pair;
        let payloads = [self.payload(before.0)?, self.payload(now.0)?];
        let at =
            |(place, attempt): (usize, u64), payload| At { place, index: self.copier.indices[place], attempt, payload };
        Ok(diff::between(at(*before, &payloads[0]), at(*now, &payloads[1])).map(|(_, bytes)| bytes))
    }
}
