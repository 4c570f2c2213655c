//! An envelope: opens for its own binding and key, found under its name for ever, read strictly.

use proptest::prelude::*;

use super::*;

/// A binding like any other.
pub(crate) fn binding() -> Binding {
    Binding {
        cluster_uid: "cluster".to_owned(),
        namespace: "payments".to_owned(),
        name: "stripe-api-key".to_owned(),
        uid: "0e1f".to_owned(),
        secret_type: "String".to_owned(),
        environment: "production".to_owned(),
        field: "value".to_owned(),
        version: 7,
        wrap_generation: 1,
    }
}

/// Every binding that differs from [`binding`] in one part, and some whose parts read alike when joined.
pub(crate) fn elsewhere() -> Vec<Binding> {
    let text = |value: &str| value.to_owned();
    vec![
        Binding { cluster_uid: text("other"), ..binding() },
        Binding { namespace: text("partner"), ..binding() },
        Binding { name: text("other"), ..binding() },
        Binding { uid: text("0e1e"), ..binding() },
        Binding { secret_type: text("OAuth2"), ..binding() },
        Binding { environment: text("staging"), ..binding() },
        Binding { field: text("password"), ..binding() },
        Binding { version: 6, ..binding() },
        Binding { namespace: text("paymentss"), name: text("tripe-api-key"), ..binding() },
        Binding { environment: text("productionv"), field: text("alue"), ..binding() },
    ]
}

fn envelope(key: &DataKey) -> Envelope {
    key.seal(b"kl-test-value", &binding(), Provider::Local, b"wrapped".to_vec()).unwrap()
}

#[test]
fn an_envelope_opens_for_its_own_binding_and_key_only() {
    let key = DataKey::generate().unwrap();
    let resting = Envelope::parse(&envelope(&key).to_bytes().unwrap()).unwrap();
    assert_eq!(resting.wrapped(), b"wrapped");
    assert_eq!(*key.open(&resting, &binding()).unwrap(), b"kl-test-value");
    for other in elsewhere() {
        assert_eq!(key.open(&resting, &other).err(), Some(EnvelopeError::Integrity), "{other:?}");
    }
    let stranger = DataKey::generate().unwrap();
    assert_eq!(stranger.open(&resting, &binding()).err(), Some(EnvelopeError::Integrity));
}

#[test]
fn a_rewrapped_value_is_the_same_ciphertext_under_another_name_and_wrap_context() {
    let next = Binding { wrap_generation: 2, ..binding() };
    let key = DataKey::generate().unwrap();
    assert_eq!(*key.open(&envelope(&key), &next).unwrap(), b"kl-test-value");
    assert_ne!(next.envelope_name(), binding().envelope_name());
    assert_ne!(next.wrap_context(), binding().wrap_context());
}

#[test]
fn an_altered_ciphertext_does_not_open_at_any_byte() {
    let key = DataKey::generate().unwrap();
    let bytes = envelope(&key).to_bytes().unwrap();
    let first = HEAD_BYTES + b"wrapped".len();
    for at in first..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let altered = Envelope::parse(&altered).unwrap();
        assert_eq!(key.open(&altered, &binding()).err(), Some(EnvelopeError::Integrity), "{at}");
    }
}

#[test]
fn no_two_bindings_share_a_context_and_no_two_places_share_a_name() {
    let mut all = elsewhere();
    all.push(binding());
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            assert_ne!(one.value_context(), other.value_context());
            assert_ne!(one.wrap_context(), other.wrap_context());
        }
        let place = (&one.uid, &one.environment, &one.field, one.version, one.wrap_generation);
        for other in &all[at + 1..] {
            let elsewhere =
                (&other.uid, &other.environment, &other.field, other.version, other.wrap_generation);
            assert_eq!(place == elsewhere, one.envelope_name() == other.envelope_name());
        }
    }
}

#[test]
fn an_envelope_is_found_under_its_name_for_ever() {
    let name = "envelope-e71330ebcc16335ec412204aea49c44549eb3a46366d96e392d41f5d3d91f7c8";
    assert_eq!(binding().envelope_name(), name);
}

#[test]
fn bytes_that_are_no_envelope_are_refused() {
    let key = DataKey::generate().unwrap();
    let bytes = envelope(&key).to_bytes().unwrap();
    for length in 0..bytes.len() - b"kl-test-value".len() {
        assert_eq!(Envelope::parse(&bytes[..length]).err(), Some(EnvelopeError::Malformed), "{length}");
    }
    let altered = |at: usize, to: u8| {
        let mut altered = bytes.clone();
        altered[at] = to;
        Envelope::parse(&altered).err()
    };
    for (what, at, to) in
        [("format", 0, 2), ("provider", 1, 0), ("provider", 1, 2), ("wrapped length", 2, 255)]
    {
        assert_eq!(altered(at, to), Some(EnvelopeError::Malformed), "{what}");
    }
    let none = key.seal(b"kl-test-value", &binding(), Provider::Local, Vec::new()).unwrap();
    assert_eq!(Envelope::parse(&none.to_bytes().unwrap()).err(), Some(EnvelopeError::Malformed));
    let long =
        key.seal(&vec![b'x'; MAX_VALUE_BYTES + 1], &binding(), Provider::Local, b"w".to_vec()).unwrap();
    assert_eq!(Envelope::parse(&long.to_bytes().unwrap()).err(), Some(EnvelopeError::Malformed));
}

proptest! {
    #[test]
    fn whatever_parses_is_written_back_as_it_was(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = vec![FORMAT, 1, 0];
        framed.extend_from_slice(&bytes);
        for bytes in [bytes, framed] {
            if let Ok(envelope) = Envelope::parse(&bytes) {
                prop_assert_eq!(envelope.to_bytes().unwrap(), bytes);
            }
        }
    }

    #[test]
    fn every_value_comes_back(value in prop::collection::vec(any::<u8>(), 1..2000)) {
        let key = DataKey::generate().unwrap();
        let sealed = key.seal(&value, &binding(), Provider::Local, b"wrapped".to_vec()).unwrap();
        let resting = Envelope::parse(&sealed.to_bytes().unwrap()).unwrap();
        prop_assert_eq!(&*key.open(&resting, &binding()).unwrap(), &value);
    }
}
