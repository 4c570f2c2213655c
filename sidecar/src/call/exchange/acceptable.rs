//! Which responses may be passed on at all. Pure.
//!
//! Promise: what passes is the whole of what was asked for, in no coding. A part of an echo may be too small to be
//! found in, and a coded one hides it. Never add a coding that is not undone first.

use keylend_contract::refusal::Refusal;

use crate::http1::{Fields, ResponseHead};

/// RFC 9110 section 15.3.7, and the differences of RFC 3229.
const PARTIAL: [u16; 2] = [206, 226];
/// RFC 9110 section 14.6, and what came before it.
const RANGES: [&str; 2] = ["multipart/byteranges", "multipart/x-byteranges"];

/// Accepts a response for being passed on.
///
/// # Errors
/// [`Refusal::ResponseCoded`], or [`Refusal::ResponseMalformed`] for a part.
pub(super) fn accept(response: &ResponseHead) -> Result<(), Refusal> {
    let fields = response.fields();
    if fields.all("content-encoding").any(|coding| !is_identity(coding)) {
        return Err(Refusal::ResponseCoded);
    }
    if PARTIAL.contains(&response.status())
        || fields.all("content-range").next().is_some()
        || in_ranges(fields)
    {
        let reason = "it is a part, but the whole was asked for (RFC 9110 section 14)";
        return Err(Refusal::ResponseMalformed { reason: reason.into() });
    }
    Ok(())
}

fn is_identity(coding: &[u8]) -> bool {
    coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
}

fn in_ranges(fields: &Fields) -> bool {
    fields.members("content-type").any(|member| {
        let media = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        RANGES.iter().any(|ranges| media.eq_ignore_ascii_case(ranges.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Asked, Buffer, ResponseReader};

    fn code(head: &str) -> Option<&'static str> {
        let mut input = Buffer::new();
        input.push(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).unwrap();
        let response = ResponseReader::new(Asked::Other).head(&mut input).ok().flatten().unwrap();
        accept(&response).err().map(|refusal| refusal.code())
    }

    #[test]
    fn a_part_is_refused_however_it_is_announced() {
        for head in [
            "206 Partial Content",
            "226 IM Used",
            "200 OK\r\nContent-Range: bytes 0-7/40",
            "200 OK\r\ncontent-range: x",
            "416 Range Not Satisfiable\r\nContent-Range: bytes */40",
            "200 OK\r\nContent-Type: multipart/byteranges; boundary=x",
            "200 OK\r\nContent-Type: Multipart/X-ByteRanges",
            "200 OK\r\nContent-Type: text/plain\r\nContent-Type: multipart/byteranges ; boundary=x",
            "200 OK\r\nContent-Type: text/plain, multipart/byteranges",
        ] {
            assert_eq!(code(head), Some("response_malformed"), "{head}");
        }
    }

    #[test]
    fn a_coding_is_refused() {
        for coding in ["gzip", "br", "identity, gzip", "unheard-of"] {
            assert_eq!(
                code(&format!("200 OK\r\nContent-Encoding: {coding}")),
                Some("response_coded"),
                "{coding}"
            );
        }
        assert_eq!(
            code("200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: br"),
            Some("response_coded")
        );
    }

    #[test]
    fn the_whole_passes() {
        for head in [
            "200 OK",
            "416 Range Not Satisfiable",
            "200 OK\r\nAccept-Ranges: bytes",
            "200 OK\r\nContent-Encoding: Identity\r\nContent-Encoding:",
            "200 OK\r\nContent-Type: multipart/mixed; boundary=byteranges",
            "200 OK\r\nContent-Type: multipart/byteranges-not",
        ] {
            assert_eq!(code(head), None, "{head}");
        }
    }
}
