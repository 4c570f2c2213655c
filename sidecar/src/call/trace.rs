//! W3C Trace Context: the app's trace is kept, the call gets a span of its own. Pure.
//!
//! Promise: what is written upstream is exactly what the audit row holds, so the two can be joined; an app cannot choose
//! the span. A `traceparent` that is not valid starts a new trace, as the specification asks.

use keylend_contract::{hexadecimal::hexadecimal, wire::Trace};

use crate::http1::RequestHead;

/// The name of the field, as it is written.
pub const TRACEPARENT: &str = "traceparent";
/// What vendors add to it; it has no meaning without the trace it was made for.
pub const TRACESTATE: &str = "tracestate";

/// Whether the trace is the app's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It came with the request.
    App,
    /// It starts here.
    Here,
}

/// The trace of a call, with a span from `random`; those bytes also name a trace that starts here.
#[must_use]
pub fn trace(head: &RequestHead, random: [u8; 24]) -> (Trace, Origin) {
    let span_id = hexadecimal(&random[..8]);
    match the_apps(head) {
        Some(trace_id) => (Trace { trace_id: trace_id.to_owned(), span_id }, Origin::App),
        None => (Trace { trace_id: hexadecimal(&random[8..]), span_id }, Origin::Here),
    }
}

/// The value of `traceparent` upstream: version 00, sampled.
#[must_use]
pub fn traceparent(trace: &Trace) -> String {
    ["00-", &trace.trace_id, "-", &trace.span_id, "-01"].concat()
}

/// The trace id of exactly one well-formed `traceparent` of version 00.
fn the_apps(head: &RequestHead) -> Option<&str> {
    let mut given = head.fields().all(TRACEPARENT);
    let (Some(only), None) = (given.next(), given.next()) else { return None };
    let mut parts = str::from_utf8(only).ok()?.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = version == "00"
        && parts.next().is_none()
        && is_identifier(trace, 32)
        && is_identifier(span, 16)
        && is_hexadecimal(flags, 2);
    well_formed.then_some(trace)
}

fn is_identifier(text: &str, length: usize) -> bool {
    is_hexadecimal(text, length) && text.bytes().any(|byte| byte != b'0')
}

fn is_hexadecimal(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Buffer, RequestReader};

    const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn traced(fields: &str) -> (Trace, Origin) {
        let mut input = Buffer::new();
        input.push(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).unwrap();
        trace(&RequestReader::new().head(&mut input).unwrap().unwrap(), [0x1f; 24])
    }

    #[test]
    fn a_valid_trace_goes_on_with_a_span_of_its_own() {
        let (trace, origin) = traced(&format!("Traceparent: 00-{TRACE_ID}-00f067aa0ba902b7-01\r\n"));
        assert_eq!((trace.trace_id.as_str(), origin), (TRACE_ID, Origin::App));
        assert_eq!(traceparent(&trace), format!("00-{TRACE_ID}-1f1f1f1f1f1f1f1f-01"));
    }

    #[test]
    fn everything_else_starts_a_new_trace() {
        let valid = format!("traceparent: 00-{TRACE_ID}-00f067aa0ba902b7-01\r\n");
        for fields in [
            String::new(),
            valid.repeat(2),
            valid.replace("00-4", "01-4"),
            valid.replace("4b", "4B"),
            valid.replace("-01\r", "-01-x\r"),
            valid.replace("-01\r", "\r"),
            valid.replace(TRACE_ID, &"0".repeat(32)),
            valid.replace("00f067aa0ba902b7", &"0".repeat(16)),
        ] {
            let (trace, origin) = traced(&fields);
            assert_eq!((trace.trace_id, origin), ("1f".repeat(16), Origin::Here), "{fields}");
        }
    }
}
