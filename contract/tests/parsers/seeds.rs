//! The seeds of the fuzz targets, without a fuzzer.

use std::path::Path;

use crate::{policies, sent};

type Property = fn(&[u8]);

#[test]
fn every_seed_has_the_property_of_its_target() {
    let table: [(&str, Property); 13] = [
        ("host", policies::hosts_have_one_spelling),
        ("domain_lock", policies::locks_permit_what_they_list),
        ("template", policies::templates_are_their_segments),
        ("name", policies::names_fold_once),
        ("environment", policies::environments_are_labels),
        ("upstream", policies::upstreams_are_origins),
        ("networks", policies::answers_are_approved_one_by_one),
        ("place", policies::places_are_fields_of_their_own),
        ("plaintext", sent::values_are_text),
        ("wire", sent::messages_are_understood_whole),
        ("blob", sent::blobs_have_one_spelling),
        ("sealing_keys", sent::sealing_keys_stand_under_their_names),
        ("refusal", sent::refusals_are_known_by_their_code),
    ];
    for (target, property) in table {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
        let seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|seed| seed.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{target}");
        for seed in seeds {
            property(&std::fs::read(seed).unwrap());
        }
    }
}
