//! The properties that the fuzz targets assert. They are those of the property tests, so that what a fuzzer finds
//! fails there too.

#[path = "../../contract/tests/parsers/policies.rs"]
pub mod policies;
#[path = "../../contract/tests/parsers/sent.rs"]
pub mod sent;

#[path = "../../sidecar/tests/http1/properties.rs"]
pub mod http1;

#[path = "../../sidecar/tests/carry/arbitrary.rs"]
pub mod arbitrary;

// What a whole call needs around it; the tests use more of it.
#[path = "../../sidecar/tests/carry/app.rs"]
#[allow(dead_code, unused_imports)]
mod app;
#[path = "../../sidecar/tests/carry/origin.rs"]
#[allow(dead_code, unused_imports)]
mod origin;
#[path = "../../sidecar/tests/link/scripted_operator.rs"]
#[allow(dead_code, unused_imports)]
mod scripted_operator;
#[path = "../../sidecar/tests/link/sidecar.rs"]
#[allow(dead_code, unused_imports)]
mod sidecar;
#[path = "../../sidecar/tests/carry/whole.rs"]
#[allow(dead_code, unused_imports)]
mod whole;

/// Has a write to a closed connection fail, as in every Rust program whose `main` is not libFuzzer's, rather than end
/// the process.
pub fn survive_broken_pipes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    // The handler stays for as long as the process.
    drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::pipe()).unwrap());
}
