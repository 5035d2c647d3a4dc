//! The binary: everything is in the library.

fn main() -> spoolhouse::cli::Exit {
    spoolhouse::cli::main()
}
