//! Do the alerts say what they should, about metrics that exist, and does the
//! runbook know every one of them and every line of the log that asks for help?

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Runs promtool; `ops/setup` installs it.
fn promtool(args: &[&str]) {
    let run = || {
        let mut command = Command::new("promtool");
        command.args(args).current_dir(repository()).output()
    };
    let done = run().or_else(|_| {
        let setup = Command::new(repository().join("ops/setup"))
            .arg("--with-prometheus")
            .status();
        assert!(setup.unwrap().success(), "ops/setup --with-prometheus");
        run()
    });
    let done = done.unwrap();
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(done.status.success(), "promtool {args:?}: {said}");
}

/// The text after `key` on each line that begins with it.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '-']));
    lines.filter_map(|line| line.strip_prefix(key)).collect()
}

fn alerts() -> BTreeSet<String> {
    let text = read("ops/prometheus/alerts.yml");
    let names: Vec<&str> = values(&text, "alert: ");
    let alerts: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert!(alerts.len() == names.len() && !alerts.is_empty());
    alerts
}

#[test]
fn the_rules_are_sound_and_do_what_their_cases_say() {
    promtool(&["check", "rules", "ops/prometheus/alerts.yml"]);
    promtool(&["test", "rules", "ops/prometheus/alerts.test.yml"]);
}

#[test]
fn each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() {
    let cases = read("ops/prometheus/alerts.test.yml");
    let mut fires = BTreeSet::new();
    let mut is_silent = BTreeSet::new();
    for case in cases.split("- expr: ").skip(1) {
        let expected = r#"ALERTS{alertname=""#;
        let (name, rest) = case
            .strip_prefix(expected)
            .unwrap()
            .split_once('"')
            .unwrap();
        assert!(rest.starts_with(r#",alertstate="firing"}"#), "{case}");
        let set = match rest.contains("exp_samples: []") {
            true => &mut is_silent,
            false => &mut fires,
        };
        set.insert(name.to_owned());
    }
    assert_eq!(fires, alerts());
    assert_eq!(is_silent, alerts());
}

#[test]
fn each_alert_says_what_is_wrong_and_leads_to_its_cure() {
    let rules = read("ops/prometheus/alerts.yml");
    let runbook = read("ops/runbook.md");
    let headings: BTreeSet<String> = values(&runbook, "### ")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(headings, alerts());
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        for key in ["severity: ", "summary: ", "description: "] {
            assert_eq!(values(rule, key).len(), 1, "{name} {key}");
        }
        let anchor = format!("ops/runbook.md#{}", name.to_lowercase());
        assert_eq!(values(rule, "runbook_url: "), [anchor], "{name}");
    }
}

#[test]
fn the_runbooks_links_lead_somewhere() {
    let runbook = read("ops/runbook.md");
    let headings = runbook.lines().filter(|line| line.starts_with('#'));
    let anchors: BTreeSet<String> = headings
        .map(|line| line.trim_start_matches(['#', ' ']).to_lowercase())
        .map(|title| title.replace(' ', "-"))
        .collect();
    let links: Vec<&str> = runbook.split("](#").skip(1).collect();
    assert!(links.len() > 10);
    for link in links {
        let (anchor, _) = link.split_once(')').unwrap();
        assert!(anchors.contains(anchor), "#{anchor}");
    }
}

/// The metrics that a text names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_of_name(c));
    let ours = words.filter(|word| word.starts_with("spoolhouse_"));
    ours.map(str::to_owned).collect()
}

#[test]
fn every_metric_of_an_alert_or_the_runbook_exists() {
    let described = read("src/observe/metrics/table.rs");
    let mut named = metrics_in(&read("ops/prometheus/alerts.yml"));
    assert!(named.len() > 10);
    named.extend(metrics_in(&read("ops/prometheus/alerts.test.yml")));
    named.extend(metrics_in(&read("ops/runbook.md")));
    for name in named {
        assert!(described.contains(&format!("\"{name}\",\n")), "{name}");
    }
}

/// Every Rust source of the program.
fn sources() -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(repository().join("src")).into_iter();
    let files = files.map(|entry| entry.unwrap().into_path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

/// The longest text literal at the head of `code`, up to where it is filled in.
fn said(code: &str) -> Option<String> {
    let ends = [");", "),\n"].into_iter().filter_map(|end| code.find(end));
    let end = ends.min().unwrap_or(code.len());
    let literals = code[..end].split('"').skip(1).step_by(2);
    let heads = literals.map(|text| text.split([';', ':', '{', '\\']).next().unwrap_or(""));
    let longest = heads.max_by_key(|text| text.len())?.trim();
    (longest.len() > 3).then(|| longest.to_owned())
}

#[test]
fn the_runbook_knows_every_line_of_the_log_that_asks_for_help() {
    let runbook = read("ops/runbook.md");
    let mut lines = BTreeSet::new();
    for path in sources() {
        let source = fs::read_to_string(&path).unwrap();
        let shipped = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        for head in [
            "tracing::warn!(",
            "tracing::error!(",
            "log_retry(",
            "disk_trouble(",
        ] {
            lines.extend(shipped.split(head).skip(1).filter_map(said));
        }
    }
    assert!(lines.len() > 30, "{lines:?}");
    for line in lines {
        assert!(runbook.contains(&line), "{line:?} is not in ops/runbook.md");
    }
}
