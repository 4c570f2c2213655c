//! The fields of one message, in their order and spelling, beside the bytes they came in.
//!
//! Promises: names are tokens; values hold no control byte but HTAB and no surrounding whitespace; the bytes are wiped
//! on drop. Never add `Debug` or `Clone`: values may be credentials.

use std::ops::Range;

use super::buffer::wipe;

/// No message may have more.
pub const FIELD_LIMIT: usize = 100;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// More than [`FIELD_LIMIT`].
    #[error("there are more than 100 fields (RFC 9110 section 5.4)")]
    TooMany,
    /// Not a token followed by a colon.
    #[error("a field name is empty or not a token (RFC 9110 section 5.1)")]
    Name,
    /// Whitespace between name and colon.
    #[error("whitespace stands between a field name and its colon (RFC 9112 section 5.1)")]
    SpaceBeforeColon,
    /// A control byte in a value.
    #[error("a field value holds a control character (RFC 9110 section 5.5)")]
    Control,
    /// A byte above 0x7F in a request.
    #[error("a field value holds bytes outside US-ASCII (RFC 9110 section 5.5)")]
    ObsText,
}

/// One field line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// As spelt by the sender.
    pub name: &'a str,
    /// Without the whitespace around it.
    pub value: &'a [u8],
}

/// All field lines of a head or a trailer section.
pub struct Fields {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

struct Line {
    name: Range<usize>,
    value: Range<usize>,
}

impl Fields {
    /// Takes the section over: `headers` are what httparse found in `section`.
    pub(super) fn new(section: &[u8], headers: &[httparse::Header<'_>]) -> Self {
        let lines = headers.iter().map(|header| Line {
            name: within(section, header.name.as_bytes()),
            value: within(section, trim(header.value)),
        });
        Self { lines: lines.collect(), bytes: section.to_vec() }
    }

    /// The fields, first to last.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines
            .iter()
            .map(|line| Field { name: self.text(&line.name), value: &self.bytes[line.value.clone()] })
    }

    /// The values of each field called `name`, in whatever case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines
            .iter()
            .filter(move |line| self.bytes[line.name.clone()].eq_ignore_ascii_case(name.as_bytes()))
            .map(|line| &self.bytes[line.value.clone()])
    }

    /// The members of the lists in each field called `name`, empty ones left out (RFC 9110 section 5.6.1.2).
    pub(crate) fn members<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(trim)
            .filter(|member| !member.is_empty())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lends each name and each value, to be masked at equal length.
    pub fn mask(&mut self, mut each: impl FnMut(&mut [u8])) {
        for line in &self.lines {
            each(&mut self.bytes[line.name.clone()]);
            each(&mut self.bytes[line.value.clone()]);
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes_mut(&mut self, range: &Range<usize>) -> &mut [u8] {
        &mut self.bytes[range.clone()]
    }

    /// ASCII by how every range of text was parsed.
    pub(super) fn text(&self, range: &Range<usize>) -> &str {
        str::from_utf8(&self.bytes[range.clone()]).unwrap_or_default()
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

/// Where `part`, a slice of `whole`, lies in it.
pub(super) fn within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    let end = start.wrapping_add(part.len());
    // httparse may give an empty value a slice of its own.
    if part.is_empty() || whole.get(start..end).is_none() { 0..0 } else { start..end }
}

/// Takes the optional whitespace of RFC 9110 section 5.6.3 off both ends.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A token of RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'-' | b'_' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'.' | b'^' | b'`' | b'|' | b'~'
                )
        })
}

/// What may stand in a value: visible characters, SP, HTAB, and bytes above 0x7F, which mean nothing to us.
pub(super) fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t')
}

/// Bytes above 0x7F in a request are refused: what they mean differs from one upstream to the next.
pub(super) fn refuse_obs_text(fields: &Fields) -> Result<(), FieldError> {
    if fields.bytes.is_ascii() { Ok(()) } else { Err(FieldError::ObsText) }
}

/// Says which rule a section broke when httparse refused one of its names.
pub(super) fn name_error(section: &[u8]) -> FieldError {
    let spaced = section.split(|byte| *byte == b'\n').any(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.len() < line.len() && is_token(trim(name)) && (name.ends_with(b" ") || name.ends_with(b"\t"))
    });
    if spaced { FieldError::SpaceBeforeColon } else { FieldError::Name }
}
