//! Do imports still point only downward and in no circle, does each folder keep its
//! inside for itself, and each outside crate to its place? Reads the sources as text:
//! a fence that a `use` can't climb.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::import_graph::{Graph, circles, imports_of_insides};

/// The largest file, in lines.
const LINES_MAX: usize = 450;

/// All of `commands/`, in lines.
const COMMANDS_LINES_MAX: usize = 5_500;

/// What may import what: a module only those of layers above its own, so that those of
/// one layer never meet.
const LAYERS: [&[&str]; 9] = [
    &["cli"],
    &["commands"],
    &["preflight"],
    &["config", "estimate"],
    &["ingest", "upload", "observe", "traffic"],
    &["spool"],
    &["heartbeat"],
    &["blocking", "failpoint", "text", "time"],
    // Made by the build script.
    &["http_log_capnp"],
];

fn graph() -> Graph {
    let graph = Graph::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(graph.modules.len() > 100, "the sources were not found");
    assert!(graph.imports.len() > 300, "their imports were not found");
    graph
}

/// Imports that point upward or sideways.
fn upward(graph: &Graph) -> Vec<String> {
    let layer = |module: &str| {
        let layer = LAYERS.iter().position(|names| names.contains(&module));
        layer.unwrap_or_else(|| panic!("{module} has no layer in LAYERS"))
    };
    let mut found = Vec::new();
    for import in &graph.imports {
        let (Some(from), Some(to)) = (import.from.first(), import.to.first()) else {
            continue;
        };
        if from != to && layer(from) >= layer(to) {
            found.push(format!(
                "{} imports {}",
                import.from.join("::"),
                import.to.join("::")
            ));
        }
    }
    found
}

#[test]
fn imports_point_only_downward() {
    assert_eq!(upward(&graph()), Vec::<String>::new());
}

#[test]
fn no_imports_go_in_a_circle() {
    assert_eq!(circles(&graph()), Vec::<String>::new());
}

#[test]
fn nobody_imports_the_inside_of_another_folder() {
    assert_eq!(imports_of_insides(&graph()), Vec::<String>::new());
}

#[test]
fn no_file_is_too_long_and_commands_are_thin() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut commands = 0;
    for (file, lines) in lengths(&root) {
        assert!(lines <= LINES_MAX, "src/{file} has {lines} lines");
        if file.starts_with("commands/") {
            commands += lines;
        }
    }
    assert!(commands <= COMMANDS_LINES_MAX, "{commands} lines");
}

/// The lines of every source file, by its path below `src/`.
fn lengths(root: &Path) -> Vec<(String, usize)> {
    let mut lengths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                lengths.push((name, lines));
            }
        }
    }
    lengths
}

/// The graph of made-up sources.
fn made_up(files: &[(&str, &str)]) -> Graph {
    let files = files
        .iter()
        .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
    Graph::of(files.collect::<BTreeMap<_, _>>())
}

#[test]
fn an_arrow_that_points_upward_is_seen_however_it_is_written() {
    for text in [
        "use crate::upload::Batch;",
        "use crate::{\n    time,\n    upload::{self, Batch}, // both\n};",
        "use super::upload as up;",
        "fn f(x: crate::upload::Batch) {}",
        "fn f() { g(crate::upload::h()) }",
        "const USE: &str = \"use it; {\"; pub use crate::upload::Batch;",
        "const RAW: &str = r#\"\"use\"#; type B = super::upload::Batch;",
        "const QUOTE: char = '\"'; use crate::upload::Batch; // \"",
    ] {
        let graph = made_up(&[("spool.rs", text), ("upload.rs", ""), ("time.rs", "")]);
        assert_eq!(upward(&graph), ["spool imports upload"], "{text}");
    }
    for text in [
        "// use crate::upload::Batch;",
        "/// [`crate::upload::Batch`]\npub(in crate::spool) fn f() {}",
        "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::upload::Batch;\n}",
        "const TEXT: &str = \"crate::upload::Batch\";",
    ] {
        let graph = made_up(&[("spool.rs", text), ("upload.rs", "")]);
        assert_eq!(upward(&graph), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_circle_is_seen_through_folders_and_re_exports() {
    let graph = made_up(&[
        (
            "spool/mod.rs",
            "pub mod a;\npub mod b;\npub use b::inner::Thing;",
        ),
        ("spool/a.rs", "use super::Thing;"),
        ("spool/b.rs", "mod inner;"),
        ("spool/b/inner.rs", "use crate::spool::a;"),
    ]);
    let circle = "spool::a imports spool::b::inner, spool::b::inner imports spool::a";
    assert_eq!(circles(&graph), [circle]);
    let graph = made_up(&[
        ("spool/mod.rs", "mod a;\npub struct Thing;"),
        ("spool/a.rs", "use super::Thing;"),
    ]);
    assert_eq!(
        circles(&graph),
        Vec::<String>::new(),
        "a child may use its parent"
    );
}

#[test]
fn what_a_folder_does_not_declare_public_is_its_inside() {
    let files = |module| {
        made_up(&[
            ("spool/mod.rs", "pub mod outlet;\nmod start;"),
            ("spool/outlet.rs", module),
            ("spool/outlet/pack.rs", ""),
            ("spool/start.rs", "use super::outlet::pack::Packer;"),
        ])
    };
    assert_eq!(
        imports_of_insides(&files("pub mod pack;")),
        Vec::<String>::new()
    );
    assert_eq!(
        imports_of_insides(&files("pub(super) mod pack;")),
        ["spool::start imports spool::outlet::pack, which spool::outlet keeps for itself"]
    );
}

/// Every source file below `src/`, with `/` in its path, and what it says
/// outside comments and tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                if name.ends_with("tests.rs") {
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let code: Vec<&str> = shipped
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect();
                files.push((name, code.join("\n")));
            }
        }
    }
    assert!(files.len() > 20, "the sources were not found");
    files
}

/// Asserts that only files under the `allowed` prefixes hold one of `words`.
fn fence(words: &[&str], allowed: &[&str]) {
    for (name, code) in sources() {
        if allowed.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for word in words {
            let line = code.lines().find(|line| line.contains(word));
            assert!(
                line.is_none(),
                "src/{name} holds `{word}`, which belongs to {allowed:?}: {}",
                line.unwrap_or_default().trim(),
            );
        }
    }
}

#[test]
fn kafkas_client_stays_in_ingest_kafka_and_produce() {
    fence(&["rdkafka::"], &["ingest/kafka", "commands/produce"]);
}

#[test]
fn cap_n_proto_stays_in_ingest_record_and_produce() {
    fence(
        &["capnp::", "http_log_capnp::"],
        &["ingest/decode/record", "traffic/"],
    );
}

#[test]
fn the_http_client_stays_in_upload() {
    fence(&["reqwest::"], &["upload/"]);
}

#[test]
fn files_are_changed_only_in_spool_disk() {
    let changes = [
        "fs::write",
        "fs::rename",
        "fs::remove",
        "fs::create_dir",
        "fs::hard_link",
        "fs::copy",
        "fs::set_permissions",
        "File::create",
        "OpenOptions",
        "set_len(",
        "sync_all(",
    ];
    // `produce --expect` writes a file of the user's, outside any spool.
    fence(&changes, &["spool/disk", "commands/produce"]);
}
