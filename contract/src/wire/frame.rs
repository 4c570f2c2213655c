//! How a message and its values are laid out in bytes, and the one encoding of a value on the wire.
//!
//! ```text
//! u32 length | message (JSON) | u16 count | count x (u32 length | value)        integers big-endian
//! ```
//!
//! Values never pass through serde. Nothing may be read in part: every byte is accounted for, or there is no message.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{MAX_MESSAGE_BYTES, MAX_VALUES};
use crate::plaintext::{MAX_VALUE_BYTES, Plaintext};

/// Why bytes are not a message, or a message not bytes.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Shorter or longer than its own lengths say, or beyond a bound.
    #[error("reading a message: its lengths are wrong")]
    Framing,
    /// The JSON is not this message. The cause is left out: it may quote the input.
    #[error("reading a message: it has not the expected form")]
    Form,
    /// A value that is none.
    #[error("reading a message: a value is not one")]
    Value,
    /// The message has no form in JSON.
    #[error("writing a message: it cannot be written as JSON")]
    Unwritable,
    /// The message is longer, or carries more values, than a message may.
    #[error("writing a message: it is too large")]
    TooLarge,
}

/// Writes a message and its values.
///
/// # Errors
/// [`WireError::TooLarge`] beyond [`MAX_MESSAGE_BYTES`] or [`MAX_VALUES`], [`WireError::Unwritable`] if it has no form in
/// JSON.
pub fn encode<M: Serialize>(message: &M, values: &[Plaintext]) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let json = serde_json::to_vec(message).map_err(|_| WireError::Unwritable)?;
    if json.len() > MAX_MESSAGE_BYTES || values.len() > MAX_VALUES {
        return Err(WireError::TooLarge);
    }
    let lengths: usize = values.iter().map(|value| 4 + value.expose(<[u8]>::len)).sum();
    // The exact length at once: a growing buffer would leave copies of values behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 + json.len() + 2 + lengths));
    push_prefixed(&mut bytes, &json)?;
    bytes.extend_from_slice(&u16::try_from(values.len()).map_err(|_| WireError::TooLarge)?.to_be_bytes());
    for value in values {
        value.expose(|value| push_prefixed(&mut bytes, value))?;
    }
    Ok(bytes)
}

/// Reads a message and its values; every byte must be accounted for.
///
/// # Errors
/// [`WireError`]; nothing is returned in part.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<(M, Vec<Plaintext>), WireError> {
    let mut rest = bytes;
    let json = take_prefixed(&mut rest, MAX_MESSAGE_BYTES)?;
    let message = serde_json::from_slice(json).map_err(|_| WireError::Form)?;
    let (count, mut rest) = rest.split_first_chunk::<2>().ok_or(WireError::Framing)?;
    let count = usize::from(u16::from_be_bytes(*count));
    if count > MAX_VALUES {
        return Err(WireError::Framing);
    }
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let value = Zeroizing::new(take_prefixed(&mut rest, MAX_VALUE_BYTES)?.to_vec());
        values.push(Plaintext::parse(value).map_err(|_| WireError::Value)?);
    }
    if rest.is_empty() { Ok((message, values)) } else { Err(WireError::Framing) }
}

fn push_prefixed(bytes: &mut Vec<u8>, part: &[u8]) -> Result<(), WireError> {
    let length = u32::try_from(part.len()).map_err(|_| WireError::TooLarge)?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
    Ok(())
}

fn take_prefixed<'a>(rest: &mut &'a [u8], most: usize) -> Result<&'a [u8], WireError> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(WireError::Framing)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| WireError::Framing)?;
    if length > most || length > after.len() {
        return Err(WireError::Framing);
    }
    let (part, after) = after.split_at(length);
    *rest = after;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn value() -> Plaintext {
        Plaintext::parse(Zeroizing::new(b"kl-test-value".to_vec())).unwrap()
    }

    #[test]
    fn a_message_and_its_values_arrive_as_they_were_sent() {
        let bytes = encode(&"a message", &[value()]).unwrap();
        let (message, values) = decode::<String>(&bytes).unwrap();
        assert_eq!((message.as_str(), values.len()), ("a message", 1));
        assert!(values[0].expose(|v| v == b"kl-test-value"));
    }

    #[test]
    fn every_byte_must_be_accounted_for() {
        let bytes = encode(&"a message", &[value()]).unwrap();
        for length in 0..bytes.len() {
            assert!(decode::<String>(&bytes[..length]).is_err(), "{length}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(matches!(decode::<String>(&longer), Err(WireError::Framing)));
    }

    #[test]
    fn what_cannot_be_written_is_told_from_what_cannot_be_read() {
        let too_long = "x".repeat(MAX_MESSAGE_BYTES);
        assert!(matches!(encode(&too_long, &[]), Err(WireError::TooLarge)));
        let too_many: Vec<_> = std::iter::repeat_with(value).take(MAX_VALUES + 1).collect();
        assert!(matches!(encode(&"a message", &too_many), Err(WireError::TooLarge)));
        let keys_that_are_no_text = BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(encode(&keys_that_are_no_text, &[]), Err(WireError::Unwritable)));
        assert!(matches!(decode::<u8>(&encode(&"a message", &[]).unwrap()), Err(WireError::Form)));
    }
}
