//! What is wrong, one line each.

use std::collections::BTreeSet;

use super::source::{Source, blanked, crate_paths, words};

pub(crate) const STAGES: [&str; 6] = ["authenticate", "authorize", "admit", "provider", "bind", "audit"];
pub(crate) const TOP: &[&str] = &["Cargo.lock", "Cargo.toml", "README.md", "deploy", "src", "tests"];
/// May stand there, and need not.
const WELCOME: &[&str] = &["target", "web-demo"];
/// Stolen names and second TLS or crypto stacks.
const BANNED: &[&str] = &["native-tls", "openssl-sys", "rsa", "tracing-check", "tracing-ethers", "tracing_checks", "tracings"];

pub(crate) fn import_faults(source: &Source, order: &[String]) -> Vec<String> {
    let (module, code) = (source.module(), source.code());
    let Some(&own) = module.first() else { return Vec::new() };
    let place = |name: &str| order.iter().position(|known| known == name);
    let mut faults = BTreeSet::new();
    for path in crate_paths(&code, module.len()).iter().filter(|path| path[0] != own) {
        if place(path[0]).is_none_or(|used| place(own).is_none_or(|user| used >= user)) {
            faults.insert(format!("{}: crate::{} is not above {own} in lib.rs", source.path, path.join("::")));
        }
        let submodule = path.len() > 2 && path[1].starts_with(char::is_lowercase);
        if STAGES.contains(&own) && STAGES.contains(&path[0]) && submodule {
            faults.insert(format!("{}: crate::{} is inside another stage", source.path, path.join("::")));
        }
    }
    faults.into_iter().collect()
}

pub(crate) fn order_faults(order: &[String]) -> Vec<String> {
    let found: Vec<_> = order.iter().filter(|name| STAGES.contains(&name.as_str())).collect();
    if found == STAGES { Vec::new() } else { vec![format!("lib.rs has the stages in the order {found:?}, not {STAGES:?}")] }
}

/// `word` outside `places`, tests included.
pub(crate) fn placement_faults(source: &Source, word: &str, places: &[&str]) -> Vec<String> {
    let code = blanked(&source.text);
    let away = !places.iter().any(|place| source.path.starts_with(place));
    let line = |at: usize| code[..at].lines().count();
    words(&code, word).filter(|_| away).map(|at| format!("{}:{}: {word}", source.path, line(at))).collect()
}

pub(crate) fn panic_faults(source: &Source) -> Vec<String> {
    let code = source.code();
    let found = [".unwrap(", ".expect(", "panic!", "todo!", "unimplemented!"].into_iter();
    found.filter(|word| code.contains(word)).map(|word| format!("{}: {word}", source.path)).collect()
}

/// Files in folders named `tests` whose parent does not declare them with `#[cfg(test)]`.
pub(crate) fn undeclared_faults(sources: &[Source]) -> Vec<String> {
    let declares = |parent: &str| {
        let declared = |source: &&Source| source.path == format!("{parent}/mod.rs") || source.path == format!("{parent}.rs");
        sources.iter().find(declared).is_some_and(|source| blanked(&source.text).contains("#[cfg(test)]\nmod tests;"))
    };
    let inside = sources.iter().filter_map(|source| Some((source, source.path.split_once("/tests/")?.0)));
    let undeclared = inside.filter(|(_, parent)| !declares(parent));
    undeclared.map(|(source, _)| format!("{}: its folder is not declared with #[cfg(test)]", source.path)).collect()
}

pub(crate) fn budget_faults(what: &str, mut lengths: Vec<(String, usize)>, (most, usual): (usize, usize)) -> Vec<String> {
    lengths.sort_by_key(|(_, length)| *length);
    let over = lengths.iter().filter(|(_, length)| *length > most);
    let mut faults: Vec<_> = over.map(|(name, length)| format!("{what} {name}: {length} lines, at most {most}")).collect();
    if let Some((_, ninth)) = lengths.get((lengths.len() * 9).div_ceil(10).saturating_sub(1))
        && *ninth > usual
    {
        faults.push(format!("nine of ten of every {what} have {ninth} lines, at most {usual}"));
    }
    faults
}

/// Dependencies without a comment above them, and above none of their family (`serde`, `serde_json`).
pub(crate) fn comment_faults(manifest: &str) -> Vec<String> {
    let (mut commented, mut bare, mut inside, mut before) = (BTreeSet::new(), Vec::new(), false, "");
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| inside && line.starts_with(char::is_alphabetic)) {
            let family = name.split(['-', '_', '.', ' ']).next().unwrap_or_default();
            if before.starts_with("# ") {
                commented.insert(family);
            } else {
                bare.push((name.trim(), family));
            }
        }
        before = line;
    }
    bare.retain(|(_, family)| !commented.contains(family));
    bare.iter().map(|(name, _)| format!("Cargo.toml: {name} has no comment that says what it is for")).collect()
}

pub(crate) fn top_faults(names: &BTreeSet<String>) -> Vec<String> {
    let known = |name: &str| TOP.contains(&name) || WELCOME.contains(&name);
    let welcome = |name: &str| known(name) || name.starts_with('.') || name.starts_with("LICENSE-");
    let strange = names.iter().filter(|name| !welcome(name)).map(|name| format!("{name} does not belong at the top"));
    let missing = TOP.iter().filter(|name| !names.contains(**name)).map(|name| format!("{name} is missing"));
    strange.chain(missing).collect()
}

pub(crate) fn lock_faults(lock: &str) -> Vec<String> {
    let field = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_prefix("= \"").map(str::to_owned));
        line.map(|value| value.trim_end_matches('"').to_owned()).unwrap_or_default()
    };
    let packages = lock.split("[[package]]").skip(1).map(|package| (field(package, "name"), field(package, "version")));
    let old = |version: &str| {
        let numbers: Vec<u32> = version.split(['.', '-', '+']).map_while(|number| number.parse().ok()).collect();
        numbers < vec![0, 4, 16]
    };
    let banned = |(name, version): &(String, String)| BANNED.contains(&name.as_str()) || name == "h2" && old(version);
    packages.filter(banned).map(|(name, version)| format!("Cargo.lock: {name} {version}")).collect()
}

/// One crypto stack, and nothing banned, in what `cargo tree` lists: a name and a version in each line.
pub(crate) fn built_faults(tree: &str) -> Vec<String> {
    let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let built = ["ring"].iter().chain(BANNED).filter(|name| names.contains(**name)).map(|name| format!("{name} is built"));
    let missing = (!names.contains("aws-lc-rs")).then(|| "aws-lc-rs is not built".to_owned());
    built.chain(missing).collect()
}

/// Rows of tables with a column `test` that name no test, or one that is not there.
pub(crate) fn proof_faults(document: &str, code: &str) -> Vec<String> {
    let is_test = |name: &str| {
        ["fn", "async fn"]
            .iter()
            .any(|kind| code.contains(&format!("test]\n{kind} {name}(")) || code.contains(&format!("test]\n    {kind} {name}(")))
    };
    let tables = document.split("\n\n").filter(|table| table.lines().next().is_some_and(|head| head.ends_with("| test |")));
    let rows: Vec<_> = tables.flat_map(|table| table.lines().skip(2)).collect();
    let mut faults = Vec::new();
    if rows.is_empty() {
        faults.push("no table says what is tested".to_owned());
    }
    for row in rows {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let names: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            faults.push(format!("no test: {row}"));
        }
        faults.extend(names.iter().filter(|name| !is_test(name)).map(|name| format!("no such test: {name}")));
    }
    faults
}
