//! Bytes as lower-case hexadecimal digits: the one place that writes them.

/// Two digits for each of `bytes`.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits(*byte)).map(char::from).collect()
}

/// The two digits of `byte`.
#[must_use]
pub fn digits(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    [digit(byte >> 4), digit(byte & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_two_lower_case_digits() {
        let all: Vec<u8> = (0..=255).collect();
        let text = hexadecimal(&all);
        for (byte, pair) in all.iter().zip(text.as_bytes().chunks_exact(2)) {
            assert_eq!(std::str::from_utf8(pair).unwrap(), format!("{byte:02x}"));
        }
        assert_eq!(text.len(), 512);
    }
}
