//! Entry point: `run`, the kubelet's `probe started|ready`, and `version`.

use std::{
    alloc::System,
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use keylend_contract::injected::{LISTENER, PROBE, RUN};
use keylend_sidecar::{
    app::{App, process},
    config::Config,
    fault::with_causes,
    probe::Probe,
};
use tokio::signal::unix::{SignalKind, signal};
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed, by us and by every library.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

const USAGE: u8 = 2;

/// Names are resolved on these, and the token is read: a few are enough, and a name server that does not answer cannot
/// make an app's calls pile up as threads.
const BLOCKING_THREADS: usize = 8;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [RUN] => run(),
        [PROBE, which] => which.parse().map_or(ExitCode::from(USAGE), probe),
        ["version"] => say(&mut io::stdout(), env!("CARGO_PKG_VERSION")),
        _ => {
            say(&mut io::stderr(), "usage: keylend-sidecar run | probe started|ready | version");
            ExitCode::from(USAGE)
        }
    }
}

fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(cause = with_causes(error.as_ref()), "the sidecar ends");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    process::log()?;
    process::close()?;
    let config = Config::from_environment()?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let bound = App::build(&config).await?;
        tracing::info!(address = %bound.address(), version = env!("CARGO_PKG_VERSION"), "listening");
        let stop = async {
            // No signal can come any more once this is `None`, so that is a stop as well.
            let _ = terminate.recv().await;
            tracing::info!("stopping");
        };
        Ok(bound.run(stop).await?)
    })
}

/// Closed like the sidecar itself: a process of the same user elsewhere on the node could else reach the token by it.
fn probe(which: Probe) -> ExitCode {
    match process::close().map(|()| which.ask(LISTENER)) {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false) | Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}

fn say(out: &mut dyn Write, text: &str) -> ExitCode {
    if writeln!(out, "{text}").is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, hint::black_box, os::unix::fs::FileExt as _};

    #[test]
    fn what_is_freed_is_wiped() {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut seen = [0; 4096];
        let value = black_box(vec![b'x'; seen.len()]);
        let place = u64::try_from(value.as_ptr().addr()).unwrap();
        memory.read_exact_at(&mut seen, place).unwrap();
        assert!(seen == *value, "this is no way to see it");
        drop(value);
        memory.read_exact_at(&mut seen, place).unwrap();
        // The system's allocator begins what is free with notes of its own.
        assert!(seen[64..].iter().all(|byte| *byte == 0), "a value is still there");
    }
}
