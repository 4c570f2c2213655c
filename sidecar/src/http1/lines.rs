//! Finds where a head or a trailer section ends, and refuses every line ending but CRLF on the way.
//!
//! Promises: each byte is looked at once however the input is split, and the answer does not depend on the split. Runs
//! before httparse, which takes a bare LF and any number of empty lines. Never make it lenient.

/// What is wrong with the lines of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than the limit.
    #[error("the head or trailer section is too long (RFC 9110 section 5.4)")]
    TooLong,
    /// LF without CR before it.
    #[error("a line ends in LF without CR (RFC 9112 section 2.2)")]
    BareLf,
    /// CR without LF after it.
    #[error("a CR stands without LF (RFC 9112 section 2.2)")]
    BareCr,
    /// No start line.
    #[error("an empty line stands where the message should start (RFC 9112 section 2.2)")]
    EmptyStart,
    /// Whitespace between the start line and the first field.
    #[error("whitespace precedes the first field (RFC 9112 section 2.2)")]
    LeadingSpace,
    /// A field continued on the next line.
    #[error("a field is folded over two lines (RFC 9112 section 5.2)")]
    ObsFold,
}

/// What the lines belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// A start line, fields, an empty line.
    Head,
    /// Fields, an empty line.
    Trailers,
}

/// How far the lines were read.
pub(super) struct Lines {
    section: Section,
    limit: usize,
    position: usize,
    line_start: usize,
    complete: usize,
}

impl Lines {
    pub(super) fn new(section: Section, limit: usize) -> Self {
        Self { section, limit, position: 0, line_start: 0, complete: 0 }
    }

    /// Reads on in `input`, which starts with all that was given before. `Some` is the length of the whole section,
    /// its empty line included.
    pub(super) fn find_end(&mut self, input: &[u8]) -> Result<Option<usize>, LineError> {
        let seen = &input[..input.len().min(self.limit)];
        while let Some(rest) = seen.get(self.position..).filter(|rest| !rest.is_empty()) {
            if self.position == self.line_start && matches!(rest[0], b' ' | b'\t') {
                self.leading_space()?;
            }
            let ordinary = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
            self.position += ordinary;
            match rest[ordinary..] {
                [] | [b'\r'] => break,
                [b'\r', b'\n', ..] if self.end_of_line()? => return Ok(Some(self.position)),
                [b'\r', b'\n', ..] => {}
                [b'\r', ..] => return Err(LineError::BareCr),
                [..] => return Err(LineError::BareLf),
            }
        }
        if seen.len() == self.limit { Err(LineError::TooLong) } else { Ok(None) }
    }

    /// Steps over CRLF; true if the line it ends was the empty one that closes the section.
    fn end_of_line(&mut self) -> Result<bool, LineError> {
        let empty = self.position == self.line_start;
        if empty && self.complete == 0 && self.section == Section::Head {
            return Err(LineError::EmptyStart);
        }
        self.position += 2;
        self.line_start = self.position;
        self.complete += 1;
        Ok(empty)
    }

    fn leading_space(&self) -> Result<(), LineError> {
        match (self.section, self.complete) {
            // The start line's own grammar refuses this one.
            (Section::Head, 0) => Ok(()),
            (Section::Head, 1) | (Section::Trailers, 0) => Err(LineError::LeadingSpace),
            (Section::Head | Section::Trailers, _) => Err(LineError::ObsFold),
        }
    }
}
