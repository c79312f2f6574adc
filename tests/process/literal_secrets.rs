//! A secret that was written where its reference belongs, or anywhere else, is refused and never repeated. Every outcome is searched for
//! it by `Run::done`.

use super::run::{FILE, LITERAL, ephemint, good, print, serve};

const LITERALS: &[&str] = &[
    LITERAL,
    "sk-canary-literal",
    "sk-svcacct-canary-literal-AAAA",
    "canary-literal-c2VjcmV0LXRva2VuLXdpdGhvdXQtcHJlZml4",
    "ek_canary-literal",
    "Bearer canary-literal",
    "env:canary-literal",
    "env://sk-canary-literal",
    "env://canary-literal with spaces",
    "file://canary-literal",
    "https://canary-literal",
    "vault://canary-literal",
    "canary-literal://x",
    " canary-literal",
];

#[test]
fn a_literal_secret_is_refused_wherever_a_reference_belongs() {
    for literal in LITERALS {
        let config = good()
            .set("admin.token", &format!("{literal:?}"))
            .set("privacy.pseudonym_key", &format!("{literal:?}"))
            .set("upstreams.openai.credential", &format!(r#"{{ keys = ["env://TEST_OPENAI_KEY", {literal:?}] }}"#));
        let outcome = serve(&config).done();
        for key in ["admin.token", "privacy.pseudonym_key", "upstreams.openai.credential.keys[1]"] {
            outcome.expect_problem(key, "://");
        }
        assert_eq!(outcome.expect_refused().len(), 3, "{outcome}");
        print(&config).done().expect_refused();
    }
}

#[test]
fn a_literal_secret_is_called_one() {
    let outcome = serve(&good().set("admin.token", &format!("{LITERAL:?}"))).done();
    outcome.expect_problem("admin.token", "literal secret");
}

#[test]
fn a_secret_where_something_else_belongs_is_not_repeated() {
    for path in [
        "environment",
        "server",
        "server.listen",
        "server.public_url",
        "server.allowed_origins",
        "server.max_in_flight",
        "server.workers",
        "server.drain_seconds",
        "admin.listen",
        "admin.open_metrics",
        "privacy",
        "identity",
        "identity.verified_tokens",
        "identity.introspection",
        "identity.introspection.a.client_secret",
        "identity.introspection.a.client_auth",
        "identity.introspection.a.endpoint",
        "identity.introspection.a.token_prefix",
        "identity.introspection.a.cache_seconds",
        "identity.api_keys",
        "identity.api_keys.a",
        "identity.api_keys.a.keys",
        "identity.api_keys.a.profiles",
        "identity.api_keys.a.may_act_for_users",
        "identity.jwt.main.issuer",
        "identity.jwt.main.jwks_url",
        "identity.jwt.main.audience",
        "identity.jwt.main.algorithms",
        "identity.jwt.main.required_claims",
        "identity.jwt.main.leeway_seconds",
        "upstreams.openai.kind",
        "upstreams.openai.base_url",
        "upstreams.openai.credential",
        "upstreams.openai.timeout_seconds",
        "profiles.default.upstream",
        "profiles.default.api",
        "profiles.default.ttl_seconds",
        "profiles.default.allow",
        "profiles.default.client_may_set",
        "profiles.default.limits.monthly_mints",
        "audit.sinks",
        "audit.required",
        "telemetry.log_format",
        "unknown_key",
        "server.unknown_key",
    ] {
        let whole_table = !path.contains('.') && path != "environment" && path != "unknown_key";
        let config = if whole_table { good().without(path) } else { good() };
        serve(&config.set(path, &format!("{LITERAL:?}"))).done().expect_refused();
    }
}

#[test]
fn a_secret_inside_a_wrong_shape_is_not_repeated() {
    for (path, value) in [
        ("server.allowed_origins", r#"["canary-literal"]"#),
        ("server.allowed_origins", r#"["https://user:canary-literal@app.example.com"]"#),
        ("server.public_url", r#""https://user:canary-literal@app.example.com""#),
        ("server.max_in_flight", r#""canary-literal\", expected\"""#),
        ("server.max_in_flight", r#"["canary-literal"]"#),
        ("server.workers", r#""canary-literal`, expected one of `x""#),
        ("environment", r#""canary-literal`, expected""#),
        ("admin.token", r#"["canary-literal"]"#),
        ("admin.token", r#"{ value = "canary-literal" }"#),
        ("privacy.pseudonym_key", r#"{ key = "env://A", canary = "canary-literal" }"#),
        ("identity.jwt.main.algorithms", r#"["canary-literal"]"#),
        ("identity.jwt.main.required_claims", r#"{ a = { b = "canary-literal" } }"#),
        ("identity.api_keys.a.keys", r#"["canary-literal"]"#),
        ("identity.api_keys.a.keys", r#"[{ id = "k1", sha256 = "canary-literal" }]"#),
        ("identity.api_keys.a.keys", r#"[{ id = "k1", key = "canary-literal" }]"#),
        ("identity.api_keys.a.keys", r#"[{ id = "canary-literal with spaces", sha256 = "", expires = "canary-literal" }]"#),
        ("upstreams.openai.base_url", r#""https://canary-literal@api.openai.com/v1""#),
        ("upstreams.openai.base_url", r#""https://api.openai.com/v1?key=canary-literal""#),
        ("upstreams.openai.project", r#""canary-literal with spaces""#),
        ("upstreams.openai.credential", r#"{ kind = "canary-literal", keys = ["env://TEST_OPENAI_KEY"] }"#),
        ("upstreams.openai.credential", r#"{ kind = "api_key", key = "canary-literal" }"#),
        ("upstreams.openai.credential", r#"{ keys = [["canary-literal"]] }"#),
        ("upstreams.openai.credential", r#"{ keys = "canary-literal" }"#),
        ("profiles.default.client_may_set", r#"["canary-literal"]"#),
        ("profiles.default.client_may_set", r#"[{ pointer = "/a", one_of = "canary-literal" }]"#),
        ("profiles.default.session", r#"["canary-literal"]"#),
        ("audit.sinks", r#"["https://user:canary-literal@collector.example.com"]"#),
        ("telemetry.log", r#""canary-literal=,=""#),
    ] {
        let config = if path == "profiles.default.session" { good().without(path) } else { good() };
        serve(&config.set(path, value)).done().expect_refused();
    }
}

#[test]
fn a_syntax_error_on_a_secrets_line_does_not_repeat_the_line() {
    for line in [
        "token = canary-literal",
        "token = sk-proj-canary-literal",
        "token = \"canary-literal",
        "token = 'canary-literal",
        "token = \"canary-literal\" \"again\"",
        "token = \"canary-literal\\q\"",
        "token = \"canary-literal\\u12\"",
        "token = \"canary-literal\"\ntoken = \"canary-literal\"",
        "token = [\"canary-literal\"",
        "token = { value = \"canary-literal\"",
        "token = \"\"\"canary-literal\n",
        "token: canary-literal",
        "token \"canary-literal\"",
        "canary-literal",
        "sk-proj-canary-literal = ",
        "export TOKEN=canary-literal",
        "[canary-literal",
        "\"canary-literal",
        "token = \"canary-literal\u{7}\"",
        "token = 0xcanary-literal",
        "token = 12canary-literal",
        "token = 2027-01-01Tcanary-literal",
    ] {
        let text = format!("[admin]\n{line}\n");
        let outcome = ephemint(&["serve", "--config", FILE]).file(FILE, &text).done();
        assert_eq!(outcome.expect_refused().len(), 1, "{outcome}");
        ephemint(&["config", "print", "--config", FILE]).file(FILE, &text).done().expect_refused();
    }
}

#[test]
fn a_literal_secret_in_a_variable_is_refused_too() {
    for (variable, key) in [
        ("EPHEMINT__ADMIN__TOKEN", "admin.token"),
        ("EPHEMINT__PRIVACY__PSEUDONYM_KEY", "privacy.pseudonym_key"),
        ("EPHEMINT__UPSTREAMS__OPENAI__CREDENTIAL__KEYS", "upstreams.openai.credential.keys"),
        ("EPHEMINT__UPSTREAMS__OPENAI__CREDENTIAL", "upstreams.openai.credential"),
        ("EPHEMINT__SERVER__MAX_IN_FLIGHT", "server.max_in_flight"),
        ("EPHEMINT__ENVIRONMENT", "environment"),
        ("EPHEMINT__OPENAI_API_KEY", "openai_api_key"),
    ] {
        for literal in [LITERAL, "canary-literal", "\"canary-literal\"", "[\"canary-literal\"]", "{ a = \"canary-literal\" }"] {
            let problems = serve(&good()).env(variable, literal).done();
            assert!(problems.expect_refused().iter().any(|line| line.contains(key) && line.contains(variable)), "{problems}");
        }
    }
}

#[test]
fn a_secret_on_the_command_line_is_not_a_setting() {
    for arguments in [&["serve", "--token=x"][..], &["--api-key", "x"], &["dev", "--key", "x"]] {
        ephemint(arguments).done().expect(64);
    }
}
