//! Holds the tree against the rules of ARCHITECTURE.md.
//!
//! Owns the walk over manifests and sources. What the rules are is said by the
//! tables in [`layers`] and [`rules`], never here.

mod layers;
mod lexer;
mod rules;
mod source;
mod violation;

#[cfg(test)]
mod tests;

use layers::Workspace;
use source::SourceFile;
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};
use violation::Violation;

/// The folders whose Rust sources are read.
const SOURCES: [&str; 5] = ["crates", "testkit", "tests", "benches", "xtask"];

/// Every violation in the tree under `root`, sorted by place.
///
/// Fails only where cargo or a file cannot be read.
pub(crate) fn run(root: &Path) -> io::Result<Vec<Violation>> {
    let workspace = Workspace::parse(&cargo_metadata(root)?)?;
    let mut found = layers::check(root, &workspace);
    let files = read_sources(root)?;
    let test_only: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(SourceFile::test_only_children)
        .collect();
    for file in &files {
        found.extend(rules::check(file, is_test(&test_only, file.path())));
    }
    found.sort();
    Ok(found)
}

/// Whether a file is test code by its place, or because a parent declares it under `cfg(test)`.
fn is_test(test_only: &BTreeSet<PathBuf>, path: &Path) -> bool {
    source::is_test_path(path)
        || test_only
            .iter()
            .any(|module| path == module.with_extension("rs") || path.starts_with(module))
}

fn cargo_metadata(root: &Path) -> io::Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }
}

fn read_sources(root: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = SOURCES.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let shown = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
                files.push(SourceFile::new(shown, &fs::read_to_string(&path)?));
            }
        }
    }
    Ok(files)
}
