//! `crdgen DIRECTORY`: writes each custom resource definition as YAML into the directory.

use std::{path::Path, process::ExitCode};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        return complain("usage: crdgen DIRECTORY");
    };
    for definition in keylend_crds::definitions() {
        if let Err(error) = write(Path::new(&directory), &definition) {
            return complain(&error);
        }
    }
    ExitCode::SUCCESS
}

fn write(directory: &Path, definition: &CustomResourceDefinition) -> Result<(), String> {
    let yaml = keylend_crds::yaml(definition).map_err(|error| error.to_string())?;
    let path = directory.join(keylend_crds::file_name(definition));
    std::fs::write(&path, yaml).map_err(|error| format!("writing {}: {error}", path.display()))
}

#[expect(clippy::print_stderr, reason = "a command's complaint goes to standard error")]
fn complain(message: &str) -> ExitCode {
    eprintln!("crdgen: {message}");
    ExitCode::FAILURE
}
