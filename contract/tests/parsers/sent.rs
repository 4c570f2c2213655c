//! What machines send: bytes are refused, or mean one thing that is written again as it was understood. Each property says
//! whether they were accepted.

use keylend_contract::{
    blob::{Blob, BlobError, Scope},
    material::{HeaderMaterial, Material, Part},
    plaintext::{MAX_VALUE_BYTES, MIN_VALUE_BYTES, Plaintext},
    refusal::Refusal,
    sealing_key::{SealingKeys, SealingPrivateKey},
    wire::{Answer, Ask, Enrol, EnrolAnswer, Renew, RenewAnswer, decode, encode},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use zeroize::Zeroizing;

/// The first version's format and the one suite, 9 of the characters they take.
const FORMAT_AND_SUITE: &str = "kl1.AQAQAAEAA";

/// A value is what can stand in a field and be found in a response, byte by byte as it came.
pub fn values_are_text(bytes: &[u8]) -> bool {
    let Ok(value) = Plaintext::parse(Zeroizing::new(bytes.to_vec())) else { return false };
    assert!(value.expose(|lent| lent == bytes));
    assert!((MIN_VALUE_BYTES..=MAX_VALUE_BYTES).contains(&bytes.len()));
    assert!(bytes.iter().all(|byte| *byte == b'\t' || matches!(byte, b' '..=b'~')));
    assert_eq!(bytes.trim_ascii(), bytes);
    true
}

/// A field is its parts, one after the other; one that points at no value is not written.
pub fn fields_are_their_parts(bytes: &[u8]) -> bool {
    let Ok(field) = serde_json::from_slice::<HeaderMaterial>(bytes) else { return false };
    let values = ["kl-test-first", "kl-test-second"];
    let part = |part: &Part| match part {
        Part::Literal(text) => Some(text.clone()),
        Part::Value(index) => values.get(*index).map(ToString::to_string),
    };
    let written: Option<String> = field.parts.iter().map(part).collect();
    let value = |text: &str| Plaintext::parse(Zeroizing::new(text.as_bytes().to_vec())).unwrap();
    let material = Material { headers: vec![], values: values.map(value).into() };
    assert_eq!(material.render(&field).map(|field| field.to_vec()), written.map(String::into_bytes));
    assert_eq!(
        serde_json::from_slice::<HeaderMaterial>(&serde_json::to_vec(&field).unwrap()).unwrap(),
        field
    );
    true
}

/// Whatever is taken for a message says the same once it is written again.
pub fn messages_are_understood_whole(bytes: &[u8]) -> bool {
    let accepted = [
        written_again::<Ask>(bytes),
        written_again::<Answer>(bytes),
        written_again::<Renew>(bytes),
        written_again::<RenewAnswer>(bytes),
        written_again::<Enrol>(bytes),
        written_again::<EnrolAnswer>(bytes),
    ];
    accepted.contains(&true)
}

fn written_again<M: Serialize + DeserializeOwned>(bytes: &[u8]) -> bool {
    let Ok((message, values)) = decode::<M>(bytes) else { return false };
    assert!(decode::<M>(&[bytes, b"x"].concat()).is_err() && decode::<M>(&bytes[..bytes.len() - 1]).is_err());
    // What was spelt shorter than we spell it may no longer fit.
    let Ok(written) = encode(&message, &values) else { return true };
    let (again, values_again) = decode::<M>(&written).unwrap();
    assert_eq!(values.len(), values_again.len());
    assert_eq!(*encode(&again, &values_again).unwrap(), *written);
    true
}

/// A blob is spelt as it was written, and opens for nobody whom it was not sealed for.
pub fn blobs_have_one_spelling(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let Ok(blob) = text.parse::<Blob>() else { return false };
    assert_eq!(blob.to_string(), text);
    assert!(text.starts_with(FORMAT_AND_SUITE), "{text}");
    assert_eq!((blob.key().to_string().len(), blob.digest().to_string().len()), (16, 64));
    let scope = Scope { namespace: "a", name: "b", secret_type: "String", environment: "c", field: "value" };
    let opened = blob.open(&scope, &SealingPrivateKey::from_bytes(&[1; 32]));
    assert!(matches!(opened, Err(BlobError::DoesNotOpen)));
    let _ = blob.sealed_at_ms();
    true
}

/// The key to seal to is the one of its name.
pub fn sealing_keys_stand_under_their_names(bytes: &[u8]) -> bool {
    let Ok(keys) = serde_json::from_slice::<SealingKeys>(bytes) else { return false };
    assert_eq!(serde_json::from_slice::<SealingKeys>(&serde_json::to_vec(&keys).unwrap()).unwrap(), keys);
    if let Ok(primary) = keys.primary() {
        assert_eq!(primary.id().to_string(), keys.primary);
    }
    true
}

/// A refusal is known by its code, on the wire as in the problem an app reads.
pub fn refusals_are_known_by_their_code(bytes: &[u8]) -> bool {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(bytes) else { return false };
    let written = serde_json::to_value(&refusal).unwrap();
    assert_eq!(written["code"], refusal.code());
    assert_eq!(serde_json::from_value::<Refusal>(written).unwrap(), refusal);
    let problem: Value = serde_json::from_str(&refusal.problem()).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&refusal.code().into(), &refusal.status().into()));
    assert_eq!(problem["error"], refusal.to_string());
    assert!((400..600).contains(&refusal.status()));
    true
}
