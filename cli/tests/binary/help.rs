//! What the plugin says about itself, and what it answers to arguments that make no sense.

use crate::run::keylend;

const COMMANDS: [&[&str]; 8] = [
    &["put"],
    &["seal"],
    &["lock", "test"],
    &["share", "create"],
    &["share", "revoke"],
    &["accept"],
    &["status"],
    &["version"],
];

#[test]
fn every_command_shows_an_example_of_itself() {
    for command in COMMANDS {
        let run = keylend(&[command, &["--help"]].concat());
        assert_eq!(run.code, 0, "{command:?}");
        let (_, examples) = run.stdout.split_once("Examples:").unwrap();
        assert!(
            examples.contains(&format!("kubectl keylend {} ", command.join(" "))),
            "{command:?}: {examples}"
        );
    }
    let all = keylend(&["--help"]).stdout;
    for command in COMMANDS.iter().map(|command| command[0]) {
        assert!(all.contains(&format!("\n  {command} ")), "{command}: {all}");
    }
}

#[test]
fn help_says_in_full_what_a_command_does() {
    // (command, said)
    let table = [
        ("put", "the very next call of everyone the secret is shared with carries the new value"),
        ("put", "Make the secret if there is none; needs --environment"),
        ("seal", "spec.environments[].sealed.value"),
        ("seal", "for sealing without a cluster; needs --namespace"),
        ("accept", "Makes a Secret of type Linked"),
        ("status", "Exits with 1 if a link refuses"),
        ("lock", "kubectl keylend lock test"),
        ("share", "kubectl keylend share revoke"),
    ];
    let all = keylend(&["--help"]).stdout;
    for (command, said) in table {
        let help = keylend(&[command, "--help"]).stdout;
        assert!(help.contains(said), "{command}: {help}");
        assert!(!all.contains(said), "{command}: one line a command: {all}");
    }
}

#[test]
fn help_says_what_the_exit_codes_mean() {
    let help = keylend(&["--help"]).stdout;
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let codes: Vec<_> = codes.lines().filter_map(|line| line.trim_start().split_once("  ")).collect();
    assert_eq!(codes.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["0", "1", "2"], "{help}");
}

#[test]
fn arguments_that_make_no_sense_are_named_and_exit_with_2() {
    let create =
        ["share", "create", "partner", "--secret=a", "--environment=production", "--to-namespace=partner"];
    let with = |more: &[&'static str]| [&create[..], more].concat();
    // (arguments, named)
    let table = [
        (vec![], "Usage: kubectl keylend"),
        (vec!["get"], "'get'"),
        (vec!["lock", "test", "a.example.com"], "--domain"),
        (vec!["lock", "test", "--domain=a.example.com"], "<HOST>"),
        (vec!["put"], "<NAME>"),
        (vec!["put", "a.b"], "'a.b'"),
        (vec!["put", "a", "--environment=Production"], "'Production'"),
        (vec!["put", "a", "--create"], "--environment <ENVIRONMENT>"),
        (vec!["seal", "a"], "--environment"),
        (vec!["status"], "<ROUTE>"),
        (vec!["seal", "a", "--environment=e", "-n", ""], "such as payments"),
        (vec!["seal", "a", "--environment=e", "-n", "Bad NS"], "such as payments"),
        (vec!["share", "create", ""], "such as partner"),
        (vec!["accept", "partner", "--name=a", "--environment=e"], "NAMESPACE/NAME"),
        (vec!["accept", "Payments/partner", "--name=a", "--environment=e"], "such as payments"),
        (vec!["put", "a", "--timeout=18446744073709551615"], "from 1 to 3600"),
        (vec!["put", "a", "--timeout=99999999999999999999"], "from 1 to 3600"),
        (vec!["share", "revoke", "a", "--timeout=0"], "from 1 to 3600"),
        (with(&[]), "--domain"),
        (with(&["--domain=a.example.com", "--port=0"]), "--port"),
        (with(&["--domain=a.example.com", "--header=Host"]), "'Host'"),
        (with(&["--domain=*.com"]), "'*.com'"),
        (with(&["--domain=a.example.com", "--network=10.0.0.1/8"]), "10.0.0.0/8"),
        (vec!["share", "create", "a", "--to-namespace=a.b"], "such as payments"),
        (with(&["--domain=a.example.com", "--service-account="]), "such as partner"),
        (with(&["--domain=a.example.com", "--expires-at=soon"]), "such as 2030-01-31T18:00:00Z"),
        (with(&["--domain=a.example.com", "--expires-at=2020-01-01T00:00:00Z"]), "in the past"),
        (with(&["--domain=a.example.com", "--expires-in", "-1h"]), "such as 24h"),
        (with(&["--domain=a.example.com", "--ca-bundle=/dev/null"]), "BEGIN CERTIFICATE"),
        (with(&["--domain=a.example.com", "--ca-bundle=/nowhere/ca.pem"]), "No such file"),
        (
            with(&["--domain=a.example.com", "--expires-in=1h", "--expires-at=2126-01-01T00:00:00Z"]),
            "--expires-at",
        ),
    ];
    for (arguments, named) in table {
        let run = keylend(&arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(run.stderr.contains(named), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn without_a_cluster_commands_say_so_and_version_still_answers() {
    for arguments in [&["status", "stripe"][..], &["share", "revoke", "p"], &["put", "a"]] {
        let run = keylend(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains("kubeconfig"), "{}", run.stderr);
    }
    let run = keylend(&["version"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.starts_with(&format!("plugin    {}", env!("CARGO_PKG_VERSION"))), "{}", run.stdout);
}

#[test]
fn a_share_for_git_is_printed_without_a_cluster_and_what_it_lacks_is_told() {
    let create = ["share", "create", "partner", "--secret=a", "--environment=e", "--to-namespace=partner"];
    let print = |more: &[&'static str]| keylend(&[&create[..], &["--domain=a.example.com"], more].concat());
    let run = print(&["--dry-run", "--namespace=payments"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let share: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(share["metadata"], serde_json::json!({"name": "partner", "namespace": "payments"}));
    assert_eq!(share["spec"]["recipient"], serde_json::json!({"namespace": {"name": "partner"}}));
    assert!(run.stderr.starts_with("warning: the share is printed without the UID"), "{}", run.stderr);
    assert!(run.stderr.contains("kubeconfig"), "{}", run.stderr);
    // (arguments, named): what the cluster would have to tell, and what is made in it
    for (more, named) in [(&["--dry-run"][..], "--namespace"), (&["--namespace=payments"], "kubeconfig")] {
        let run = print(more);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{more:?}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(named), "{more:?}: {}", run.stderr);
    }
}
