//! Where a command gets a value from: standard input, a prompt or a file. Never an argument, which others can see.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use keylend_contract::plaintext::{MAX_VALUE_BYTES, Plaintext};
use zeroize::Zeroizing;

/// Where the value comes from.
#[derive(Args)]
pub(crate) struct Source {
    /// Read the value from a file instead of standard input or a prompt. One line end at its end is left out.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

impl Source {
    /// Reads the value, without the one line end that editors and `echo` add.
    pub(crate) fn read(&self) -> Result<Plaintext> {
        let mut bytes = match &self.from_file {
            Some(path) => {
                let file =
                    std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
                read_bounded(file).with_context(|| format!("reading {}", path.display()))?
            }
            None if std::io::stdin().is_terminal() => Zeroizing::new(
                rpassword::prompt_password("Value (not shown): ").context("reading the prompt")?.into_bytes(),
            ),
            None => read_bounded(std::io::stdin().lock()).context("reading standard input")?,
        };
        strip_line_end(&mut bytes);
        Ok(Plaintext::parse(bytes)?)
    }
}

fn read_bounded(reader: impl Read) -> Result<Zeroizing<Vec<u8>>> {
    // The exact bound at once: a growing buffer would leave copies behind.
    let most = MAX_VALUE_BYTES + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    reader.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        bail!("a value has at most {MAX_VALUE_BYTES} bytes");
    }
    Ok(bytes)
}

fn strip_line_end(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_left_out() {
        for (given, kept) in [
            ("kl-test-value", "kl-test-value"),
            ("kl-test-value\n", "kl-test-value"),
            ("kl-test-value\r\n", "kl-test-value"),
            ("kl-test-value\n\n", "kl-test-value\n"),
            ("\n", ""),
        ] {
            let mut bytes = given.as_bytes().to_vec();
            strip_line_end(&mut bytes);
            assert_eq!(bytes, kept.as_bytes());
        }
    }

    #[test]
    fn what_is_too_long_is_not_read_to_its_end() {
        assert!(read_bounded(std::io::repeat(b'x')).is_err());
        assert_eq!(read_bounded(&b"kl-test-value"[..]).unwrap().as_slice(), b"kl-test-value");
    }
}
