//! What the binary says and how it exits when it can't be used as asked.

use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;

fn spoolhouse() -> Command {
    let mut command = Command::cargo_bin("spoolhouse").unwrap();
    command.env_remove("RUST_LOG");
    command
}

/// Exit code and standard error.
fn end(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_bad_configuration_is_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("spoolhouse.toml"),
        "[spool]\nroll_aftr = \"5s\"\n",
    )
    .unwrap();
    let (code, stderr) = end(spoolhouse().arg("run").current_dir(dir.path()));
    assert_eq!(
        stderr,
        "spoolhouse: spool.roll_aftr (spoolhouse.toml:2): there is no such key, \
         did you mean spool.roll_after?\n"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn a_bad_variable_and_a_missing_file_are_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = spoolhouse();
    run.arg("run")
        .current_dir(dir.path())
        .env("SPOOLHOUSE_UPLOAD__INTERVAL", "soon");
    let (code, stderr) = end(&mut run);
    assert!(stderr.starts_with("spoolhouse: upload.interval (SPOOLHOUSE_UPLOAD__INTERVAL): "));
    assert_eq!((code, stderr.lines().count()), (Some(2), 1));

    let (code, stderr) = end(spoolhouse().args(["run", "--config", "/nowhere/x.toml"]));
    assert!(stderr.starts_with("spoolhouse: can't read the configuration file /nowhere/x.toml"));
    assert_eq!((code, stderr.lines().count()), (Some(2), 1));
}

#[test]
fn an_unknown_flag_exits_with_2_and_help_with_0() {
    assert_eq!(end(spoolhouse().args(["run", "--confg"])).0, Some(2));
    assert_eq!(end(&mut spoolhouse()).0, Some(2));
    assert_eq!(end(spoolhouse().arg("--help")), (Some(0), String::new()));
    assert_eq!(
        end(spoolhouse().args(["run", "--version"])),
        (Some(0), String::new())
    );
}

#[test]
fn an_address_in_use_is_blamed_on_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut run = spoolhouse();
    run.arg("run").current_dir(dir.path());
    run.env(
        "SPOOLHOUSE_OBSERVE__LISTEN",
        taken.local_addr().unwrap().to_string(),
    );
    let (code, stderr) = end(&mut run);
    let expected =
        "spoolhouse: observe.listen (SPOOLHOUSE_OBSERVE__LISTEN): Address already in use";
    assert!(stderr.contains(expected), "{stderr}");
    assert_eq!(code, Some(2));
}
