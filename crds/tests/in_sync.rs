//! The committed YAML is what the Rust types generate.

use std::path::Path;

#[test]
fn the_committed_yaml_is_what_the_types_generate() {
    for definition in keylend_crds::definitions() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(keylend_crds::file_name(&definition));
        let committed = std::fs::read_to_string(&path).unwrap();
        assert_eq!(committed, keylend_crds::yaml(&definition).unwrap(), "run `make generate`");
    }
}
