//! The hash chain: one row, one line, each line bound to all before it.
//!
//! A line is a JSON object whose last member is `hash`. The hash is SHA-256 over the 32 bytes of the previous hash
//! and the line's own bytes without that member and the line feed. No JSON is ever written again to be checked:
//! bytes are compared, so there is nothing to canonicalise.
//!
//! Never add: a second way to write or to read a line.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use keylend_contract::hexadecimal::digits;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// No row is longer, its line feed included.
pub const MAX_LINE: usize = 16 * 1024;

const MEMBER: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";
const SUFFIX: usize = MEMBER.len() + 64 + END.len();

/// A SHA-256 digest; hexadecimal in a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    fn of(previous: Self, body: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&previous.0);
        context.update(body);
        context.update(b"}");
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    fn hex(self) -> [u8; 64] {
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&digits(byte));
        }
        hex
    }

    /// Reads 64 lower-case hexadecimal digits.
    fn from_hex(hex: &[u8]) -> Option<Self> {
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let hex: &[u8; 64] = hex.try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hex().iter().try_for_each(|&digit| write!(formatter, "{}", char::from(digit)))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = <&str>::deserialize(deserializer)?;
        Self::from_hex(hex.as_bytes()).ok_or_else(|| de::Error::custom("not a SHA-256 digest"))
    }
}

/// The last row of a chain: its number, counted from 1, and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Sequence number.
    pub seq: u64,
    /// Hash.
    pub hash: Digest,
}

impl Head {
    /// Before the first row.
    pub const GENESIS: Self = Self { seq: 0, hash: Digest([0; 32]) };

    /// Appends one line to `lines` and returns the new head. `row` is a JSON object with at least one member.
    pub(super) fn append(self, lines: &mut Vec<u8>, prefix: &Prefix, row: &[u8]) -> Self {
        let seq = self.seq + 1;
        let start = lines.len();
        lines.extend_from_slice(b"{\"seq\":");
        lines.extend_from_slice(seq.to_string().as_bytes());
        lines.extend_from_slice(&prefix.0);
        lines.extend_from_slice(&self.hash.hex());
        lines.extend_from_slice(b"\",");
        lines.extend_from_slice(row.get(1..row.len().saturating_sub(1)).unwrap_or_default());
        let hash = Digest::of(self.hash, &lines[start..]);
        lines.extend_from_slice(MEMBER);
        lines.extend_from_slice(&hash.hex());
        lines.extend_from_slice(END);
        lines.push(b'\n');
        Self { seq, hash }
    }
}

/// A text is not a [`Head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a head as NUMBER:HASH, as it is printed")]
pub struct NotAHead;

impl fmt::Display for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, NotAHead> {
        let (seq, hash) = text.split_once(':').ok_or(NotAHead)?;
        let hash = Digest::from_hex(hash.as_bytes()).ok_or(NotAHead)?;
        Ok(Self { seq: seq.parse().map_err(|_| NotAHead)?, hash })
    }
}

/// What all rows of one batch have in common.
pub(super) struct Prefix(Vec<u8>);

impl Prefix {
    /// `replica` is JSON already, quotes included.
    pub(super) fn new(time: Timestamp, replica: &str) -> Self {
        Self(format!(",\"time\":\"{time}\",\"replica\":{replica},\"prev\":\"").into_bytes())
    }

    /// How long the line of a `row` can be at most.
    pub(super) fn line_bytes(&self, row: &[u8]) -> usize {
        const NUMBER: usize = 28;
        NUMBER + self.0.len() + 66 + row.len() + SUFFIX
    }
}

/// A line as the chain sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) head: Head,
    pub(super) prev: Digest,
    pub(super) time: Timestamp,
    pub(super) kind: String,
    /// Of a segment's last row.
    pub(super) denial_bytes: Option<u64>,
    pub(super) seal: Seal,
}

/// Whether a line's hash is the hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    Sound,
    Broken,
}

#[derive(Deserialize)]
struct Members {
    seq: u64,
    time: Timestamp,
    prev: Digest,
    kind: String,
    denial_bytes: Option<u64>,
    hash: Digest,
}

impl Link {
    /// Reads a line without its line feed; `None` if it is no row at all.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let Members { seq, time, prev, kind, denial_bytes, hash } = serde_json::from_slice(line).ok()?;
        let (body, suffix) = line.split_at_checked(line.len().checked_sub(SUFFIX)?)?;
        let last = suffix.strip_prefix(MEMBER)?.strip_suffix(END)?;
        let sound = last == hash.hex() && Digest::of(prev, body) == hash;
        let seal = if sound { Seal::Sound } else { Seal::Broken };
        Some(Self { head: Head { seq, hash }, prev, time, kind, denial_bytes, seal })
    }
}

/// What [`next_line`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A line, its line feed removed.
    Line,
    /// Bytes without a line feed, at the end or longer than any row.
    Ragged,
    End,
}

/// Reads the next line into `line`, whatever the file holds, in bounded memory.
pub(super) fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Next> {
    line.clear();
    reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', line)?;
    Ok(match line.pop() {
        None => Next::End,
        Some(b'\n') => Next::Line,
        Some(other) => {
            line.push(other);
            Next::Ragged
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_sealed_over_the_previous_hash_and_its_own_bytes() {
        let mut lines = Vec::new();
        let prefix = Prefix::new(Timestamp::UNIX_EPOCH, "\"r-0\"");
        let row = br#"{"kind":"intent","call_id":"c"}"#;
        let first = Head::GENESIS.append(&mut lines, &prefix, row);
        let text = String::from_utf8(lines.clone()).unwrap();
        let zeros = "0".repeat(64);
        let body = format!(
            r#"{{"seq":1,"time":"1970-01-01T00:00:00Z","replica":"r-0","prev":"{zeros}","kind":"intent","call_id":"c"}}"#
        );
        let mut input = vec![0; 32];
        input.extend_from_slice(body.as_bytes());
        let expected = aws_lc_rs::digest::digest(&SHA256, &input);
        assert_eq!(first.hash.0, expected.as_ref());
        let open = body.strip_suffix('}').unwrap();
        assert_eq!(text, format!("{open},\"hash\":\"{}\"}}\n", first.hash));
        assert!(prefix.line_bytes(row) >= lines.len());
        let link = Link::read(&lines[..lines.len() - 1]).unwrap();
        assert_eq!((link.head, link.seal, link.kind.as_str()), (first, Seal::Sound, "intent"));
    }

    #[test]
    fn every_single_changed_byte_breaks_the_seal_or_the_row() {
        let mut lines = Vec::new();
        let prefix = Prefix::new(Timestamp::UNIX_EPOCH, "\"r-0\"");
        Head::GENESIS.append(&mut lines, &prefix, br#"{"kind":"intent"}"#);
        lines.pop();
        for at in 0..lines.len() {
            let mut changed = lines.clone();
            changed[at] ^= 1;
            let seal = Link::read(&changed).map(|link| link.seal);
            assert_ne!(seal, Some(Seal::Sound), "byte {at}");
        }
    }

    #[test]
    fn a_line_longer_than_any_row_is_read_in_bounded_pieces() {
        let hostile = vec![b'a'; MAX_LINE * 2];
        let (mut reader, mut line) = (io::Cursor::new(hostile), Vec::new());
        assert_eq!(next_line(&mut reader, &mut line).unwrap(), Next::Ragged);
        assert_eq!(line.len(), MAX_LINE);
    }
}
