//! The layout shows the architecture: these tests hold it to that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each module and what it may use. A new edge is a decision: it shows up here as a one-line change.
const MAY_USE: &[(&str, &[&str])] = &[
    ("buggify", &[]),
    ("error", &[]),
    ("ids", &[]),
    ("limits", &[]),
    ("probe", &[]),
    ("sabotage", &[]),
    ("units", &[]),
    ("host", BASE),
    ("chunk", BASE),
    ("sql", &["chunk"]),
    ("wire", &["host", "sql"]),
    ("engine", &["host", "sql"]),
    ("catalog", &["host", "chunk"]),
    ("session", &["host", "sql", "wire", "engine"]),
    ("access", &["host", "sql", "chunk", "wire", "engine", "catalog", "session"]),
    ("node", &["host", "wire", "engine", "catalog", "access"]),
    ("sim", &["host"]),
    ("trial", &["host", "chunk", "sql", "wire", "node", "sim"]),
    ("cli", &["host", "wire", "node", "sim", "trial"]),
];

/// Everybody may use these.
const BASE: &[&str] = &["buggify", "error", "ids", "limits", "probe", "sabotage", "units", "Error", "Result"];

const LINES_MAX: usize = 1000;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root().join("src"), "rs", &mut found);
    found
        .into_iter()
        .map(|path| (path.strip_prefix(root()).unwrap().to_path_buf(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The top module that a file under `src/` belongs to.
fn module_of(path: &Path) -> String {
    let mut parts = path.components().skip(1);
    let first = parts.next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_string()
}

/// The first names of a path, of which there are several in braces: `a::{b, c}` and `{a::{b, c}, d}`.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match (c, depth) {
            (',' | '}', 0) => {
                found.push(name(list[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            ('{', _) => depth += 1,
            ('}', _) => depth -= 1,
            _ => {}
        }
    }
    found
}

#[test]
fn every_name_in_braces_counts() {
    assert_eq!(heads("wire::{a, b}"), ["wire"]);
    assert_eq!(heads("{Error, sql::{x, y}, engine::Engine}, other"), ["Error", "sql", "engine"]);
    let text = "use crate::{\n    engine::{\n        A,\n    },\n    wire::b,\n};\n// crate::no\n";
    assert_eq!(used(text), ["", "engine", "wire"].map(String::from).into());
}

/// The modules named in `crate::x` paths, comments left out.
fn used(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        used.extend(heads(&code[at + "crate::".len()..]));
    }
    used
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let may: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        // Tests may compare with anything.
        let test = path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests.rs" | "tests")));
        if module == "lib" || module == "main" || test {
            continue;
        }
        let allowed = may.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no line in MAY_USE"));
        for name in used(&text) {
            // Macros live at the crate root.
            let macro_name = matches!(name.as_str(), "probe" | "");
            if name != module && !macro_name && !BASE.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} must not use {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What lets other systems use the simulator: it stands on a host and on nothing that speaks SQL.
#[test]
fn the_simulator_knows_no_sql_and_no_protocol() {
    let foreign = ["datafusion", "arrow", "sqlparser", "pgwire", "tokio_postgres", "postgres_types"];
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| module_of(path) == "sim") {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses = |line: &str| foreign.iter().any(|name| line.contains(&format!("{name}::")));
        wrong.extend(code.filter(|line| uses(line)).map(|line| format!("{}: {}", path.display(), line.trim())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn examples_are_on_the_map_and_use_what_other_systems_may_use() {
    let map = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut found = Vec::new();
    files(&root().join("examples"), "rs", &mut found);
    assert!(!found.is_empty());
    for path in found {
        let folder = path.parent().unwrap().strip_prefix(root()).unwrap().display().to_string();
        assert!(map.contains(&folder), "docs/architecture.md does not name {folder}");
        let text = std::fs::read_to_string(&path).unwrap();
        for name in used(&text.replace("hypertile::", "crate::")) {
            let allowed = ["host", "probe", "sim"].contains(&name.as_str());
            assert!(allowed, "{}: an example must not use hypertile::{name}", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn nothing_is_left_to_be_done_in_silence() {
    let words = ["todo!(", "unimplemented!(", "#[ignore", "dbg!(", "FIXME", "XXX"];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names in `probe!(host, "name")` and the like, comments left out, whether or not the call is broken into lines.
fn named(text: &str, start: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    code.match_indices(start)
        .filter_map(|(at, _)| code[at..].split(';').next()?.split('"').nth(1).map(str::to_string))
        .collect()
}

/// Sources that are no tests.
fn production() -> Vec<(PathBuf, String)> {
    let test =
        |path: &Path| path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests.rs" | "tests")));
    sources().into_iter().filter(|(path, _)| !test(path)).collect()
}

#[test]
fn the_list_of_probes_is_that_of_the_sources() {
    let in_sources: BTreeSet<String> = production().iter().flat_map(|(_, text)| named(text, "probe!(")).collect();
    let listed: BTreeSet<String> = hypertile::probe::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(in_sources, listed, "src/probe.rs: ALL");
    let page = std::fs::read_to_string(root().join("docs/scenario_format.md")).unwrap();
    for probe in listed {
        assert!(page.contains(&format!("`{probe}`")), "docs/scenario_format.md does not name {probe}");
    }
}

#[test]
fn the_table_of_buggify_is_that_of_the_sources() {
    let in_sources: BTreeSet<String> = (production().iter())
        .filter(|(path, _)| path != Path::new("src/buggify.rs"))
        .flat_map(|(_, text)| named(text, "buggify!("))
        .collect();
    let listed: BTreeSet<String> = hypertile::buggify::ALL.iter().map(|point| point.name.to_string()).collect();
    assert_eq!(in_sources, listed, "src/buggify.rs: ALL");
    let page = std::fs::read_to_string(root().join("docs/swarm.md")).unwrap();
    for point in listed {
        assert!(page.contains(&format!("| `{point}` |")), "docs/swarm.md does not name {point}");
    }
}

#[test]
fn the_table_of_planted_bugs_is_that_of_the_sources() {
    let in_sources: BTreeSet<(String, String)> = (production().iter())
        .filter(|(path, _)| path != Path::new("src/sabotage.rs"))
        .flat_map(|(path, text)| {
            let path = path.display().to_string();
            named(text, "sabotage!(").into_iter().map(move |name| (name, path.clone()))
        })
        .collect();
    let listed: BTreeSet<(String, String)> = hypertile::sabotage::ALL
        .iter()
        .flat_map(|bug| bug.places.iter().map(|place| (bug.name.to_string(), place.to_string())))
        .collect();
    assert_eq!(in_sources, listed, "src/sabotage.rs: ALL");
    let page = std::fs::read_to_string(root().join("docs/swarm.md")).unwrap();
    for bug in &hypertile::sabotage::ALL {
        assert!(page.contains(&format!("| `{}` |", bug.name)), "docs/swarm.md does not name {}", bug.name);
    }
}

/// A server of the real world cannot have a planted bug, nor do the unlikely: nobody there switches it on.
#[test]
fn only_the_simulated_world_plants_bugs_and_buggifies() {
    let elsewhere = |path: &Path| !path.starts_with("src/sim/world") && path != Path::new("src/sabotage.rs");
    for call in ["plant(", "buggify::set_hook(Some"] {
        let callers: Vec<String> = (production().iter())
            .filter(|(path, text)| elsewhere(path) && text.contains(call))
            .map(|(path, _)| path.display().to_string())
            .collect();
        assert!(callers.is_empty(), "{call} in {callers:?}");
    }
}

/// Words in backquotes that look like files of this project, and link targets.
fn named_paths(text: &str) -> BTreeSet<String> {
    let tops = ["src/", "examples/", "scenarios/", "snapshots/", "benches/", "tests/", "docs/", ".ci/", ".cargo/"];
    let mut named = BTreeSet::new();
    for word in text.split(['`', '(', ')', ' ', '\n', ',', ';']) {
        let word = word.trim_end_matches('.').split(['#', ':']).next().unwrap_or("");
        let pattern = word.contains('*') || word.contains('<') || word.contains('{') || word.contains('…');
        if tops.iter().any(|top| word.starts_with(top)) && !pattern {
            named.insert(word.to_string());
        }
    }
    named
}

#[test]
fn every_path_that_the_docs_name_exists() {
    let mut pages = vec![root().join("README.md")];
    files(&root().join("docs"), "md", &mut pages);
    let mut wrong = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for path in named_paths(&text) {
            if !root().join(&path).exists() {
                wrong.push(format!("{}: there is no {path}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_place_on_the_map() {
    let map = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for (module, _) in MAY_USE.iter().filter(|(module, _)| root().join("src").join(module).is_dir()) {
        assert!(map.contains(&format!("src/{module}")), "docs/architecture.md does not name src/{module}");
    }
}
