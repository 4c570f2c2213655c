//! The properties that the fuzz targets assert. They are those of the property tests, so that what a fuzzer finds
//! fails there too.

#[path = "../../sidecar/tests/http1/properties.rs"]
pub mod http1;
