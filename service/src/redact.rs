//! Secrets kept out of what we print about ourselves: errors and the log.

use std::borrow::Cow;
use std::io::{self, Write};

const MARK: &str = "***";

/// The text with `***` in place of what stands before the `@` of each URL: user, password, token.
pub fn urls(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://").map(|at| at + 3) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let url = &rest[..end_of_url(rest)];
        if let Some(at) = user_ends(url) {
            out.push_str(MARK);
            rest = &rest[at..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where a URL ends at the latest: a space, a quote of JSON, or the next URL of a list.
fn end_of_url(rest: &str) -> usize {
    let mut before = ' ';
    let ends = |(_, c): &(usize, char)| {
        let end = c.is_whitespace() || (*c == '"' && before != '\\');
        before = *c;
        end
    };
    let end = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
    let next = rest[..end].find("://").and_then(|next| rest[..next].rfind(','));
    next.unwrap_or(end)
}

/// Where the `@` after user and password is. Passwords may hold `@`, and `/` where somebody forgot to encode it.
fn user_ends(url: &str) -> Option<usize> {
    let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
    let port_or_password = url[..authority].split_once(':').map_or("", |(_, rest)| rest);
    let only_host = url[..authority].find('@').is_none() && port_or_password.bytes().all(|byte| byte.is_ascii_digit());
    // `[::1]:80/@`: brackets hold an address.
    let only_host = only_host || url.starts_with('[');
    if only_host { None } else { url.rfind('@') }
}

/// Standard error without what [`urls`] takes out. Each write must be a whole line, as those of the log are.
#[derive(Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut to = io::stderr().lock();
        match std::str::from_utf8(line) {
            Ok(text) => to.write_all(urls(text).as_bytes())?,
            Err(_) => to.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_a_url_is_left() {
        for (text, expect) in [
            ("NATS at nats://user:secret@host:4222: refused", "NATS at nats://***@host:4222: refused"),
            ("nats://user:p@ss@host", "nats://***@host"),
            ("nats://user:pa/ss@host/x", "nats://***@host/x"),
            ("'nats://user:it's#1@host'", "'nats://***@host'"),
            ("nats://token@host", "nats://***@host"),
            ("nats://u:a@h1:1,tls://v:b,c@h2,nats://h3", "nats://***@h1:1,tls://***@h2,nats://h3"),
            (r#"{"url":"http://u:p@h","by":"a@b"}"#, r#"{"url":"http://***@h","by":"a@b"}"#),
            ("http://127.0.0.1:80/mail?to=a@b and a@b", "http://127.0.0.1:80/mail?to=a@b and a@b"),
            ("http://[::1]:80/@x git@host:a/b ://", "http://[::1]:80/@x git@host:a/b ://"),
            ("plain", "plain"),
        ] {
            assert_eq!(urls(text), expect);
            assert_eq!(urls(expect), expect, "twice changes nothing");
        }
    }
}
