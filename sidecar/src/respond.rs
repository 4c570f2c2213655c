//! Refusal or fault to response: the only mapping on this side.
//!
//! Promises: an app can always tell our no from the upstream's, by `Keylend-Refusal`; a fault shows one opaque sentence,
//! its cause goes to the log; nothing of a request or of a value is repeated.

use http::StatusCode;
use keylend_contract::refusal::problem;

use crate::{
    fault::Failure,
    http1::{Asked, Buffer, Framing, HeadWriter, Persistence, WriteError},
};

/// The code and sentence of every fault.
const FAULT: (&str, &str) = ("fault", "Keylend could not carry the call; its sidecar's log says more");

/// Writes the answer to a request that was not carried.
///
/// # Errors
/// [`WriteError`] when it does not fit behind what waits in `out`.
pub fn failure(
    out: &mut Buffer,
    failure: &Failure,
    asked: Asked,
    persistence: Persistence,
) -> Result<(), WriteError> {
    let (status, code, body) = match failure {
        Failure::Refused(refusal) => (refusal.status(), refusal.code(), refusal.problem()),
        Failure::Broke(_) => (500, FAULT.0, problem(500, FAULT.0, FAULT.1)),
    };
    let mut head = HeadWriter::response(out, status, reason(status))?;
    head.field("Content-Type", b"application/problem+json")?;
    head.field("Keylend-Refusal", code.as_bytes())?;
    head.field("Cache-Control", b"no-store")?;
    let length = body.len() as u64;
    match asked {
        Asked::Head => head.finish(Framing::Declared(length), persistence),
        Asked::Other => {
            head.finish(Framing::Length(length), persistence)?;
            Ok(out.push(body.as_bytes())?)
        }
    }
}

/// Writes the answer to a probe.
///
/// # Errors
/// [`WriteError`] when it does not fit behind what waits in `out`.
pub fn probe(out: &mut Buffer, status: u16, persistence: Persistence) -> Result<(), WriteError> {
    let mut head = HeadWriter::response(out, status, reason(status))?;
    head.field("Cache-Control", b"no-store")?;
    head.finish(Framing::Length(0), persistence)
}

fn reason(status: u16) -> &'static [u8] {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.unwrap_or_default().as_bytes()
}

#[cfg(test)]
mod tests {
    use keylend_contract::refusal::Refusal;

    use super::*;
    use crate::fault::Fault;

    fn answered(failure: &Failure, asked: Asked) -> String {
        let mut out = Buffer::new();
        super::failure(&mut out, failure, asked, Persistence::Close).unwrap();
        String::from_utf8(out.bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_refusal_is_a_problem_with_its_code_and_sentence() {
        let refusal = Refusal::ShareRevoked { secret: "stripe".into() };
        let answer = answered(&Failure::Refused(refusal.clone()), Asked::Other);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, refusal.problem());
        let length = body.len();
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nKeylend-Refusal: share_revoked\r\n\
                 Cache-Control: no-store\r\nContent-Length: {length}\r\nConnection: close"
            )
        );
        assert!(answered(&Failure::Refused(refusal), Asked::Head).ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_fault_shows_no_cause() {
        let fault = Failure::Broke(Fault::new("reading a file", "kl-test-cause"));
        let answer = answered(&fault, Asked::Other);
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("\r\nKeylend-Refusal: fault\r\n"));
        assert!(!answer.contains("kl-test-cause") && !answer.contains("reading a file"));
    }
}
