//! `seal` without a cluster: a blob that opens for exactly what it was sealed for, and a value that shows nowhere.

use std::path::PathBuf;

use keylend_contract::{
    blob::{Blob, Scope},
    sealing_key::{SealingKeys, SealingPrivateKey, generate_sealing_key},
};

use crate::run::{Run, keylend_with_input};

const VALUE: &str = "kl-test-4c1d7a90b2e8f365";

/// Saved sealing keys, in a folder that is gone afterwards.
struct Saved {
    folder: PathBuf,
    private: SealingPrivateKey,
}

impl Saved {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("keylend-cli-{}-{test}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (public, private) = generate_sealing_key().unwrap();
        let primary = public.id().to_string();
        let keys = SealingKeys { primary: primary.clone(), keys: [(primary, public)].into() };
        std::fs::write(folder.join("keys.json"), serde_json::to_string(&keys).unwrap()).unwrap();
        Self { folder, private }
    }

    fn seal(&self, more: &[&str], input: &str) -> Run {
        let keys = self.folder.join("keys.json").display().to_string();
        let arguments = ["seal", "stripe-api-key", "--environment", "production", "--keys", &keys];
        keylend_with_input(&[&arguments[..], more].concat(), input)
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn what_is_sealed_offline_opens_for_its_own_place_only() {
    let saved = Saved::new("opens");
    let run = saved.seal(&["--namespace", "payments"], &format!("{VALUE}\n"));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let blob: Blob = run.stdout.strip_suffix('\n').unwrap().parse().unwrap();
    let scope = Scope {
        namespace: "payments",
        name: "stripe-api-key",
        secret_type: "String",
        environment: "production",
        field: "value",
    };
    assert!(blob.open(&scope, &saved.private).unwrap().expose(|value| value == VALUE.as_bytes()));
    assert!(blob.open(&Scope { environment: "staging", ..scope }, &saved.private).is_err());
}

#[test]
fn a_value_comes_from_a_file_as_well_and_programs_read_json() {
    let saved = Saved::new("file");
    let file = saved.folder.join("value.txt");
    std::fs::write(&file, VALUE).unwrap();
    let file = file.display().to_string();
    let run = saved.seal(&["-n", "payments", "--from-file", &file, "-o", "json"], "");
    let printed: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let blob: Blob = printed["blob"].as_str().unwrap().parse().unwrap();
    assert_eq!(printed["digest"], blob.digest().to_string());
    assert_eq!(printed["sealedAtMs"], blob.sealed_at_ms());
}

#[test]
fn what_cannot_be_sealed_is_told_without_repeating_it() {
    let saved = Saved::new("told");
    let (one_more, lines) = ("x".repeat(64 * 1024 + 1), format!("{VALUE}\n{VALUE}\n"));
    // (arguments, input, said)
    let table: [(&[&str], &str, &str); 6] = [
        (&["-n", "payments"], "kl-test", "8 bytes or more"),
        (&["-n", "payments"], &lines, "without control characters"),
        (&["-n", "payments"], &one_more, "at most 65536 bytes"),
        (&[], VALUE, "needs --namespace"),
        (&["-n", "payments", "--from-file", "/nowhere/value"], "", "opening /nowhere/value"),
        (&["-n", "payments", VALUE], "", "unexpected argument"),
    ];
    for (arguments, input, said) in table {
        let run = saved.seal(arguments, input);
        assert_ne!(run.code, 0, "{said}");
        assert_eq!(run.stdout, "", "{said}");
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
        assert!(!input.contains(VALUE) || !run.stderr.contains(VALUE), "{said}: {}", run.stderr);
    }
    // The coordinates of a point that is not on the curve.
    let off = format!("BA{}", "A".repeat(85));
    let id = "0011223344556677";
    for keys in ["{}".to_owned(), format!(r#"{{"primary":"{id}","keys":{{"{id}":"{off}"}}}}"#)] {
        std::fs::write(saved.folder.join("keys.json"), keys).unwrap();
        let run = saved.seal(&["-n", "payments"], VALUE);
        assert_eq!(run.code, 1);
        assert!(run.stderr.contains("not sealing keys; fetch them with"), "{}", run.stderr);
    }
}
