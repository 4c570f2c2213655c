//! Refusal or fault to response: the only place where the two meet HTTP.
//!
//! A refusal is an answer like any other and travels as a message, under the connection's veil; only a fault is an error
//! of HTTP, and says nothing.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use keylend_contract::{
    plaintext::Plaintext,
    veil::Veil,
    wire::{self, Answer, EnrolAnswer, Granted, RenewAnswer},
};
use serde::Serialize;

use crate::fault::{Failure, Fault, with_causes};

/// What goes back to a sidecar.
pub type Reply = Response<Full<Bytes>>;

/// The answer to an ask.
#[must_use]
pub fn answer(outcome: Result<(Granted, Vec<Plaintext>), Failure>, veil: &Veil) -> Reply {
    match outcome {
        Ok((granted, values)) => message(&Answer::Granted(Box::new(granted)), &values, veil),
        Err(Failure::Refused(refusal)) => message(&Answer::Refused(refusal), &[], veil),
        Err(Failure::Broke(fault)) => broke(&fault),
    }
}

/// The answer to an enrolment.
#[must_use]
pub fn enrolment(outcome: Result<EnrolAnswer, Failure>, veil: &Veil) -> Reply {
    match outcome {
        Ok(enrolled) => message(&enrolled, &[], veil),
        Err(Failure::Refused(refusal)) => message(&EnrolAnswer::Refused(refusal), &[], veil),
        Err(Failure::Broke(fault)) => broke(&fault),
    }
}

/// The answer to a renewal.
#[must_use]
pub fn renewal(answer: &RenewAnswer, veil: &Veil) -> Reply {
    message(answer, &[], veil)
}

/// A status without a body.
#[must_use]
pub fn bare(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}

fn message<M: Serialize>(message: &M, values: &[Plaintext], veil: &Veil) -> Reply {
    let written = wire::encode(message, values).map_err(|error| Fault::new("writing an answer", error));
    let covered = written
        .and_then(|message| veil.cover(&message).map_err(|error| Fault::new("covering an answer", error)));
    match covered {
        Ok(bytes) => {
            let mut reply = Response::new(Full::new(Bytes::from(bytes)));
            reply.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
            reply
        }
        Err(fault) => broke(&fault),
    }
}

fn broke(fault: &Fault) -> Reply {
    tracing::error!(error = with_causes(fault), "a request could not be answered");
    bare(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use keylend_contract::refusal::Refusal;

    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_a_fault_says_nothing() {
        let veil = Veil::new(&[1; 32]).unwrap();
        let refused = answer(Err(Refusal::CallerUnknown.into()), &veil);
        assert_eq!(refused.status(), StatusCode::OK);
        let broke = answer(Err(Fault::new("reading a share", "kl-test-cause").into()), &veil);
        assert_eq!(broke.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(hyper::body::Body::size_hint(broke.body()).exact(), Some(0));
    }
}
