//! The README's commands: what its blocks for a shell say.
#![allow(dead_code)] // every program uses its own part of it

use std::fs;
use std::path::Path;

/// The README.
pub fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    fs::read_to_string(path).unwrap()
}

/// Every command in a block for a shell: a line with what it goes on in, without
/// what is said about it.
pub fn commands() -> Vec<String> {
    let text = text();
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap().replace("\\\n", ""));
    let mut commands = Vec::new();
    for block in blocks {
        for line in block.lines() {
            let command = line.split("  #").next().unwrap().trim();
            if !command.is_empty() && !command.starts_with('#') {
                commands.push(command.to_owned());
            }
        }
    }
    assert!(commands.len() > 10, "{commands:?}");
    commands
}

/// The only command that is or begins like this.
pub fn command(beginning: &str) -> String {
    let all = commands();
    if all.iter().any(|line| line == beginning) {
        return beginning.to_owned();
    }
    let found: Vec<&String> = all
        .iter()
        .filter(|line| line.starts_with(beginning))
        .collect();
    assert_eq!(found.len(), 1, "{beginning:?} in the README: {found:?}");
    found[0].clone()
}
