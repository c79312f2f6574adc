//! Each check finds what it is there to find.

use std::collections::BTreeSet;

use super::faults::{
    budget_faults, built_faults, comment_faults, import_faults, lock_faults, order_faults, panic_faults, placement_faults,
    proof_faults, top_faults, undeclared_faults,
};
use super::source::{Source, blanked, functions, order};

const LIB: &str = "//! mod doc;\npub(crate) mod domain; // mod x;\nmod config;\npub(crate) mod authenticate;\npub(crate) mod admit;\npub mod cli;\n";

fn imports(path: &str, text: &str) -> usize {
    import_faults(&Source::new(path, text), &order(LIB)).len()
}

#[test]
fn the_order_is_read_from_the_declarations() {
    assert_eq!(order(LIB), ["domain", "config", "authenticate", "admit", "cli"]);
    assert_eq!(order_faults(&order(LIB)).len(), 1, "stages are missing");
    let sorted = "mod admit; mod audit;".replace(' ', "\n").replace("mod\n", "mod ");
    assert_eq!(order_faults(&order(&sorted)).len(), 1);
}

#[test]
fn a_use_of_a_module_below_is_found() {
    assert_eq!(imports("admit/mod.rs", "use crate::authenticate::Principal;\nuse crate::admit::rule::Rule;"), 0);
    for bad in [
        "use crate::admit::Permit;",
        "use crate::{domain::Ttl, admit::Permit};",
        "use crate::{\n    domain::{Ttl, ids::{A, B as C}},\n    cli as command,\n};",
        "fn f() -> crate::admit::Permit {}",
        "pub(crate) use crate::cli::run;",
        "use super::super::admit::Permit;",
        "use crate::unknown::Thing;",
    ] {
        assert_eq!(imports("authenticate/jwt.rs", bad), 1, "{bad}");
    }
    for good in [
        "use super::jwks::Key;",
        "// use crate::admit::Permit;",
        "const A: &str = \"crate::admit::Permit\";",
        "#[cfg(test)]\nmod tests {\n    use crate::admit::Permit;\n}",
        "/* crate::cli */ use crate::config::{Jwt, load::Environ};",
    ] {
        assert_eq!(imports("authenticate/jwt.rs", good), 0, "{good}");
    }
    assert_eq!(imports("undeclared.rs", "use crate::domain::Ttl;"), 1);
}

#[test]
fn a_use_of_the_inside_of_another_stage_is_found() {
    assert_eq!(imports("admit/mod.rs", "use crate::authenticate::jwks::KeySet;"), 1);
    assert_eq!(imports("admit/mod.rs", "use crate::authenticate::{Principal, jwt::{Claims}};"), 1);
    assert_eq!(imports("admit/mod.rs", "use crate::config::check::pointer; use crate::authenticate::verify;"), 0);
}

#[test]
fn a_name_in_the_wrong_room_is_found() {
    let found = |path: &str, text: &str| placement_faults(&Source::new(path, text), "actix_", &["http/", "app.rs"]);
    assert_eq!(found("issue/token.rs", "\n\nuse actix_web::web;"), ["issue/token.rs:3: actix_"]);
    assert_eq!(found("issue/token.rs", "fn f(_: actix_http::Request) {}").len(), 1);
    assert!(found("issue/token.rs", "// actix_web\nlet x = \"actix_web\"; my_actix_web();").is_empty());
    assert!(found("http/edge.rs", "use actix_web::web;").is_empty());
    let reqwest = placement_faults(&Source::new("bind/mod.rs", "use reqwest::Client;"), "reqwest", &["outbound/"]);
    assert_eq!(reqwest.len(), 1);
    let secret = Source::new("http/wire.rs", "let text = token.expose_secret();");
    assert_eq!(placement_faults(&secret, "expose_secret", &["domain/secret.rs"]).len(), 1);
}

#[test]
fn a_panic_on_purpose_is_found() {
    let faults = |text: &str| panic_faults(&Source::new("a.rs", text)).len();
    for bad in ["x.unwrap();", "x.expect(\"y\");", "panic!(\"z\")", "todo!()", "fn a() { x\n    .unwrap() }"] {
        assert_eq!(faults(bad), 1, "{bad}");
    }
    for good in [
        "x.unwrap_or(0); x.unwrap_or_else(f); x.expect_err;",
        "#[expect(clippy::all, reason = \"panic!\")]",
        "/// Never `.unwrap()`\nfn f() {}",
        "#[cfg(test)]\nmod tests {\n    fn f() { let c = '}'; x.unwrap(); }\n    fn g() { y.unwrap() }\n}",
        "#[cfg(test)]\n#[derive(Debug)]\nstruct Made(u8);",
    ] {
        assert_eq!(faults(good), 0, "{good}");
    }
    assert_eq!(faults("#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }\nfn after() { x.unwrap() }"), 1);
}

#[test]
fn what_is_too_long_is_found() {
    let long =
        format!("fn long<T>(a: [u8; 2]) -> T\nwhere\n    T: X,\n{{\n{}}}\nfn short() {{}}\n", "    // line {\n".repeat(60));
    assert_eq!(functions(&long), [("long".to_owned(), 65), ("short".to_owned(), 1)]);
    assert_eq!(budget_faults("function", functions(&long), (60, 30)).len(), 2);
    assert!(functions("trait T { fn f(&self); }\ntype F = fn(u8) -> u8;").is_empty());
    let lengths = |many: usize| (0..10).map(|i| (format!("{i}"), if i < many { 400 } else { 10 })).collect();
    assert!(budget_faults("file", lengths(1), (450, 350)).is_empty());
    assert_eq!(budget_faults("file", lengths(2), (450, 350)).len(), 1);
}

#[test]
fn a_dependency_without_a_comment_is_found() {
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\n# Why.\nserde = \"1\"\nserde_json = \"1\"\nrand = \"1\"\n\n\
                    [profile.dev]\ndebug = false\n[dev-dependencies]\ntempfile = \"3\"\n# Why.\nproptest = \"1\"\n";
    let faults = comment_faults(manifest);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("rand") && faults[1].contains("tempfile"), "{faults:?}");
}

#[test]
fn a_stranger_at_the_top_is_found() {
    let names = |more: &[&str]| -> BTreeSet<String> {
        let usual = ["Cargo.toml", "Cargo.lock", "README.md", "src", "tests", "web-demo", "deploy", ".ci", "target"];
        usual.iter().chain(more).map(|name| (*name).to_owned()).collect()
    };
    assert!(top_faults(&names(&["LICENSE-MIT", ".deny.toml"])).is_empty());
    assert_eq!(top_faults(&names(&["docs"])), ["docs does not belong at the top"]);
    let mut without = names(&[]);
    without.remove("README.md");
    assert_eq!(top_faults(&without), ["README.md is missing"]);
}

#[test]
fn a_banned_crate_is_found() {
    let lock = |name: &str, version: &str| {
        lock_faults(&format!(
            "version = 4\n\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n[[package]]\nname = \"b\"\n"
        ))
    };
    for (name, version) in
        [("h2", "0.3.27"), ("h2", "0.4.15"), ("rsa", "0.9.10"), ("openssl-sys", "0.9.1"), ("tracings", "1.0.0")]
    {
        assert_eq!(lock(name, version), [format!("Cargo.lock: {name} {version}")]);
    }
    for (name, version) in [("h2", "0.4.16"), ("h2", "0.5.0"), ("h2", "1.0.0"), ("tracing", "0.1.44"), ("openssl-probe", "0.2.2")]
    {
        assert!(lock(name, version).is_empty(), "{name} {version}");
    }
}

#[test]
fn a_second_crypto_stack_is_found() {
    assert!(built_faults("ephemint v0.1.0\naws-lc-rs v1.19.0\n").is_empty());
    assert_eq!(built_faults("aws-lc-rs v1.19.0\nring v0.17.14 (*)\n"), ["ring is built"]);
    assert_eq!(built_faults("sha2 v0.10.0\n"), ["aws-lc-rs is not built"]);
}

#[test]
fn comments_strings_and_characters_are_not_code() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b\n */ c", "a     \n    c"),
        (r#"f("}\"{") }"#, "f(      ) }"),
        ("r#\"a\"b\"# x", "         x"),
        ("br\"a\" x b\"c\"", "      x b"),
        ("'{' '\\'' 'a &'static str", "         'a &'static str"),
        ("for\"x\" r#type", "for    r#type"),
    ] {
        let expected: String = code.chars().collect();
        assert_eq!(blanked(text).trim_end(), expected.trim_end(), "{text}");
    }
}

#[test]
fn a_folder_of_tests_that_is_built_always_is_found() {
    let found = |declaration: &str| {
        let folder = Source::new("admit/tests/rules.rs", "fn f() { panic!() }");
        assert!(panic_faults(&folder).is_empty());
        undeclared_faults(&[Source::new("admit/mod.rs", declaration), folder]).len()
    };
    assert_eq!(found("mod rule;\n#[cfg(test)]\nmod tests;\n"), 0);
    for bad in ["mod tests;\n", "", "// #[cfg(test)]\nmod tests;\n", "#[cfg(unix)]\nmod tests;\n"] {
        assert_eq!(found(bad), 1, "{bad}");
    }
}

#[test]
fn a_claim_without_its_test_is_found() {
    let text = "#[test]\nfn it_holds() {}\n#[tokio::test]\nasync fn so_it_does() {}\nfn helper() {}\n";
    let faults = |row: &str| proof_faults(&format!("| RFC 1 | here | test |\n|---|---|---|\n{row}\n\n| a | `b` |\n"), text).len();
    assert_eq!(faults("| 1 | `x` | `it_holds` `so_it_does` |"), 0);
    for bad in ["| 1 | `it_holds` | |", "| 1 | x | `it_holds` `it_held` |", "| 1 | x | `helper` |", "| 1 | x | `it_hold` |"] {
        assert_eq!(faults(bad), 1, "{bad}");
    }
    assert_eq!(proof_faults("no table", text).len(), 1);
}
