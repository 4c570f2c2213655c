//! The operator's entry point.

use std::process::ExitCode;

use clap::Parser;
use keylend_operator::{
    app::{self, App, process},
    audit::inspect::{Verdict, inspect},
    config::{Arguments, Command, Inspection},
    fault::{Fault, with_causes},
    lift,
};
use zeroizing_alloc::ZeroAlloc;

/// Whatever a library frees may have held a value.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // The provider is installed once per process; a second installation changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    process::log();
    if let Err(fault) = process::close() {
        return complain("the operator stopped", &fault);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain("starting the runtime", &error),
    };
    let outcome = runtime.block_on(async {
        match command {
            Command::Run(config) => App::build(*config).await?.run().await.map(|()| ExitCode::SUCCESS),
            Command::Lift => lift::lift(&app::client().await?).await.map(|()| ExitCode::SUCCESS),
            Command::VerifyAudit(Inspection { audit_directory, heads }) => {
                match inspect(&audit_directory, &heads, &mut std::io::stdout()) {
                    Ok(Verdict::Whole) => Ok(ExitCode::SUCCESS),
                    Ok(Verdict::Flawed) => Ok(ExitCode::FAILURE),
                    Err(error) => Err(Fault::new("reading the audit log", error)),
                }
            }
        }
    });
    match outcome {
        Ok(code) => code,
        Err(fault) => complain("the operator stopped", &fault),
    }
}

fn complain(doing: &str, error: &(dyn std::error::Error + 'static)) -> ExitCode {
    tracing::error!(error = with_causes(error), "{doing}");
    ExitCode::FAILURE
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
