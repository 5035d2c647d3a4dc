//! What the binary says and how it exits when it can't be used as asked, and
//! what it keeps for terminals.

use std::process::{Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;

use crate::support::exclusive::quiet;
use crate::support::golden::{self, golden_spool};

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

/// What a shell's command line prints on a terminal of its own.
fn on_terminal(line: &str, environment: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut script = Command::new("script");
    script
        .args(["-qec", line, "/dev/null"])
        .current_dir(dir.path());
    for variable in ["RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        script.env_remove(variable);
    }
    script
        .env("TERM", "xterm")
        .envs(environment.iter().copied());
    let output = script.stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    // A process has a second to say something.
    let _quiet = quiet();
    let binary = env!("CARGO_BIN_EXE_spoolhouse");
    let help = format!("{binary} --help");
    let alone = [
        ("SPOOLHOUSE_KAFKA__BROKERS", "127.0.0.1:1"),
        ("SPOOLHOUSE_OBSERVE__LISTEN", "127.0.0.1:0"),
        ("SPOOLHOUSE_RUN__SHUTDOWN_AFTER", "1s"),
    ];
    let logs = format!("timeout -s TERM -k 9 1 {binary} run");
    for line in [&help, &logs] {
        let coloured = on_terminal(line, &alone);
        assert!(coloured.contains('\u{1b}'), "{line}: {coloured}");
        let plain = on_terminal(line, &[&alone[..], &[("NO_COLOR", "1")]].concat());
        assert!(
            plain.contains("spool") && !plain.contains('\u{1b}'),
            "{line}: {plain}"
        );
        let piped = on_terminal(&format!("{line} 2>&1 | cat"), &alone);
        assert!(
            piped.contains("spool") && !piped.contains('\u{1b}'),
            "{line}: {piped}"
        );
    }
}

#[test]
fn nothing_moves_a_cursor_where_there_is_none() {
    let commands: [&[&str]; 6] = [
        &["status"],
        &["verify"],
        &["check"],
        &["replay-undecodable", "--dry-run"],
        &["upload", "rejected/nothing.parquet", "--dry-run"],
        &["produce", "--dry-run", "--count", "100000"],
    ];
    for arguments in commands {
        let dir = golden_spool();
        let mut command = spoolhouse();
        command.args(arguments).current_dir(dir.path());
        command.env("SPOOLHOUSE_KAFKA__BROKERS", "127.0.0.1:1");
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.is_empty(), "{arguments:?}");
        assert!(!said.contains(['\r', '\u{1b}']), "{arguments:?}: {said}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for arguments in [&["man"][..], &["completions", "bash"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = spoolhouse();
        let ended = end(command.args(arguments).stdout(writer));
        assert_eq!(ended, (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn what_is_found_to_be_wrong_exits_with_1() {
    let spool = golden::newest().dir;
    let (code, stderr) = end(spoolhouse().arg("verify").arg(&spool));
    assert_eq!(code, Some(1), "{stderr}");
    let (code, stderr) = end(spoolhouse().arg("inspect").arg(spool.join("LOCK")));
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(
        (
            stderr.lines().count(),
            stderr.starts_with("spoolhouse: 1 of 1 file")
        ),
        (1, true)
    );
}
