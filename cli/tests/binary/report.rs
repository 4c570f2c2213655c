//! Where a run's result and its complaint go, and what happens where nobody takes them.

use std::{fs::File, io::Read as _, process::Stdio};

use serde_json::Value;

use crate::run::{command, keylend};

const JUDGED: [&str; 5] = ["lock", "test", "--domain=api.example.com", "--", "api.example.com"];

#[test]
fn a_result_that_cannot_be_written_is_a_failure_and_no_panic() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command(&JUDGED).stdout(full).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.starts_with("error: writing the result: No space left"), "{complaint}");

    let mut child = command(&JUDGED[..4])
        .args(vec!["api.example.com"; 20_000])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 9]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}

#[test]
fn programs_read_why_a_run_failed_as_one_line_of_json() {
    // (arguments, code, said)
    let table: [(&[&str], i32, &str); 6] = [
        (&["status", "stripe", "-o", "json"], 1, "/nowhere/kubeconfig"),
        (&["put", "-o=json"], 2, "<NAME>"),
        (&["--output", "json", "get"], 2, "'get'"),
        (&["lock", "test", "--output=json", "-d", "*.com", "--", "a.com"], 2, "'*.com'"),
        (&["lock", "test", "-o", "json", "-d", "a.com", "-x"], 2, "put -- before"),
        (&["status", "a", "-ojson", "--color"], 2, "'--color'"),
    ];
    for (arguments, code, said) in table {
        let run = keylend(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{arguments:?}: {}", run.stderr);
        let complaint: Value = serde_json::from_str(&run.stderr).unwrap();
        let sentence = complaint["error"].as_str().unwrap();
        assert!(sentence.contains(said) && !sentence.starts_with("error"), "{sentence}");
        assert_eq!((complaint.as_object().unwrap().len(), run.stderr.lines().count()), (1, 1), "{complaint}");
    }
    let text = keylend(&["put", "--", "-o", "json"]);
    assert!(text.stderr.starts_with("error: "), "{}", text.stderr);
}
