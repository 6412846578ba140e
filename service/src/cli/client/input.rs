//! Events out of a file or standard input, byte for byte: one document, an array, or one a line (NDJSON; documents over many
//! lines one after the other are taken too). NDJSON is read line by line, so that an endless producer can be piped in; a line, and
//! whatever has to be read as a whole, has a bound.
//!
//! Nothing is judged here but where one document ends. A line that is no JSON is handed on like any other: the door (or
//! `check`) says what is wrong with it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::bounded::{self, DOCUMENT_MAX};
use crate::cli::CliError;

/// One event as it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The line it starts on, from 1.
    pub line: u64,
    /// Its bytes, without the line end of NDJSON. A file that is one document is that document, to its last byte.
    pub bytes: Vec<u8>,
}

/// Documents as they are read. An error ends them.
pub type Documents = Box<dyn Iterator<Item = io::Result<Document>> + Send>;

/// The documents of `path`, `-` for standard input. What stands there is an error only when it can't be read, or when it is an
/// array that does not end.
pub fn documents(path: &Path) -> Result<Documents, CliError> {
    if path == Path::new("-") {
        return read(BufReader::with_capacity(1 << 16, io::stdin()), "standard input".into());
    }
    let file = File::open(path).map_err(|error| CliError::because(format!("can't read {}", path.display()), &error))?;
    read(BufReader::with_capacity(1 << 16, file), path.to_owned())
}

/// All bytes of `path`, `-` for standard input.
pub fn whole(path: &Path) -> Result<Vec<u8>, CliError> {
    let read = if path == Path::new("-") {
        bounded::all_of(io::stdin().lock(), DOCUMENT_MAX)
    } else {
        bounded::read(path, DOCUMENT_MAX)
    };
    read.map_err(|error| CliError::because(format!("can't read {}", path.display()), &error))
}

/// A file of text that has at most `max` bytes, such as a key or a signed note.
pub fn text(path: &Path, max: u64) -> Result<String, CliError> {
    bounded::text(path, max).map_err(|error| CliError::because(format!("can't read {}", path.display()), &error))
}

fn read(mut reader: impl BufRead + Send + 'static, name: PathBuf) -> Result<Documents, CliError> {
    let cannot = |error: io::Error| CliError::because(format!("can't read {}", name.display()), &error);
    // Up to the end of the first line with something on it, to see what this is.
    let mut start = Vec::new();
    let mut blank = 0;
    while start[blank..].trim_ascii().is_empty() {
        blank = start.len();
        if read_line(&mut reader, &mut start).map_err(cannot)? == 0 {
            return Err(CliError::could_not(format!("{} is empty; expected events in JSON", name.display())));
        }
    }
    let first = start.trim_ascii_start();
    if !first.starts_with(b"[") && is_json(first) {
        return stream(start, reader).map_err(cannot);
    }
    let room = DOCUMENT_MAX + 1 - start.len() as u64;
    if reader.take(room).read_to_end(&mut start).map_err(cannot)? as u64 == room {
        return Err(cannot(bounded::too_large(DOCUMENT_MAX)).with_detail(
            "an array, or documents over several lines, are read whole; put one event on each line (NDJSON)",
        ));
    }
    let found = if start.trim_ascii_start().starts_with(b"[") { array(&start, &name)? } else { several(start) };
    Ok(Box::new(found.into_iter().map(Ok)))
}

/// Appends up to the end of the line. What is in `line` then has the bound of a document.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    let room = (DOCUMENT_MAX + 1).saturating_sub(line.len() as u64);
    let read = reader.take(room).read_until(b'\n', line)?;
    if line.len() as u64 > DOCUMENT_MAX { Err(bounded::too_large(DOCUMENT_MAX)) } else { Ok(read) }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// A first line that is a document, and what follows: nothing but white space (then the file is one document), or NDJSON.
///
/// Only the next byte or the end tells the two apart, so the first event of a slow pipe waits for it; the others do not wait.
fn stream(mut start: Vec<u8>, mut reader: impl BufRead + Send + 'static) -> io::Result<Documents> {
    let line = 1 + leading_lines(&start, 0);
    let mut space = Vec::new();
    if only_white_space_left(&mut reader, &mut space)? {
        start.extend_from_slice(&space);
        return Ok(Box::new(std::iter::once(Ok(Document { line, bytes: start }))));
    }
    let first = Document { line, bytes: trimmed(after_blank_lines(&start)) };
    let mut number = line + lines_in(&space);
    let rest = std::iter::from_fn(move || {
        loop {
            let mut next = Vec::new();
            number += 1;
            match read_line(&mut reader, &mut next) {
                Err(error) => return Some(Err(error)),
                Ok(0) => return None,
                Ok(_) if next.trim_ascii().is_empty() => {}
                Ok(_) => return Some(Ok(Document { line: number, bytes: trimmed(&next) })),
            }
        }
    });
    Ok(Box::new(std::iter::once(Ok(first)).chain(rest)))
}

/// Reads white space into `space`; true if the input ends after it.
fn only_white_space_left(reader: &mut impl BufRead, space: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(true);
        }
        let white = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let more = white == buffer.len();
        space.extend_from_slice(&buffer[..white]);
        reader.consume(white);
        if space.len() as u64 > DOCUMENT_MAX {
            return Err(bounded::too_large(DOCUMENT_MAX));
        }
        if !more {
            return Ok(false);
        }
    }
}

/// A line without its line end and a leading byte order mark.
fn trimmed(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.trim_ascii_start().strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).to_vec()
}

/// The elements of an array, each exactly as it stands there.
fn array(bytes: &[u8], name: &Path) -> Result<Vec<Document>, CliError> {
    let elements: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|error| {
        CliError::no(format!("{} starts as an array but is none: {error}", name.display()))
            .with_detail("nothing was sent; where some events are sound, put one on each line (NDJSON)")
    })?;
    let mut line = 1;
    let mut counted = 0;
    let documents = elements.into_iter().map(|element| {
        let at = element.get().as_ptr() as usize - bytes.as_ptr() as usize;
        line += lines_in(&bytes[counted..at]);
        counted = at;
        Document { line, bytes: element.get().as_bytes().to_vec() }
    });
    Ok(documents.collect())
}

/// No document on the first line: one document over many lines, several of them, or NDJSON whose first line is bad.
fn several(bytes: Vec<u8>) -> Vec<Document> {
    if is_json(&bytes) {
        let line = 1 + leading_lines(&bytes, 0);
        return vec![Document { line, bytes }];
    }
    let mut stream = serde_json::Deserializer::from_slice(&bytes).into_iter::<&RawValue>();
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(Ok(value)) = stream.next() {
        let line = 1 + lines_in(&bytes[..start]) + leading_lines(&bytes, start);
        found.push(Document { line, bytes: value.get().as_bytes().to_vec() });
        start = stream.byte_offset();
        if bytes[start..].trim_ascii().is_empty() {
            return found;
        }
    }
    let lines: Vec<Document> = (1..)
        .zip(bytes.split(|byte| *byte == b'\n'))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(line, text)| Document { line, bytes: trimmed(text) })
        .collect();
    // Some line that stands on its own: NDJSON. Else it is one document, and broken.
    if lines.iter().any(|line| line.bytes.starts_with(b"{") && is_json(&line.bytes)) {
        return lines;
    }
    let line = 1 + leading_lines(&bytes, 0);
    vec![Document { line, bytes }]
}

fn after_blank_lines(bytes: &[u8]) -> &[u8] {
    let space = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let start = bytes[..space].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    &bytes[start..]
}

fn lines_in(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').count() as u64 - 1
}

fn leading_lines(bytes: &[u8], from: usize) -> u64 {
    let space = bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    lines_in(&bytes[from..from + space])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expect: &[(u64, &str)]) {
        let found = read(BufReader::with_capacity(3, io::Cursor::new(input.as_bytes().to_vec())), "x".into()).unwrap();
        let found: Vec<(u64, String)> =
            found.map(|d| d.unwrap()).map(|d| (d.line, String::from_utf8(d.bytes).unwrap())).collect();
        let found: Vec<(u64, &str)> = found.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(found, expect, "{input:?}");
    }

    /// A device never ends: neither its first line, nor the blank lines before one, nor what follows an event.
    #[test]
    fn what_does_not_end_is_refused() {
        let endless = |start: &str, byte: u8| {
            let input = io::Cursor::new(start.as_bytes().to_vec()).chain(io::repeat(byte));
            let read = read(BufReader::new(input), "x".into());
            let refused = match read {
                Err(error) => error.to_string(),
                Ok(mut documents) => documents.find_map(Result::err).unwrap().to_string(),
            };
            assert!(refused.contains("more than 67108864 bytes"), "{start:?}, {byte}: {refused}");
        };
        for (start, byte) in [("", 0), ("", b'\n'), ("{}", b' '), ("{}\n{}\n", b'x'), ("[", b' '), ("{\n", b'\n')] {
            endless(start, byte);
        }
    }

    #[test]
    fn one_document_is_itself_to_the_last_byte() {
        check("{\"a\":1}", &[(1, "{\"a\":1}")]);
        check("{\"a\":1}\n", &[(1, "{\"a\":1}\n")]);
        check("{\"a\":1}\n\n \n", &[(1, "{\"a\":1}\n\n \n")]);
        check("{\n  \"a\": 1\n}\n", &[(1, "{\n  \"a\": 1\n}\n")]);
        check("\n\n{\n}\n", &[(3, "\n\n{\n}\n")]);
    }

    #[test]
    fn ndjson_is_a_document_a_line() {
        check("{\"a\":1}\n{\"b\":2}\r\n\n{\"c\":3}", &[(1, "{\"a\":1}"), (2, "{\"b\":2}"), (4, "{\"c\":3}")]);
        check("\n{}\n\n\n{}\n", &[(2, "{}"), (5, "{}")]);
        check("{}\n{bad\n{}\n", &[(1, "{}"), (2, "{bad"), (3, "{}")]);
        check("{bad\n{}\n", &[(1, "{bad"), (2, "{}")]);
    }

    #[test]
    fn arrays_and_documents_over_many_lines() {
        check("[{\"a\" : 1},\n\n {\"b\":2}]\n", &[(1, "{\"a\" : 1}"), (3, "{\"b\":2}")]);
        check("[]", &[]);
        check("{\n\"a\":1}\n{\n\"b\":2}\n", &[(1, "{\n\"a\":1}"), (3, "{\n\"b\":2}")]);
    }

    #[test]
    fn what_is_broken_stays_one_piece_for_the_door_to_judge() {
        check("{\n\"a\": \n", &[(1, "{\n\"a\": \n")]);
        check("nonsense", &[(1, "nonsense")]);
        let error = |text: &str| read(io::Cursor::new(text.as_bytes().to_vec()), "x".into()).err().unwrap().to_string();
        assert!(error("[{},").contains("x starts as an array but is none"), "{}", error("[{},"));
        assert!(error(" \n").contains("x is empty"));
    }
}
