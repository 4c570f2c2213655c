//! Writes the request that goes upstream: the app's own, with the lent credential in it. Pure.
//!
//! Promises: what the owner's material names stands in the request exactly once, written last and by us; the app's own
//! copies are left out, however they are spelt; a value is rendered straight into the buffer that is wiped after it was
//! written. Nothing here may keep, log or compare a value.

use keylend_contract::{
    material::Material, place::HeaderPlace, refusal::Refusal, upstream::Upstream, wire::Trace,
};

use super::{
    hop::{self, same},
    target::Target,
    trace::{Origin, TRACEPARENT, TRACESTATE, traceparent},
};
use crate::{
    fault::{Failure, Fault},
    http1::{Buffer, HeadWriter, Persistence, RequestHead, WriteError},
};

/// What is to be sent, but for the values.
pub struct Outgoing<'a> {
    /// The app's request.
    pub head: &'a RequestHead,
    /// Its target.
    pub target: Target<'a>,
    /// Where it goes.
    pub destination: &'a Upstream,
    /// The call's trace, and whose it is.
    pub trace: (&'a Trace, Origin),
}

/// Writes the head of `outgoing` with `material` in it into `out`.
///
/// # Errors
/// [`Refusal::RequestMalformed`] when the head becomes too long; a [`Fault`] when the material points nowhere. `out` is
/// then as it was.
pub fn write(out: &mut Buffer, outgoing: &Outgoing<'_>, material: &Material) -> Result<(), Failure> {
    let head = outgoing.head;
    let authority = outgoing.destination.authority();
    let target = outgoing.target.origin_form();
    let mut writer = HeadWriter::request(out, head.method(), &target, &authority).map_err(unwritable)?;
    let (trace, origin) = outgoing.trace;
    let kept = |name: &str| {
        let ours = same(name, TRACEPARENT) || (origin == Origin::Here && same(name, TRACESTATE));
        !ours && !material.headers.iter().any(|header| same(name, header.name.as_str()))
    };
    let fields = hop::toward_upstream(head).filter(|field| kept(field.name));
    writer.fields(fields).map_err(unwritable)?;
    writer.field(TRACEPARENT, traceparent(trace).as_bytes()).map_err(unwritable)?;
    for header in &material.headers {
        let value = material.render(header).ok_or_else(|| points_nowhere(&header.name))?;
        writer.field(header.name.as_str(), &value).map_err(unwritable)?;
    }
    let afterwards = if head.has_body() { Persistence::Close } else { Persistence::KeepAlive };
    writer.finish(head.framing(), afterwards).map_err(unwritable)
}

fn points_nowhere(place: &HeaderPlace) -> Failure {
    Fault::new("injecting a field whose value did not come", place.to_string()).into()
}

fn unwritable(error: WriteError) -> Failure {
    match error {
        WriteError::Full(_) => {
            let reason = "its head is longer than 32 KiB with the injected fields (RFC 9110 section 5.4)";
            Refusal::RequestMalformed { reason: reason.into() }.into()
        }
        WriteError::StartLine
        | WriteError::FieldName
        | WriteError::FieldValue
        | WriteError::Reserved
        | WriteError::Framing => Fault::new("writing the request", error).into(),
    }
}

#[cfg(test)]
mod tests {
    use keylend_contract::{
        material::{HeaderMaterial, Part},
        plaintext::Plaintext,
    };
    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        call::{target::Authority, trace},
        http1::RequestReader,
    };

    fn material(parts: Vec<Part>) -> Material {
        let value = Plaintext::parse(Zeroizing::new(b"kl-test-value".to_vec())).unwrap();
        let header = HeaderMaterial { name: "x-api-key".parse().unwrap(), parts };
        Material { headers: vec![header], values: vec![value] }
    }

    fn written(request: &str, material: &Material) -> Result<String, Failure> {
        let (mut input, mut out) = (Buffer::new(), Buffer::new());
        input.push(request.as_bytes()).unwrap();
        let head = RequestReader::new().head(&mut input).unwrap().unwrap();
        let target = Target::of(&head, &Authority::of("127.0.0.1:7180".parse().unwrap())).unwrap();
        let destination = "https://api.example.com:8443".parse().unwrap();
        let (trace, origin) = trace::trace(&head, [1; 24]);
        let outgoing = Outgoing { head: &head, target, destination: &destination, trace: (&trace, origin) };
        let result = write(&mut out, &outgoing, material);
        assert_eq!(result.is_err(), out.is_empty());
        result.map(|()| String::from_utf8(out.bytes().to_vec()).unwrap())
    }

    #[test]
    fn the_credential_is_written_once_and_last_at_the_destinations_own_name() {
        let request =
            "POST /r/v1?a=b HTTP/1.1\r\nHost: localhost:7180\r\nContent-Length: 2\r\nAccept: */*\r\n\r\n";
        let parts = vec![Part::Literal("Bearer ".into()), Part::Value(0)];
        let upstream = "POST /v1?a=b HTTP/1.1\r\nHost: api.example.com:8443\r\nAccept: */*\r\n\
            Accept-Encoding: identity\r\ntraceparent: 00-01010101010101010101010101010101-0101010101010101-01\r\n\
            x-api-key: Bearer kl-test-value\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
        assert_eq!(written(request, &material(parts)).unwrap(), upstream);
    }

    #[test]
    fn the_apps_own_copies_are_left_out_however_they_are_spelt() {
        for own in [
            "X-Api-Key: app",
            "x-api-key: app",
            "X_API_KEY: app",
            "X-Api-Key: app\r\nx-api-key: app",
            "Connection: x-api-key\r\nX-API-KEY: app",
            "traceparent: app",
            "tracestate: app",
            "Trace_Parent: fine\r\nTRACEPARENT: app",
        ] {
            let request = format!("GET /r HTTP/1.1\r\nHost: localhost:7180\r\n{own}\r\n\r\n");
            let upstream = written(&request, &material(vec![Part::Value(0)])).unwrap();
            assert!(!upstream.contains("app\r\n"), "{own}");
            assert!(upstream.contains("\r\nx-api-key: kl-test-value\r\n"), "{own}");
        }
    }

    #[test]
    fn a_head_that_cannot_be_written_leaves_nothing_behind() {
        let long = format!("GET /r HTTP/1.1\r\nHost: localhost:7180\r\nA: {}\r\n\r\n", "a".repeat(32_650));
        let refused = written(&long, &material(vec![Part::Value(0)]));
        assert!(matches!(refused, Err(Failure::Refused(Refusal::RequestMalformed { .. }))));
        let short = "GET /r HTTP/1.1\r\nHost: localhost:7180\r\n\r\n";
        assert!(matches!(written(short, &material(vec![Part::Value(1)])), Err(Failure::Broke(_))));
    }
}
