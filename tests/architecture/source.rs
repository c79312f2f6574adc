//! Source text without a compiler: what is code, which paths it names, how long its functions are.

use std::path::{Path, PathBuf};

/// A source file: its path below `src`, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The code that is not of tests. A folder `tests` holds nothing else: its module is declared with `#[cfg(test)]`.
    pub(crate) fn code(&self) -> String {
        if self.path.contains("/tests/") { String::new() } else { without_tests(&blanked(&self.text)) }
    }

    /// `http` and `edge` for `http/edge.rs`; nothing for `lib.rs` and `main.rs`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        path.split('/').filter(|name| !["mod", "lib", "main"].contains(name)).collect()
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder.
fn rust_files(base: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(base, &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found.sort();
    found
}

/// All Rust text below these folders of the repository.
pub(crate) fn all_rust(folders: &[&str]) -> String {
    let files = folders.iter().flat_map(|folder| rust_files(&root().join(folder)));
    files.map(|path| std::fs::read_to_string(path).expect("a text")).collect()
}

pub(crate) fn sources() -> Vec<Source> {
    let base = root().join("src");
    let found = rust_files(&base);
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&base).expect("below src").to_str().expect("UTF-8");
        Source::new(name, &std::fs::read_to_string(path).expect("a text"))
    };
    found.iter().map(read).collect()
}

pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text with comments, strings and characters blanked; lines stay lines.
pub(crate) fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = blank_length(rest, out.chars().next_back());
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

/// How many bytes at the beginning of `rest` are a comment, a string or a character; 0 for code.
pub(crate) fn blank_length(rest: &str, before: Option<char>) -> usize {
    let after_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let up_to = |end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
    let raw = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r').filter(|_| !after_word);
    if let Some(hashes) = raw.map(|raw| raw.len() - raw.trim_start_matches('#').len())
        && raw.is_some_and(|raw| raw[hashes..].starts_with('"'))
    {
        let start = rest.len() - raw.unwrap_or_default().len() + hashes + 1;
        let end = format!("\"{}", "#".repeat(hashes));
        return rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len());
    }
    let escaped = |quote: char| {
        let mut skip = false;
        let closing = rest.char_indices().skip(1).find(|(_, c)| {
            let found = !skip && *c == quote;
            skip = !skip && *c == '\\';
            found
        });
        closing.map_or(rest.len(), |(at, _)| at + 1)
    };
    match rest.as_bytes() {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => up_to("*/"),
        [b'"', ..] => escaped('"'),
        [b'\'', b'\\', ..] => escaped('\''),
        [b'\'', ..] if rest.chars().nth(2) == Some('\'') => escaped('\''),
        _ => 0,
    }
}

/// Where the item that begins at `start` ends: at its `;`, or at the brace that closes its first one.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            '{' => braces += 1,
            '}' if braces <= 1 => return start + at + 1,
            '}' => braces -= 1,
            ';' if braces == 0 && others == 0 => return start + at + 1,
            _ => {}
        }
    }
    code.len()
}

pub(crate) fn without_tests(code: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(TEST) {
        let end = item_end(&out, start + TEST.len());
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Where `word` stands as a word of its own, or as the beginning of one when it ends in `_`.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back().is_some_and(inside);
        !before && (word.ends_with('_') || !code[at + word.len()..].chars().next().is_some_and(inside))
    })
}

/// Adds the paths of a use tree to `found` and returns what follows it.
pub(crate) fn expand<'a>(rest: &'a str, path: &[&'a str], found: &mut Vec<Vec<&'a str>>) -> &'a str {
    let rest = rest.trim_start();
    if let Some(mut rest) = rest.strip_prefix('{') {
        loop {
            rest = expand(rest, path, found).trim_start();
            if let Some(renamed) = rest.strip_prefix("as ") {
                rest = renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').trim_start();
            }
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    if end == 0 {
        // The end of a group, a `*` or a turbofish: what was named is what stands before it.
        found.extend((!path.is_empty()).then(|| path.to_vec()));
        return rest.trim_start_matches('*');
    }
    let path = [path, &[&rest[..end]]].concat();
    if let Some(deeper) = rest[end..].strip_prefix("::") {
        return expand(deeper, &path, found);
    }
    found.push(path);
    &rest[end..]
}

/// Every path from the crate's root that `code`, a module this deep, names.
pub(crate) fn crate_paths(code: &str, depth: usize) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    for at in words(code, "crate").filter(|at| code[*at..].starts_with("crate::")) {
        expand(&code[at + "crate::".len()..], &[], &mut found);
    }
    for at in words(code, "super").filter(|at| !code[..*at].ends_with("::")) {
        let rest = code[at..].trim_start_matches("super::");
        if (code.len() - at - rest.len()) / "super::".len() >= depth {
            expand(rest, &[], &mut found);
        }
    }
    found
}

/// The modules in the order of `lib.rs`.
pub(crate) fn order(lib: &str) -> Vec<String> {
    let declared = |line: &str| {
        let (before, name) = line.split_once("mod ")?;
        let name = name.trim().strip_suffix(';')?;
        ["", "pub ", "pub(crate) "].contains(&before).then(|| name.to_owned())
    };
    blanked(lib).lines().filter_map(declared).collect()
}

/// Every function's name and length in lines.
pub(crate) fn functions(text: &str) -> Vec<(String, usize)> {
    let code = blanked(text);
    let length = |at: usize| {
        let name: String = code[at + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let body = &code[at..item_end(&code, at)];
        (!name.is_empty() && body.ends_with('}')).then(|| (name, body.lines().count()))
    };
    words(&code, "fn").filter_map(length).collect()
}
