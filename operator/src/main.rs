//! The operator's entry point.

use std::process::ExitCode;

use clap::Parser;
use keylend_operator::{
    app::App,
    config::{Arguments, Command},
};
use zeroizing_alloc::ZeroAlloc;

/// Whatever a library frees may have held a value.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    let Command::Run(config) = Arguments::parse().command;
    keylend_operator::app::prepare_process();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain("starting the runtime", &error),
    };
    match runtime.block_on(async { App::build(config).await?.run().await }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => complain("the operator stopped", &fault),
    }
}

fn complain(doing: &str, error: &(dyn std::error::Error + 'static)) -> ExitCode {
    tracing::error!(error, "{doing}");
    ExitCode::FAILURE
}
