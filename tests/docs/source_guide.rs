//! Does `src/README.md` lead where it says? Every link in it is to a file that is
//! there, and what is named in code style is in that file.

use std::fs;
use std::path::Path;

/// Texts and targets of the links in a Markdown text.
fn links(text: &str) -> Vec<(&str, &str)> {
    let mut links = Vec::new();
    for (place, _) in text.match_indices("](") {
        let name = text[..place]
            .rfind('[')
            .map(|begin| &text[begin + 1..place]);
        let target = text[place + 2..].split(')').next();
        links.extend(name.zip(target));
    }
    links
}

#[test]
fn every_link_leads_to_what_it_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text = fs::read_to_string(folder.join("README.md")).unwrap();
    let links = links(&text);
    assert!(links.len() > 40, "{links:?}");
    let mut named = 0;
    for (name, target) in links {
        if let Some(heading) = target.strip_prefix('#') {
            let has_heading = text.lines().any(|line| {
                let line = line.trim_start_matches('#').trim();
                line.to_lowercase().replace(' ', "-") == heading
            });
            assert!(has_heading, "{target}");
            continue;
        }
        let path = folder.join(target);
        assert!(path.exists(), "{target} is not there");
        if let Some(item) = name
            .strip_prefix('`')
            .and_then(|name| name.strip_suffix('`'))
        {
            let source = fs::read_to_string(&path).unwrap();
            let words = ["fn", "const", "struct", "static"];
            let is_there = words
                .iter()
                .any(|word| source.contains(&format!("{word} {item}")));
            assert!(is_there, "{item} is not in {target}");
            named += 1;
        }
    }
    assert!(named > 20, "only {named} names were looked for");
}
