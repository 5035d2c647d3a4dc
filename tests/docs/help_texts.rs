//! Does every command still say what it said, and teach by example? The texts
//! are in `tests/golden/help/`; after a change that is wanted:
//!
//! ```text
//! INSTA_UPDATE=always cargo test --test docs help_texts
//! ```

use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use clap::CommandFactory;
use spoolhouse::cli::Cli;

fn commands() -> Vec<String> {
    let command = Cli::command();
    let names = command.get_subcommands().map(|command| command.get_name());
    names.map(str::to_owned).collect()
}

/// What a command prints, in a terminal of 100 columns.
fn said(arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("spoolhouse").unwrap();
    let output = command.args(arguments).env("COLUMNS", "100").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert_eq!(output.stderr, b"", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn help_of(command: &str) -> String {
    match command {
        "spoolhouse" => said(&["--help"]),
        command => said(&[command, "--help"]),
    }
}

#[test]
fn help_says_what_it_said() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden/help");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!("spoolhouse", help_of("spoolhouse"));
        for command in commands() {
            insta::assert_snapshot!(command.clone(), help_of(&command));
        }
    });
}

#[test]
fn every_help_teaches_by_example() {
    for command in commands() {
        let help = help_of(&command);
        let (_, examples) = help.split_once("\nExamples:\n").expect(&command);
        let example = format!("spoolhouse {command}");
        assert!(examples.contains(&example), "{command}: {examples}");
    }
}

#[test]
fn every_shell_gets_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = said(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
    }
    let parsed = Command::new("bash")
        .args(["-n", "-c", &said(&["completions", "bash"])])
        .status();
    assert!(parsed.unwrap().success());
}

#[test]
fn every_command_has_a_manual_page_that_keeps_its_examples_in_lines() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    said(&["man", pages.to_str().unwrap()]);
    let read = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert_eq!(read("spoolhouse.1"), said(&["man"]));
    for command in commands() {
        let page = read(&format!("spoolhouse-{command}.1"));
        let (_, notes) = page.split_once("\n.nf\n").expect(&command);
        let (notes, _) = notes.split_once("\n.fi\n").expect(&command);
        let examples = help_of(&command);
        let (_, examples) = examples.split_once("\nExamples:\n").unwrap();
        assert_eq!(
            notes.lines().count(),
            1 + examples.lines().count(),
            "{command}"
        );
    }
}
