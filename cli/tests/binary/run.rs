//! Runs the plugin.

use std::{
    ffi::OsStr,
    io::Write,
    process::{Command, Stdio},
};

/// What a run came to.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The plugin with `arguments`, and a kubeconfig that is not there.
pub fn command(arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-keylend"));
    command.args(arguments).env("KUBECONFIG", "/nowhere/kubeconfig");
    command
}

/// Runs the plugin with `arguments` and `input` on its standard input.
pub fn keylend_with_input(arguments: &[impl AsRef<OsStr>], input: &str) -> Run {
    run(&mut command(arguments), input)
}

/// Runs `command` with `input` on its standard input.
pub fn run(command: &mut Command, input: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever complains at once does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn keylend(arguments: &[impl AsRef<OsStr>]) -> Run {
    keylend_with_input(arguments, "")
}
