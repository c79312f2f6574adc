//! Who may import whom, how long things may be, and what must not be there: read from the source text.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "architecture/able_to_fail.rs"]
mod able_to_fail;
#[path = "architecture/faults.rs"]
mod faults;
#[path = "architecture/source.rs"]
mod source;

use std::process::Command;

use faults::{
    budget_faults, built_faults, comment_faults, import_faults, lock_faults, order_faults, panic_faults, placement_faults,
    proof_faults, top_faults, undeclared_faults,
};
use source::{Source, all_rust, functions, order, read, root, sources};

const ACTIX: &[&str] = &["http/", "sandbox/", "app.rs", "cli/dev.rs"];
const REQWEST: &[&str] = &["outbound/", "entra/", "secrets/", "authenticate/", "provider/", "credentials/"];
/// Longest file, and how long nine of ten may be.
const FILE_LINES: (usize, usize) = (450, 350);
const FUNCTION_LINES: (usize, usize) = (60, 30);

#[track_caller]
fn none(faults: impl IntoIterator<Item = String>) {
    let faults: Vec<_> = faults.into_iter().collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn modules_use_only_modules_above_them() {
    let order = order(&read("src/lib.rs"));
    none(order_faults(&order));
    none(sources().iter().flat_map(|source| import_faults(source, &order)));
}

#[test]
fn actix_and_reqwest_stay_in_their_rooms() {
    let faults =
        |source: &Source| [placement_faults(source, "actix_", ACTIX), placement_faults(source, "reqwest", REQWEST)].concat();
    none(sources().iter().flat_map(faults));
}

#[test]
fn secrets_are_exposed_in_one_file() {
    none(sources().iter().flat_map(|source| placement_faults(source, "expose_secret", &["domain/secret.rs"])));
}

#[test]
fn nothing_panics_on_purpose() {
    none(sources().iter().flat_map(panic_faults));
}

/// What lies there is not looked at as code.
#[test]
fn folders_of_tests_are_built_for_tests_only() {
    none(undeclared_faults(&sources()));
}

#[test]
fn files_and_functions_stay_within_their_budgets() {
    let sources = sources();
    let files = sources.iter().map(|source| (source.path.clone(), source.text.lines().count())).collect();
    let functions = sources.iter().flat_map(|source| {
        functions(&source.text).into_iter().map(|(name, length)| (format!("{} in {}", name, source.path), length))
    });
    none([budget_faults("file", files, FILE_LINES), budget_faults("function", functions.collect(), FUNCTION_LINES)].concat());
}

#[test]
fn every_dependency_says_what_it_is_for() {
    none(comment_faults(&read("Cargo.toml")));
}

#[test]
fn every_test_that_the_documentation_names_exists() {
    none(proof_faults(&read("deploy/docs/identity.md"), &all_rust(&["src", "tests"])));
}

#[test]
fn the_top_of_the_repository_is_small() {
    let entries = std::fs::read_dir(root()).expect("the repository").map(|entry| entry.expect("an entry").file_name());
    none(top_faults(&entries.map(|name| name.to_string_lossy().into_owned()).collect()));
}

#[test]
fn the_lock_file_has_no_banned_crate() {
    none(lock_faults(&read("Cargo.lock")));
}

/// `ring` is in the lock file as a feature that nobody turns on, so what counts is what is built.
#[test]
fn one_crypto_stack_is_built() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    none(built_faults(&String::from_utf8_lossy(&tree.stdout)));
}
