//! A value, and the only type that holds one.
//!
//! It cannot be printed, copied, compared or serialized. [`Plaintext::expose`] lends it to a closure, so that a search
//! for `expose` is the audit of every place that touches a value. Nothing that widens this may be added.

use zeroize::Zeroizing;

/// The longest value of one field, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The shortest value, in bytes: a shorter one could not be told from ordinary text in a response.
pub const MIN_VALUE_BYTES: usize = 8;

/// One field of a secret in the clear; wiped when dropped.
///
/// ```compile_fail
/// fn printed(value: &keylend_contract::plaintext::Plaintext) -> String { format!("{value:?}") }
/// ```
/// ```compile_fail
/// fn copied(value: &keylend_contract::plaintext::Plaintext) -> keylend_contract::plaintext::Plaintext { value.clone() }
/// ```
pub struct Plaintext(Zeroizing<Vec<u8>>);

/// Why bytes cannot be a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaintextError {
    /// Under [`MIN_VALUE_BYTES`].
    #[error("a value has {MIN_VALUE_BYTES} bytes or more, so that it can be found and masked in responses")]
    TooShort,
    /// Over [`MAX_VALUE_BYTES`].
    #[error("a value has at most {MAX_VALUE_BYTES} bytes")]
    TooLong,
    /// A byte that may not stand in a header field (RFC 9110, 5.5): controls, and anything beyond visible ASCII, space
    /// and tab; or a space or tab at either end, which recipients strip.
    #[error(
        "a value is visible ASCII without control characters, line ends included, and has no space at either end"
    )]
    NotText,
}

impl Plaintext {
    /// Takes a value in; the bytes are wiped on every path.
    ///
    /// # Errors
    /// [`PlaintextError`] when the bytes could not be injected as text or scrubbed from a response.
    pub fn parse(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PlaintextError> {
        if bytes.len() < MIN_VALUE_BYTES {
            return Err(PlaintextError::TooShort);
        }
        if bytes.len() > MAX_VALUE_BYTES {
            return Err(PlaintextError::TooLong);
        }
        let blank = |byte: Option<&u8>| byte.is_some_and(|b| matches!(b, b' ' | b'\t'));
        let visible = bytes.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'));
        if !visible || blank(bytes.first()) || blank(bytes.last()) {
            return Err(PlaintextError::NotText);
        }
        Ok(Self(bytes))
    }

    /// Lends the bytes to `borrow` and gives back what it makes of them.
    pub fn expose<R>(&self, borrow: impl FnOnce(&[u8]) -> R) -> R {
        borrow(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_that_can_be_injected_and_scrubbed_is_a_value() {
        let table: &[(&[u8], Result<(), PlaintextError>)] = &[
            (b"kl-test-", Ok(())),
            (b"kl test\tvalue", Ok(())),
            (b"kl-test", Err(PlaintextError::TooShort)),
            (b"", Err(PlaintextError::TooShort)),
            (b"kl-test-value\n", Err(PlaintextError::NotText)),
            (b"kl-test\r\nx: y", Err(PlaintextError::NotText)),
            (b"kl-test-\0value", Err(PlaintextError::NotText)),
            (b"kl-test-\x7fvalue", Err(PlaintextError::NotText)),
            ("kl-test-ü".as_bytes(), Err(PlaintextError::NotText)),
            (b" kl-test-value", Err(PlaintextError::NotText)),
            (b"kl-test-value\t", Err(PlaintextError::NotText)),
        ];
        for (bytes, expected) in table {
            let parsed = Plaintext::parse(Zeroizing::new(bytes.to_vec())).map(|_| ());
            assert_eq!(&parsed, expected, "{}", bytes.escape_ascii());
        }
        let long = |n: usize| Plaintext::parse(Zeroizing::new(vec![b'x'; n])).map(|_| ());
        assert_eq!(long(MAX_VALUE_BYTES), Ok(()));
        assert_eq!(long(MAX_VALUE_BYTES + 1), Err(PlaintextError::TooLong));
    }
}
