//! One source file as the rules see it.
//!
//! Owns which crate a file belongs to, which of its lines are tests, and which
//! paths it names. It judges nothing.

use super::lexer::Views;
use std::path::{Path, PathBuf};

/// A Rust file, split into what the rules ask for.
#[derive(Debug)]
pub(crate) struct SourceFile {
    path: PathBuf,
    /// Its whole text.
    pub(crate) text: String,
    /// Its code, strings and comments apart.
    pub(crate) views: Views,
    /// The byte ranges of inline `#[cfg(test)]` modules and items.
    test_ranges: Vec<std::ops::Range<usize>>,
}

impl SourceFile {
    /// Reads `text` as the file at `path`, relative to the workspace's root.
    pub(crate) fn new(path: PathBuf, text: &str) -> Self {
        let views = Views::of(text);
        let test_ranges = test_ranges(&views.code);
        Self {
            path,
            text: text.to_owned(),
            views,
            test_ranges,
        }
    }

    /// Where it lies, relative to the workspace's root.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The crate's name in the layers' order: the last folder before `src`.
    ///
    /// `None` outside `crates/`, where the rules of the layers do not hold.
    pub(crate) fn layer(&self) -> Option<&str> {
        let mut folders = self.path.iter().filter_map(|part| part.to_str());
        if folders.next() != Some("crates") {
            return None;
        }
        folders
            .take_while(|&part| part != "src" && part != "tests" && part != "build.rs")
            .last()
    }

    /// The line of a byte, from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        1 + self.text[..at].matches('\n').count()
    }

    /// The text of a line, from 1; empty where there is none.
    pub(crate) fn line(&self, number: usize) -> &str {
        number
            .checked_sub(1)
            .and_then(|index| self.text.lines().nth(index))
            .unwrap_or_default()
    }

    /// Whether a byte lies in an inline test module or item.
    pub(crate) fn in_inline_test(&self, at: usize) -> bool {
        self.test_ranges.iter().any(|range| range.contains(&at))
    }

    /// How many lines it has outside its inline test modules.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let inside: usize = self
            .test_ranges
            .iter()
            .map(|range| self.text[range.clone()].matches('\n').count() + 1)
            .sum();
        self.text.lines().count().saturating_sub(inside)
    }

    /// The modules that it declares under `#[cfg(test)]` in files of their own, without `.rs`.
    pub(crate) fn test_only_children(&self) -> impl Iterator<Item = PathBuf> {
        let folder = self.child_folder();
        self.test_ranges
            .iter()
            .filter_map(|range| module_name(&self.views.code[range.clone()]))
            .map(move |name| folder.join(name))
    }

    /// Where the files of its child modules lie.
    fn child_folder(&self) -> PathBuf {
        match self.path.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "main" | "mod") => self.path.with_file_name(""),
            _ => self.path.with_extension(""),
        }
    }

    /// Every path that its `use` items bring in, groups taken apart, with its place.
    pub(crate) fn imports(&self) -> Vec<(usize, String)> {
        let code = &self.views.code;
        let mut found = Vec::new();
        for (at, _) in code.match_indices("use ") {
            let starts_word = at == 0 || !is_word(code.as_bytes()[at - 1]);
            if let (true, Some(end)) = (starts_word, code[at..].find(';')) {
                let tree = &code[at + 4..at + end];
                flatten(tree.trim(), "", &mut |path| found.push((at, path)));
            }
        }
        found
    }
}

/// Whether a file is test code by its place: a `tests.rs`, a `tests` folder, testkit, benches
/// or examples, which measure against what is made by hand.
pub(crate) fn is_test_path(path: &Path) -> bool {
    path.iter().filter_map(|part| part.to_str()).any(|part| {
        matches!(
            part,
            "tests" | "tests.rs" | "testkit" | "benches" | "examples"
        )
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Takes `a::{b, c::{self, d as e}}` apart into `a::b`, `a::c`, `a::c::d`.
fn flatten(tree: &str, prefix: &str, found: &mut impl FnMut(String)) {
    let join = |tail: &str| match (prefix, tail) {
        (_, "self") => prefix.to_owned(),
        ("", _) => tail.to_owned(),
        _ => format!("{prefix}::{tail}"),
    };
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree).trim();
        if !name.is_empty() {
            found(join(name.trim_start_matches("::")));
        }
        return;
    };
    let head = tree[..open].trim().trim_end_matches("::").trim();
    let inner = tree[open + 1..].trim_end().trim_end_matches('}');
    let prefix = if head.is_empty() {
        prefix.to_owned()
    } else {
        join(head.trim_start_matches("::"))
    };
    for part in split_top_level(inner) {
        flatten(part.trim(), &prefix, found);
    }
}

/// Splits at the commas that lie in no braces.
fn split_top_level(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The ranges of items under `#[cfg(test)]`: up to their closing brace or semicolon.
fn test_ranges(code: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        if ranges.last().is_some_and(|last| last.contains(&start)) {
            continue;
        }
        let end = item_end(code, start + attribute.len());
        ranges.push(start..end);
    }
    ranges
}

/// Where the item that starts at `from` ends; braces in strings are already blanked.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The module that an item declares in a file of its own (`mod name;`).
fn module_name(item: &str) -> Option<String> {
    let body = item.strip_suffix(';')?;
    let (before, name) = body.rsplit_once("mod ")?;
    before
        .trim_end()
        .ends_with([']', ')', 'b'])
        .then(|| name.trim().to_owned())
}
