//! Arguments as clap reads them: each is checked before a cluster is asked, and refused with what to write instead.

use jiff::{SignedDuration, Timestamp};
use rustls::{
    RootCertStore,
    pki_types::pem::{PemObject as _, SectionKind},
};

const LONGEST_WAIT_SECONDS: u64 = 3600;
const MAX_LABEL_BYTES: usize = 63;
const MAX_SUBDOMAIN_BYTES: usize = 253;

/// A namespace's name, an RFC 1123 label.
pub(crate) fn namespace(text: &str) -> Result<String, String> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a namespace has 1 to {MAX_LABEL_BYTES} lower-case letters, digits and inner hyphens, such as payments"
    ))
}

/// The name of an object, an RFC 1123 subdomain.
pub(crate) fn object_name(text: &str) -> Result<String, String> {
    if text.len() <= MAX_SUBDOMAIN_BYTES && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a name has 1 to {MAX_SUBDOMAIN_BYTES} lower-case letters, digits, inner hyphens and dots, such as partner"
    ))
}

/// A share of some namespace.
pub(crate) fn share(text: &str) -> Result<(String, String), String> {
    let (namespace_name, name) =
        text.split_once('/').ok_or("write the share as NAMESPACE/NAME, such as payments/partner")?;
    Ok((namespace(namespace_name)?, object_name(name)?))
}

/// How long to wait.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=LONGEST_WAIT_SECONDS).contains(seconds));
    seconds.ok_or_else(|| format!("write whole seconds from 1 to {LONGEST_WAIT_SECONDS}, such as 30"))
}

/// A time that is still to come.
pub(crate) fn time_to_come(text: &str) -> Result<Timestamp, String> {
    end_at(text, Timestamp::now())
}

/// A time as long from now as is said, in whole seconds.
pub(crate) fn time_from_now(text: &str) -> Result<Timestamp, String> {
    end_in(text, Timestamp::now())
}

fn end_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let end: Timestamp = text.parse().map_err(|_| {
        "write a date, a time and its zone (RFC 3339), such as 2030-01-31T18:00:00Z".to_owned()
    })?;
    if end > now { Ok(end) } else { Err(format!("this is in the past; it is {now:.0} now")) }
}

fn end_in(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let example = "write hours, minutes and seconds of at least 1s, such as 24h or 1h30m";
    let duration: SignedDuration = text.parse().map_err(|_| example.to_owned())?;
    if duration < SignedDuration::from_secs(1) {
        return Err(example.to_owned());
    }
    let end = now.checked_add(duration).ok().and_then(|end| Timestamp::from_second(end.as_second()).ok());
    end.ok_or_else(|| "this is later than any date; leave it out for a share without an end".to_owned())
}

/// What a file of certificates holds; the operator takes no other.
pub(crate) fn certificates(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("reading it: {error}"))?;
    if are_certificates(&text) {
        return Ok(text);
    }
    Err("it must hold certificates in PEM, '-----BEGIN CERTIFICATE-----', and nothing else in PEM".to_owned())
}

fn are_certificates(text: &str) -> bool {
    let mut store = RootCertStore::empty();
    let taken = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()).all(|section| {
        let Ok((SectionKind::Certificate, der)) = section else { return false };
        store.add(der.into()).is_ok()
    });
    taken && !store.is_empty()
}

fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL_BYTES).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_kubernetes_takes() {
        // (text, a namespace, an object's name)
        let table = [
            ("payments", true, true),
            ("a-1", true, true),
            ("a.b", false, true),
            ("", false, false),
            ("Bad NS", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a..b", false, false),
            ("a/b", false, false),
            ("b\u{fc}cher", false, false),
        ];
        for (text, is_namespace, is_object) in table {
            assert_eq!(
                (namespace(text).is_ok(), object_name(text).is_ok()),
                (is_namespace, is_object),
                "{text}"
            );
        }
        let (label, longer) = ("a".repeat(63), "a".repeat(64));
        assert!(namespace(&label).is_ok() && namespace(&longer).is_err());
        let name = [label.as_str(); 4].join(".");
        assert!(object_name(&name[2..]).is_ok() && object_name(&name[1..]).is_err());
    }

    #[test]
    fn a_share_ends_in_whole_seconds_to_come() {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        // (--expires-at or --expires-in, when it ends)
        let table = [
            (end_at("2026-01-01T00:00:01Z", now), Some("2026-01-01T00:00:01Z")),
            (end_at("2026-01-01T00:00:00Z", now), None),
            (end_at("2026-01-02", now), None),
            (end_in("1h30m", now), Some("2026-01-01T01:30:00Z")),
            (end_in("1s", now), Some("2026-01-01T00:00:01Z")),
            (end_in("1ms", now), None),
            (end_in("-1h", now), None),
            (end_in("99999999h", now), None),
        ];
        for (end, expected) in table {
            assert_eq!(end.as_ref().ok().map(ToString::to_string).as_deref(), expected, "{end:?}");
        }
    }

    #[test]
    fn a_bundle_holds_certificates_and_nothing_else() {
        let key = rcgen::KeyPair::generate().unwrap();
        let subject = rcgen::CertificateParams::new(["ca.example.com".to_owned()]).unwrap();
        let certificate = subject.self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        // (file, taken)
        let table = [
            (certificate.clone(), true),
            (format!("# ours\n{certificate}{certificate}"), true),
            (String::new(), false),
            ("certificate".to_owned(), false),
            (format!("{certificate}{key}"), false),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), false),
        ];
        for (text, taken) in table {
            assert_eq!(are_certificates(&text), taken, "{text}");
        }
    }
}
