//! What the kernel knows of a process: processor time, memory, and when it began.

use std::{fs, io, path::PathBuf};

use jiff::Timestamp;
use keylend_e2e::{Container, Kubectl, Pod, node};
use serde_json::Value;

/// How many ticks a second has in `/proc/*/stat`, on every Linux we build for.
const TICKS: f64 = 100.0;

/// One process.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

impl Process {
    /// The process with the number `pid`.
    pub fn number(pid: u32) -> Self {
        Self(pid)
    }

    /// The first process of a container.
    pub fn of(container: &Container) -> Self {
        Self(container.pid)
    }

    /// A program of the cluster itself, such as `etcd`.
    pub fn daemon(name: &str) -> io::Result<Self> {
        let pid = fs::read_to_string(node::paths().pid_files.join(format!("{name}.pid")))?;
        pid.split_whitespace().next().and_then(|pid| pid.parse().ok()).map(Self).ok_or_else(|| odd(&pid))
    }

    /// Microseconds of processor time that its threads have used.
    pub fn used(self) -> io::Result<f64> {
        let mut nanoseconds = 0.0;
        for thread in fs::read_dir(self.file("task"))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let on_processor = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
            nanoseconds += on_processor.ok_or_else(|| odd(&text))?;
        }
        Ok(nanoseconds / 1e3)
    }

    /// Resident bytes, those of the program's own file included.
    pub fn resident(self) -> io::Result<u64> {
        let text = fs::read_to_string(self.file("smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kilobytes =
            line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| odd(&text))
    }

    /// Milliseconds from its start, which the kernel knows to ten, to the first line of its log that says `ready`.
    pub fn start(self, pod: &Pod, container: &str, ready: &str) -> io::Result<f64> {
        let log =
            Kubectl::admin(&pod.namespace).run(&["logs", &pod.name, "--container", container]).expect_ok();
        let line = log.lines().find(|line| line.contains(ready)).ok_or_else(|| odd(&log))?;
        let line: Value = serde_json::from_str(line)?;
        let said = line["timestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let said = said.ok_or_else(|| odd(&line.to_string()))?;
        let up = fs::read_to_string("/proc/uptime")?;
        let up = up.split(' ').next().and_then(|field| field.parse::<f64>().ok()).ok_or_else(|| odd(&up))?;
        let ago = Timestamp::now().duration_since(said).as_secs_f64();
        Ok((up - ago - self.began()?) * 1e3)
    }

    /// Seconds after the machine's own start. The name in the second field may hold anything, but ends with the last ")".
    fn began(self) -> io::Result<f64> {
        let text = fs::read_to_string(self.file("stat"))?;
        let fields = text.rsplit_once(") ").map(|(_, fields)| fields);
        let began = fields.and_then(|fields| fields.split(' ').nth(19)?.parse::<f64>().ok());
        began.map(|ticks| ticks / TICKS).ok_or_else(|| odd(&text))
    }

    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }
}

fn odd(text: &str) -> io::Error {
    io::Error::other(format!("not understood: {text}"))
}
