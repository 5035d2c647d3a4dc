//! Which module of `src/` imports which, read from the sources as text: every `use`
//! (groups, `self`, `super`, re-exports followed to where they lead) and every path
//! that begins with `crate::` or `super::` in the code. Tests and comments are left
//! out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module's path below the crate, without `crate`.
pub type Module = Vec<String>;

/// A module's source.
#[derive(Debug)]
pub struct Source {
    /// Its path below `src/`.
    pub file: String,
    /// What it says outside comments and tests.
    pub code: String,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The module that imports.
    pub from: Module,
    /// The module that it gets something from, re-exports followed.
    pub to: Module,
    /// The module that it names, re-exports not followed.
    pub named: Module,
}

/// All of it.
#[derive(Debug)]
pub struct Graph {
    /// Every module but those of tests.
    pub modules: BTreeMap<Module, Source>,
    /// The modules that their parents declare `pub`.
    pub open: BTreeSet<Module>,
    /// Every import of one module from another.
    pub imports: BTreeSet<Import>,
}

/// A path as it is written, and whether it is a re-export.
#[derive(Debug)]
struct Written {
    path: Vec<String>,
    exports: bool,
}

impl Graph {
    /// Reads the sources below `root`.
    pub fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(root, root, &mut files);
        Self::of(files)
    }

    /// The graph of these sources, by their paths below `src/`.
    pub fn of(files: BTreeMap<String, String>) -> Self {
        let mut modules = BTreeMap::new();
        for (file, text) in files {
            // The program's main file is no module of the library.
            if file == "main.rs" || file.ends_with("tests.rs") {
                continue;
            }
            let source = Source {
                code: shipped(&text),
                file,
            };
            modules.insert(module_of(&source.file), source);
        }
        let mut open = BTreeSet::new();
        let mut written: BTreeMap<&Module, Vec<Written>> = BTreeMap::new();
        for (module, source) in &modules {
            let (paths, declared) = read(&source.code);
            for child in declared {
                open.insert(joined(module, &[child]));
            }
            written.insert(module, paths);
        }
        let exports = exports(&modules, &written);
        let mut imports = BTreeSet::new();
        for (from, paths) in &written {
            for Written { path, .. } in paths {
                let Some(path) = absolute(&modules, from, path) else {
                    continue;
                };
                let (named, _) = split(&modules, &path);
                let to = resolve(&modules, &exports, &path, 0);
                if to != **from {
                    imports.insert(Import {
                        from: (*from).clone(),
                        to,
                        named,
                    });
                }
            }
        }
        Self {
            modules,
            open,
            imports,
        }
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            files.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

/// A source without comments and without its tests, which come last.
fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn module_of(file: &str) -> Module {
    let stem = file.trim_end_matches(".rs");
    let mut module: Module = stem.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

fn joined(module: &[String], rest: &[String]) -> Module {
    module.iter().chain(rest).cloned().collect()
}

/// The paths that a source names, and the children that it declares `pub`.
fn read(code: &str) -> (Vec<Written>, Vec<String>) {
    let (mut paths, mut declared) = (Vec::new(), Vec::new());
    let tokens = tokens(code);
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        match tokens[at] {
            "use" if before != "::" => {
                let exports = before == "pub" || before == ")";
                let mut leaves = Vec::new();
                at = tree(&tokens, at + 1, &[], &mut leaves);
                paths.extend(leaves.into_iter().map(|path| Written { path, exports }));
            }
            "mod" if before == "pub" => {
                declared.push(tokens[at + 1].to_owned());
                at += 2;
            }
            "crate" | "super" if before != "::" && !is_visibility(&tokens[..at]) => {
                let mut path = vec![tokens[at].to_owned()];
                at += 1;
                while at + 1 < tokens.len() && tokens[at] == "::" && is_word(tokens[at + 1]) {
                    path.push(tokens[at + 1].to_owned());
                    at += 2;
                }
                let exports = false;
                paths.push(Written { path, exports });
            }
            _ => at += 1,
        }
    }
    (paths, declared)
}

/// Whether these tokens begin `pub(crate)` or `pub(in crate::…)`.
fn is_visibility(before: &[&str]) -> bool {
    before.ends_with(&["pub", "("]) || before.ends_with(&["pub", "(", "in"])
}

/// Words, `::`, and single other characters; without texts.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let (length, is_told) = match first {
            _ if is_of_word(first) => match raw_text(rest) {
                Some(length) => (length, false),
                None => (rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()), true),
            },
            _ if rest.starts_with("::") => (2, true),
            _ if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            _ if rest.starts_with("'\"'") => (3, false),
            '"' => (text(rest), false),
            _ => (first.len_utf8(), !first.is_whitespace()),
        };
        let (token, after) = rest.split_at(length);
        if is_told {
            tokens.push(token);
        }
        rest = after;
    }
    tokens
}

/// The length of a text that begins here, quotes included.
fn text(code: &str) -> usize {
    let mut is_escaped = false;
    for (place, byte) in code.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    code.len()
}

/// The length of a raw text that begins here, if one does.
fn raw_text(code: &str) -> Option<usize> {
    let start = code.strip_prefix('b').unwrap_or(code).strip_prefix('r')?;
    let inner = start.trim_start_matches('#');
    let hashes = start.len() - inner.len();
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inner.strip_prefix('"')?.find(&end)?;
    Some(code.len() - inner.len() + 1 + length + end.len())
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word(token: &str) -> bool {
    token.starts_with(is_of_word)
}

/// Reads a tree of a `use` from this token on, and where it ends.
fn tree(tokens: &[&str], mut at: usize, prefix: &[String], leaves: &mut Vec<Module>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match *token {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = tree(tokens, at, &path, leaves);
                    if tokens[at] == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            // What it is called here does not matter.
            "as" => at += 2,
            // `self` in a group is what the group stands in.
            "self" if !path.is_empty() => at += 1,
            word => {
                path.push(word.to_owned());
                at += 1;
            }
        }
    }
    leaves.push(path);
    at
}

/// A path from the crate on; `None` for what is outside.
fn absolute(
    modules: &BTreeMap<Module, Source>,
    from: &Module,
    path: &[String],
) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some(joined(from, rest)),
        "super" => {
            let ups = path.iter().take_while(|word| *word == "super").count();
            // A path in an inline module of a file climbs no further than its file.
            let base = &from[..from.len().saturating_sub(ups)];
            Some(joined(base, &path[ups..]))
        }
        _ => {
            let child = joined(from, std::slice::from_ref(first));
            modules.contains_key(&child).then(|| joined(&child, rest))
        }
    }
}

/// The longest module that a path begins with, and the rest. A path that is a module
/// names it in its parent.
fn split(modules: &BTreeMap<Module, Source>, path: &[String]) -> (Module, Vec<String>) {
    let longest = (0..=path.len()).rev();
    let length = longest
        .clone()
        .find(|length| modules.contains_key(&path[..*length]))
        .unwrap_or(0);
    (path[..length].to_vec(), path[length..].to_vec())
}

/// What each module re-exports, by name.
fn exports(
    modules: &BTreeMap<Module, Source>,
    written: &BTreeMap<&Module, Vec<Written>>,
) -> BTreeMap<(Module, String), Module> {
    let mut exports = BTreeMap::new();
    for (module, paths) in written {
        for Written { path, .. } in paths.iter().filter(|written| written.exports) {
            if let (Some(target), Some(name)) = (absolute(modules, module, path), path.last()) {
                exports.insert(((*module).clone(), name.clone()), target);
            }
        }
    }
    exports
}

/// The module where a path ends.
fn resolve(
    modules: &BTreeMap<Module, Source>,
    exports: &BTreeMap<(Module, String), Module>,
    path: &[String],
    depth: usize,
) -> Module {
    let (module, rest) = split(modules, path);
    let target = rest
        .first()
        .and_then(|name| exports.get(&(module.clone(), name.clone())));
    match target {
        Some(target) if depth < 8 && *target != path => {
            resolve(modules, exports, &joined(target, &rest[1..]), depth + 1)
        }
        _ => module,
    }
}

/// Circles among the children of one module, each with what it comes from. What a
/// child's own descendants import counts as its own.
pub fn circles(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    let parents: BTreeSet<&[String]> = graph
        .modules
        .keys()
        .flat_map(|module| (0..module.len()).map(|length| &module[..length]))
        .collect();
    for parent in parents {
        let mut arrows: BTreeMap<&str, BTreeMap<&str, &Import>> = BTreeMap::new();
        for import in &graph.imports {
            let child = |module: &'_ Module| -> Option<usize> {
                (module.len() > parent.len() && module.starts_with(parent)).then_some(parent.len())
            };
            if let (Some(a), Some(b)) = (child(&import.from), child(&import.to)) {
                let (from, to) = (import.from[a].as_str(), import.to[b].as_str());
                if from != to {
                    arrows.entry(from).or_default().entry(to).or_insert(import);
                }
            }
        }
        found.extend(circle_in(&arrows));
    }
    found
}

/// One circle, if there is one.
fn circle_in(arrows: &BTreeMap<&str, BTreeMap<&str, &Import>>) -> Option<String> {
    fn walk<'a>(
        at: &'a str,
        arrows: &BTreeMap<&'a str, BTreeMap<&'a str, &Import>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(place) = way.iter().position(|other| *other == at) {
            let mut circle = way[place..].to_vec();
            circle.push(at);
            return Some(circle);
        }
        if !done.insert(at) {
            return None;
        }
        way.push(at);
        for next in arrows.get(at).into_iter().flat_map(BTreeMap::keys) {
            if let Some(circle) = walk(next, arrows, way, done) {
                return Some(circle);
            }
        }
        way.pop();
        None
    }
    let mut done = BTreeSet::new();
    for start in arrows.keys() {
        if let Some(circle) = walk(start, arrows, &mut Vec::new(), &mut done) {
            let steps = circle.windows(2).map(|pair| {
                let import = arrows[pair[0]][pair[1]];
                format!(
                    "{} imports {}",
                    import.from.join("::"),
                    import.to.join("::")
                )
            });
            return Some(steps.collect::<Vec<_>>().join(", "));
        }
    }
    None
}

/// Imports of what a folder keeps for itself: modules that are not declared `pub`,
/// named from outside the folder that they lie in.
pub fn imports_of_insides(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for import in &graph.imports {
        let shared = import.from.iter().zip(&import.named);
        let shared = shared.take_while(|(a, b)| a == b).count();
        // The first that is not shared is a sibling; what lies below it is its inside.
        for length in shared + 2..=import.named.len() {
            let module = &import.named[..length];
            if !graph.open.contains(module) {
                found.push(format!(
                    "{} imports {}, which {} keeps for itself",
                    import.from.join("::"),
                    module.join("::"),
                    module[..length - 1].join("::"),
                ));
            }
        }
    }
    found
}
