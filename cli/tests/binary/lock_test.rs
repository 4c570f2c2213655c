//! `lock test`: one line an input, in order, and an exit code that scripts can rely on.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use serde_json::json;

use crate::run::{Run, keylend};

/// What calls in a cluster are held to as well.
const TABLE: &str = include_str!("../../../contract/testdata/domain_lock.tsv");

fn lock_test(domains: &[&str], hosts: &[&str]) -> Run {
    let mut arguments = vec!["lock", "test"];
    for domain in domains {
        arguments.extend(["--domain", domain]);
    }
    arguments.push("--");
    arguments.extend(hosts);
    keylend(&arguments)
}

#[test]
fn each_host_gets_its_line_in_order() {
    let domains = ["api.example.com", "*.example.org"];
    let run = lock_test(
        &domains,
        &["a.example.org", "example.org", "api.example.com", "API.example.com", "a.example.org", "-x", ""],
    );
    let expected = "permitted\ta.example.org\n\
        refused\texample.org\thost_not_approved\n\
        permitted\tapi.example.com\n\
        refused\tAPI.example.com\thost_not_a_name\n\
        permitted\ta.example.org\n\
        refused\t-x\thost_not_a_name\n\
        refused\t\thost_not_a_name\n";
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (1, expected, ""));
    let run = lock_test(&domains, &["api.example.com", "b.example.org"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "permitted\tapi.example.com\npermitted\tb.example.org\n")
    );
}

#[test]
fn no_input_can_look_like_another_line() {
    let run = lock_test(
        &["api.example.com"],
        &[
            "x\npermitted\tapi.evil.test",
            "evil.com\\ngood.com",
            "bücher.example",
            "it's.\"a\"",
            "a\u{2028}b\u{202e}c\u{200b}d\u{85}e\u{feff}",
            "a\u{200e}b\u{200f}c\u{61c}d\u{2066}e\u{200d}",
        ],
    );
    let expected = "refused\tx\\npermitted\\tapi.evil.test\thost_not_a_name\n\
        refused\tevil.com\\ngood.com\thost_not_a_name\n\
        refused\tbücher.example\thost_not_a_name\n\
        refused\tit's.\"a\"\thost_not_a_name\n\
        refused\ta\\u{2028}b\\u{202e}c\u{200b}d\\u{85}e\u{feff}\thost_not_a_name\n\
        refused\ta\\u{200e}b\\u{200f}c\\u{61c}d\\u{2066}e\u{200d}\thost_not_a_name\n";
    assert_eq!((run.code, run.stdout.as_str()), (1, expected));
    let bytes = [
        OsStr::new("lock"),
        OsStr::new("test"),
        OsStr::new("--domain=a.example.com"),
        OsStr::from_bytes(b"\xff.com"),
    ];
    let run = keylend(&bytes);
    assert_eq!((run.code, run.stdout.as_str()), (1, "refused\t\\xff.com\thost_not_a_name\n"));
    let bytes = [&bytes[..2], &[OsStr::from_bytes(b"--domain=a\n\\\xff.com"), OsStr::new("a.com")]].concat();
    let run = keylend(&bytes);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("'a\\n\\\\xff.com'"), "{}", run.stderr);
}

#[test]
fn a_host_that_begins_like_a_flag_never_passes_as_one() {
    let flags = [
        "-h.example.com",
        "-nfoo.example.com",
        "-ojson",
        "-dapi.example.com",
        "--help.example.com",
        "-x",
        "-h",
    ];
    for host in flags {
        let run = keylend(&["lock", "test", "--domain=api.example.com", "api.example.com", host]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{host}: {}", run.stderr);
        assert!(run.stderr.contains("put -- before the hosts"), "{host}: {}", run.stderr);
        let run = lock_test(&["api.example.com"], &["api.example.com", host]);
        let expected = format!("permitted\tapi.example.com\nrefused\t{host}\thost_not_a_name\n");
        assert_eq!((run.code, run.stdout), (1, expected), "{host}");
    }
    let run = keylend(&[
        "-n",
        "lock",
        "lock",
        "test",
        "-o",
        "text",
        "-d",
        "-x.a.com",
        "-d=a.example.com",
        "a.example.com",
    ]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    let flagged = [
        "-n",
        "p",
        "lock",
        "test",
        "-o",
        "text",
        "--domain=a.example.com",
        "-d",
        "b.example.com",
        "b.example.com",
    ];
    let run = keylend(&flagged);
    assert_eq!((run.code, run.stdout.as_str()), (0, "permitted\tb.example.com\n"), "{}", run.stderr);
    assert!(keylend(&["lock", "test", "-h"]).stdout.contains("[--] <HOST>..."));
}

#[test]
fn before_the_dashes_a_flag_may_hold_its_value_and_a_host_still_passes_as_none() {
    let hosts = ["--domain=a.com", "--", "a.com"];
    // (before the hosts, exit code, said)
    let table: [(&[&str], i32, &str); 13] = [
        (&["-ojson"], 0, ""),
        (&["-o=json"], 0, ""),
        (&["-otext", "-n=foo"], 0, ""),
        (&["-nfoo"], 0, ""),
        (&["-db.com"], 0, ""),
        (&["-d=b.com"], 0, ""),
        (&["-h.a.com"], 2, "'-h.a.com' begins like a flag"),
        (&["-hojson"], 2, "'-hojson' begins like a flag"),
        (&["-n.a.com"], 2, "such as payments"),
        (&["-d-h.a.com"], 2, "'-h.a.com'"),
        (&["-x"], 2, "'-x' begins like a flag"),
        (&["-h"], 2, "'-h' goes without --domain"),
        (&["--help"], 2, "'--help' goes without --domain"),
    ];
    for (more, code, said) in table {
        let run = keylend(&[&["lock", "test"], more, &hosts].concat());
        assert_eq!((run.code, run.stdout.is_empty()), (code, code == 2), "{more:?}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{more:?}: {}", run.stderr);
        let run = keylend(&[&["lock", "test"], &hosts[..1], more, &hosts[2..]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{more:?}");
        assert!(run.stderr.contains("put -- before the hosts"), "{more:?}: {}", run.stderr);
    }
    // The first -- is the value of -d, as clap has it; what follows may still be a flag.
    let run = keylend(&["lock", "test", "-da.com", "-d", "--", "-h.a.com"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
}

#[test]
fn an_invalid_domain_is_named_and_nothing_is_judged() {
    for domain in
        ["*.com", "", "-x.example.com", "api.example.com:443", "Api.example.com", "a.*.com", "10.0.0.1"]
    {
        let run = lock_test(&["api.example.com", domain], &["api.example.com"]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{domain}");
        assert!(run.stderr.contains(&format!("'{domain}'")), "{domain}: {}", run.stderr);
    }
    let many = vec!["api.example.com"; 65];
    let run = lock_test(&many, &["api.example.com"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("at most 64 domains"), "{}", run.stderr);
}

#[test]
fn programs_read_json() {
    let run = keylend(&[
        "lock",
        "test",
        "-o",
        "json",
        "-d",
        "api.example.com",
        "api.example.com",
        "Api.example.com",
        "x.example.com",
    ]);
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        json!({"host": "api.example.com", "permitted": true, "code": null, "reason": null}),
        json!({
            "host": "Api.example.com", "permitted": false, "code": "host_not_a_name",
            "reason": "this is not a host name: write this host name as api.example.com",
        }),
        json!({
            "host": "x.example.com", "permitted": false, "code": "host_not_approved",
            "reason": "the host 'x.example.com' is not approved by the owner",
        }),
    ];
    assert_eq!((run.code, lines.as_slice()), (1, expected.as_slice()));
}

#[test]
fn the_verdicts_are_those_of_calls_in_a_cluster() {
    let mut permitted = 0;
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = line.split('\t').collect();
        let [domains, host, verdict] = columns[..] else { panic!("three columns: {line}") };
        let run = lock_test(&domains.split(' ').collect::<Vec<_>>(), &[host]);
        let expected = match verdict {
            "permitted" => (0, format!("permitted\t{host}\n")),
            "invalid" => (2, String::new()),
            code => (1, format!("refused\t{host}\t{code}\n")),
        };
        permitted += usize::from(verdict == "permitted");
        assert_eq!((run.code, run.stdout), expected, "{line}");
    }
    assert!(permitted > 3);
}
