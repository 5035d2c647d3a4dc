//! Compiles the wire contract, `schema/http_log.capnp`, into Rust.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=schema/http_log.capnp");
    if Command::new("capnp").arg("--version").output().is_err() {
        eprintln!(
            "the `capnp` tool is missing: install it with `apt-get install capnproto` (macOS: `brew install capnp`)"
        );
        return ExitCode::FAILURE;
    }
    match capnpc::CompilerCommand::new()
        .src_prefix("schema")
        .file("schema/http_log.capnp")
        .run()
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("schema/http_log.capnp does not compile: {error}");
            ExitCode::FAILURE
        }
    }
}
