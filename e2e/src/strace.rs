//! What a process asks of the kernel, in the order in which it does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use crate::{Container, container::signal};

/// A trace of a container's first process, all threads; it ends when this is dropped.
pub struct Strace {
    strace: Child,
    file: PathBuf,
}

impl Strace {
    /// Begins to trace `calls`, a list as strace takes it, into a file below `folder`. Sockets are written with their
    /// addresses. What was asked before the trace has begun is not in it.
    ///
    /// # Panics
    /// When there is no strace.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its trace cannot go on")]
    pub fn of(container: &Container, calls: &str, folder: &Path) -> Self {
        let file = folder.join(format!("strace-{}", container.pid));
        // In the pod's network, where strace finds the addresses.
        let strace = container
            .in_network("strace")
            .args(["--follow-forks", "--decode-fds=all", "--quiet=attach,exit", "--string-limit=2000"])
            .arg(format!("--trace={calls}"))
            .arg(format!("--attach={}", container.pid))
            .arg(format!("--output={}", file.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter is on the path");
        Self { strace, file }
    }

    /// What was traced so far, a line for each call; one that another thread interrupted has two.
    ///
    /// # Panics
    /// When strace has ended by itself.
    #[track_caller]
    #[expect(clippy::expect_used, reason = "a test without its trace cannot go on")]
    pub fn lines(&mut self) -> Vec<String> {
        let ended = self.strace.try_wait().expect("strace can be asked");
        assert!(ended.is_none(), "strace has ended: {ended:?}; is it installed?");
        let text = fs::read(&self.file).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It lets go of the process, which goes on.
        signal("TERM", self.strace.id());
        let _ = self.strace.wait();
        let _ = fs::remove_file(&self.file);
    }
}
