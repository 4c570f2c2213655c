//! What people write: a text is refused, or is one thing in one spelling. Each property says whether it was accepted.

use std::{fmt::Debug, net::IpAddr, str::FromStr};

use keylend_contract::{
    address::Networks,
    domain_lock::DomainLock,
    environment::Environment,
    host::{Host, HostError},
    name::SecretName,
    place::HeaderPlace,
    template::{MAX_TEMPLATE_SECRETS, Segment, Template},
    upstream::{HTTPS_PORT, Upstream},
};
use serde::{Serialize, de::DeserializeOwned};

/// A host is lower-case labels, is no address, and is spelt as it was written; an advised spelling is a host.
pub fn hosts_have_one_spelling(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    match text.parse::<Host>() {
        Ok(host) => {
            assert_eq!(host.as_str(), text);
            assert!(host.labels().count() >= 2 && host.labels().all(is_label) && text.len() <= 253);
            assert!(!ends_in_a_number(text), "{text}");
            true
        }
        Err(HostError::NotCanonical(advice)) => {
            assert_eq!(advice.parse::<Host>().map(String::from), Ok(advice));
            false
        }
        Err(_) => false,
    }
}

/// The first line is called, the others are the lock: permitted is what is listed, or one label under a star.
pub fn locks_permit_what_they_list(bytes: &[u8]) -> bool {
    let Some((called, patterns)) = lines(bytes) else { return false };
    let Ok(lock) = DomainLock::parse(&patterns) else { return false };
    comes_back(&lock);
    let Ok(host) = called.parse::<Host>() else { return false };
    let lists = |pattern: &&str| match pattern.strip_prefix('*') {
        None => *pattern == called,
        Some(under) => called.strip_suffix(under).is_some_and(is_label),
    };
    assert_eq!(lock.permit(&host).is_ok(), patterns.iter().any(lists), "{called} {patterns:?}");
    if let Ok(approved) = lock.permit(&host) {
        assert_eq!(*approved.host(), host);
    }
    true
}

/// A template is its segments, one after the other, with a secret or a few among them.
pub fn templates_are_their_segments(bytes: &[u8]) -> bool {
    let Some(template) = read_back::<Template>(bytes, |template| String::from(template.clone())) else {
        return false;
    };
    let segment = |segment: &Segment| match segment {
        Segment::Literal(text) => text.clone(),
        Segment::Secret(name) => format!("{{{{secret:{}}}}}", name.written()),
    };
    assert_eq!(template.segments().iter().map(segment).collect::<String>().as_bytes(), bytes);
    assert!((1..=MAX_TEMPLATE_SECRETS).contains(&template.secrets().count()));
    assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~')));
    true
}

/// A secret's name is a label once it is folded, and folding changes nothing twice.
pub fn names_fold_once(bytes: &[u8]) -> bool {
    let Some(name) = read_back::<SecretName>(bytes, |name| name.written().to_owned()) else { return false };
    assert!(is_label(name.as_str()), "{name:?}");
    let folded: SecretName = name.as_str().parse().unwrap();
    assert_eq!((folded.as_str(), &folded), (name.as_str(), &name));
    true
}

/// An environment is a label, as it was written.
pub fn environments_are_labels(bytes: &[u8]) -> bool {
    let Some(environment) = read_back::<Environment>(bytes, ToString::to_string) else { return false };
    assert!(is_label(environment.as_str()));
    true
}

/// An upstream is an origin, as it was written.
pub fn upstreams_are_origins(bytes: &[u8]) -> bool {
    let Some(upstream) = read_back::<Upstream>(bytes, ToString::to_string) else { return false };
    let host = upstream.host().as_str();
    assert!(hosts_have_one_spelling(host.as_bytes()));
    let port = upstream.port();
    let authority = if port == HTTPS_PORT { host.to_owned() } else { format!("{host}:{port}") };
    assert_eq!((upstream.authority(), port > 0), (authority, true));
    true
}

/// The first line is what a name resolves to, the others are the networks: all is approved if each is.
pub fn answers_are_approved_one_by_one(bytes: &[u8]) -> bool {
    let Some((answers, networks)) = lines(bytes) else { return false };
    let Ok(networks) = Networks::parse(&networks) else { return false };
    comes_back(&networks);
    let answers: Vec<IpAddr> = answers.split(',').filter_map(|answer| answer.parse().ok()).collect();
    let approved = |answers: &[IpAddr]| networks.permit("a.example.com", answers).is_ok();
    let each = answers.iter().all(|answer| approved(&[*answer]));
    assert_eq!(approved(&answers), each && !answers.is_empty(), "{answers:?}");
    assert!(
        Networks::parse::<&str>(&[]).unwrap().permit("a.example.com", &answers).is_err()
            || approved(&answers)
    );
    true
}

/// A place is a field name in lower case, and none that frames the message.
pub fn places_are_fields_of_their_own(bytes: &[u8]) -> bool {
    let Some(place) = read_back::<HeaderPlace>(&bytes.to_ascii_lowercase(), ToString::to_string) else {
        return false;
    };
    let framing = ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer"];
    assert!(!framing.contains(&place.as_str()));
    assert!(place.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
    true
}

/// What `bytes` are, if they are one; it is spelt as it was written, and comes back from JSON.
fn read_back<T>(bytes: &[u8], spelt: impl Fn(&T) -> String) -> Option<T>
where
    T: FromStr + PartialEq + Debug + Serialize + DeserializeOwned,
{
    let text = str::from_utf8(bytes).ok()?;
    let read: T = text.parse().ok()?;
    assert_eq!(spelt(&read), text);
    comes_back(&read);
    Some(read)
}

fn comes_back<T: PartialEq + Debug + Serialize + DeserializeOwned>(read: &T) {
    let written = serde_json::to_string(read).unwrap();
    assert_eq!(serde_json::from_str::<T>(&written).unwrap(), *read);
}

/// The first line, and the others.
fn lines(bytes: &[u8]) -> Option<(&str, Vec<&str>)> {
    let (first, others) = str::from_utf8(bytes).ok()?.split_once('\n')?;
    Some((first, others.split('\n').collect()))
}

/// An RFC 1123 label.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What resolvers read as an IPv4 address.
fn ends_in_a_number(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or(text);
    let (digits, radix) = last.strip_prefix("0x").map_or((last, 10), |digits| (digits, 16));
    digits.chars().all(|digit| digit.is_digit(radix))
}
