//! Programs that `ops/setup --with-validators` installs, and those of Debian
//! beside them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the programs are that Debian does not have.
pub fn programs() -> PathBuf {
    repository().join("target/tools/validators/bin")
}

/// A validator by name.
pub fn validator(name: &str) -> Command {
    static SET_UP: OnceLock<()> = OnceLock::new();
    SET_UP.get_or_init(|| {
        // Looks only, when everything is there.
        let setup = Command::new(repository().join("ops/setup"))
            .args(["--quiet", "--with-prometheus", "--with-validators"])
            .output()
            .unwrap();
        assert!(setup.status.success(), "{}", said(&setup));
    });
    let own = programs().join(name);
    Command::new(if own.exists() { own } else { name.into() })
}

/// All that a program said.
pub fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}
