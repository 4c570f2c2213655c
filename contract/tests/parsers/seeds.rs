//! The properties of the fuzz targets, without a fuzzer: on their seeds, on seeds with a few bytes changed, on any bytes.

use std::{collections::BTreeSet, fs, iter, path::PathBuf};

use keylend_contract::wire::{Answer, Ask, Enrol, EnrolAnswer, Renew, RenewAnswer, WireError, decode};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{policies, sent};

/// Says whether the bytes were accepted.
type Property = fn(&[u8]) -> bool;

const TABLE: [(&str, Property); 14] = [
    ("host", policies::hosts_have_one_spelling),
    ("domain_lock", policies::locks_permit_what_they_list),
    ("template", policies::templates_are_their_segments),
    ("name", policies::names_fold_once),
    ("environment", policies::environments_are_labels),
    ("upstream", policies::upstreams_are_origins),
    ("networks", policies::answers_are_approved_one_by_one),
    ("place", policies::places_are_fields_of_their_own),
    ("plaintext", sent::values_are_text),
    ("material", sent::fields_are_their_parts),
    ("wire", sent::messages_are_understood_whole),
    ("blob", sent::blobs_have_one_spelling),
    ("sealing_keys", sent::sealing_keys_stand_under_their_names),
    ("refusal", sent::refusals_are_known_by_their_code),
];

#[test]
fn each_fuzz_target_of_these_properties_is_in_the_table() {
    let ours = |target: &PathBuf| {
        let text = fs::read_to_string(target).unwrap();
        text.contains("keylend_fuzz::policies") || text.contains("keylend_fuzz::sent")
    };
    let targets = files("fuzz_targets").filter(ours);
    let targets: BTreeSet<_> = targets.map(|path| path.file_stem().unwrap().to_owned()).collect();
    assert_eq!(targets, TABLE.map(|(target, _)| target.into()).into());
}

#[test]
fn every_seed_has_the_property_of_its_target_and_one_at_least_is_accepted() {
    for (target, property) in TABLE {
        let accepted = seeds(target).filter(|seed| property(seed)).count();
        assert!(accepted > 0, "{target}");
    }
}

#[test]
fn the_seeds_of_messages_are_messages_and_with_one_more_field_they_are_none() {
    fn read<M: DeserializeOwned>(bytes: &[u8]) -> Result<(), WireError> {
        decode::<M>(bytes).map(drop)
    }
    for (seed, read) in [
        ("ask", read::<Ask> as fn(&[u8]) -> _),
        ("granted", read::<Answer>),
        ("refused", read::<Answer>),
        ("renew", read::<Renew>),
        ("verdicts", read::<RenewAnswer>),
        ("enrol", read::<Enrol>),
        ("enrolled", read::<EnrolAnswer>),
    ] {
        let bytes = fs::read(folder("seeds/wire").join(seed)).unwrap();
        assert!(read(&bytes).is_ok(), "{seed}");
        let (length, rest) = bytes.split_first_chunk::<4>().unwrap();
        let (json, values) = rest.split_at(u32::from_be_bytes(*length).try_into().unwrap());
        let message: Value = serde_json::from_slice(json).unwrap();
        // serde passes over what stands beside a bare code, which is a no all the same.
        let bare = json!({"code": "caller_unknown"});
        for place in objects(&message, "").iter().filter(|place| message.pointer(place) != Some(&bare)) {
            let mut message = message.clone();
            message.pointer_mut(place).unwrap()["onlyIf"] = "monday".into();
            let json = serde_json::to_vec(&message).unwrap();
            let length = u32::try_from(json.len()).unwrap().to_be_bytes();
            assert!(read(&[&length, &*json, values].concat()).is_err(), "{seed}{place}");
        }
    }
}

/// Where in `message` objects are, as JSON pointers.
fn objects(message: &Value, at: &str) -> Vec<String> {
    let below = |(key, value): (String, &Value)| objects(value, &format!("{at}/{key}"));
    match message {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), value));
            iter::once(at.to_owned()).chain(fields.flat_map(below)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).flat_map(below).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes_have_every_property(bytes in vec(any::<u8>(), 0..300)) {
        for (_, property) in TABLE {
            property(&bytes);
        }
    }

    #[test]
    fn seeds_with_a_few_bytes_changed_have_the_property_of_their_target(edits in vec(edit(), 1..4)) {
        for (target, property) in TABLE {
            seeds(target).for_each(|seed| _ = property(&edited(seed, &edits)));
        }
    }
}

/// What the parsers turn on.
const TELLING: &[u8] = b" \t\r\n\0.-_*:/@{}[]\"";

/// Where, how many bytes go, and what comes in their place.
type Edit = (Index, usize, Vec<u8>);

fn edit() -> impl Strategy<Value = Edit> {
    (any::<Index>(), 0..3_usize, vec(prop_oneof![any::<u8>(), b' '..=b'~', select(TELLING)], 0..3))
}

fn edited(mut seed: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for (at, gone, come) in edits {
        let from = at.index(seed.len() + 1);
        let to = seed.len().min(from + gone);
        seed.splice(from..to, come.iter().copied());
    }
    seed
}

fn seeds(target: &str) -> impl Iterator<Item = Vec<u8>> + use<> {
    files(&format!("seeds/{target}")).map(|seed| fs::read(seed).unwrap())
}

fn files(name: &str) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder(name)).unwrap().map(|file| file.unwrap().path())
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name)
}
