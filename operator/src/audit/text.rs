//! Text from a request, made fit to stand in a row.
//!
//! Promises: bounded length, one line, plain ASCII. What is not printable ASCII is escaped, so a row can neither
//! forge another row nor steer the terminal that shows it. A path loses its query here.
//!
//! Never add: a way in that skips the bound or the escape.

use serde::Serialize;

const NAME_BYTES: usize = 253;
const PATH_BYTES: usize = 512;

/// Ends a text that was cut. It cannot occur otherwise: everything beyond ASCII is escaped.
const CUT: char = '…';

/// A name, a host, an id: at most 253 bytes, printable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// Bounds and escapes `raw`.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        Self(bounded(raw, NAME_BYTES))
    }

    /// As it stands in the row.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(raw: &str) -> Self {
        Self::new(raw)
    }
}

/// The path of a call, at most 512 bytes, without its query: a query may carry a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Path(String);

impl Path {
    /// Takes the path out of a request target.
    #[must_use]
    pub fn of(target: &str) -> Self {
        let end = target.find(['?', '#']).unwrap_or(target.len());
        Self(bounded(&target[..end], PATH_BYTES))
    }
}

fn bounded(raw: &str, limit: usize) -> String {
    let mut text = String::with_capacity(raw.len().min(limit));
    for character in raw.chars() {
        let start = text.len();
        match character {
            '\\' => text.push_str("\\\\"),
            ' '..='~' => text.push(character),
            _ => text.extend(character.escape_default()),
        }
        if text.len() > limit {
            text.truncate(start);
            text.push(CUT);
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_printable_ascii_is_escaped() {
        // (raw, as it stands in the row)
        let table = [
            ("checkout", "checkout"),
            ("a b~", "a b~"),
            ("line\nbreak\r\t", "line\\nbreak\\r\\t"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("del\u{7f}c1\u{9b}", "del\\u{7f}c1\\u{9b}"),
            ("bidi\u{202e}x", "bidi\\u{202e}x"),
            ("m\u{fc}nchen", "m\\u{fc}nchen"),
            ("\\n", "\\\\n"),
            ("\0", "\\u{0}"),
        ];
        for (raw, row) in table {
            assert_eq!(Text::new(raw).as_str(), row, "{raw:?}");
        }
    }

    #[test]
    fn a_path_loses_its_query_and_fragment() {
        for target in ["/v1/charges", "/v1/charges?key=kl-test-value", "/v1/charges#a?b", "/v1/charges?a#b"] {
            assert_eq!(Path::of(target).0, "/v1/charges", "{target}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        let exact = "a".repeat(NAME_BYTES);
        assert_eq!(Text::new(&exact).as_str(), exact);
        assert_eq!(Text::new(&format!("{exact}a")).as_str(), format!("{exact}{CUT}"));
        let escaped = Text::new(&"\u{9b}".repeat(NAME_BYTES));
        assert!(escaped.as_str().len() <= NAME_BYTES + CUT.len_utf8());
        assert!(escaped.as_str().ends_with("\\u{9b}…"));
        assert!(Path::of(&"/".repeat(5000)).0.len() <= PATH_BYTES + CUT.len_utf8());
    }
}
