//! Which cluster is meant: `--kubeconfig`, or the variable as kubectl reads it.

use std::{net::TcpListener, path::PathBuf};

use crate::run::{Run, command, run};

/// Kubeconfigs in a folder that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("keylend-kubeconfig-{}-{test}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, entries: &str) -> String {
        let file = self.0.join(name);
        std::fs::write(&file, format!("apiVersion: v1\nkind: Config\n{entries}\n")).unwrap();
        file.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An address of this machine where nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn status(variable: Option<&str>, home: &str, more: &[&str]) -> Run {
    let mut command = command(&[&["status", "stripe"], more].concat());
    command.env("HOME", home).env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST");
    if let Some(variable) = variable {
        command.env("KUBECONFIG", variable);
    }
    run(&mut command, "")
}

#[test]
fn a_list_in_the_variable_is_merged_and_an_empty_variable_is_none() {
    let folder = Folder::new("list");
    let server = nobody();
    let contexts = "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]";
    let rest = format!(
        "clusters: [{{name: a, cluster: {{server: 'http://{server}'}}}}]\nusers: [{{name: a, user: {{}}}}]"
    );
    let list = format!("{}:{}", folder.write("contexts", contexts), folder.write("rest", &rest));
    let home = folder.0.display().to_string();
    std::fs::create_dir(folder.0.join(".kube")).unwrap();
    let one = folder.write(".kube/config", &format!("{contexts}\n{rest}"));
    // (variable, flags)
    let table: [(Option<&str>, &[&str]); 5] = [
        (Some(&list), &[]),
        (Some(""), &[]),
        (None, &[]),
        (Some("/nowhere/kubeconfig"), &["--kubeconfig", &one]),
        (Some(&list), &["--context", "a"]),
    ];
    for (variable, flags) in table {
        let run = status(variable, &home, flags);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{variable:?}");
        assert!(run.stderr.contains("reading Route 'stripe'"), "{variable:?} {flags:?}: {}", run.stderr);
    }
    let run = status(Some("/nowhere/kubeconfig"), &home, &[]);
    assert!(run.stderr.contains("/nowhere/kubeconfig"), "{}", run.stderr);
}
