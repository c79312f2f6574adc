//! One wrong value at a time: each is refused with its key and its cause.

use super::run::{good, serve};

/// Where a value is written, the value, the key in the message (`""`: the same), a word of the cause.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[track_caller]
fn refuses(rows: &[Row]) {
    for (path, value, key, word) in rows {
        eprintln!("{path} = {value}");
        let key = if key.is_empty() { path } else { key };
        serve(&good().set(path, value)).done().expect_problem(key, word);
    }
}

#[test]
fn listeners_need_an_address_and_a_port() {
    refuses(&[
        ("server.listen", r#""localhost:8080""#, "", "IP address"),
        ("server.listen", r#""8080""#, "", "port"),
        ("server.listen", r#""127.0.0.1""#, "", "port"),
        ("server.listen", r#""127.0.0.1:70000""#, "", "port"),
        ("server.listen", r#""""#, "", "address"),
        ("server.listen", "8080", "", "expected a string"),
        ("server.listen", r#"["127.0.0.1:8080"]"#, "", "expected a string"),
        ("admin.listen", r#"":9090""#, "", "address"),
        ("demo.enabled", r#""yes please""#, "", "bool"),
        ("demo.profiles", r#"["nowhere"]"#, "demo.profiles[0]", "no profile"),
        ("admin.open_metrics", r#""yes please""#, "", "bool"),
    ]);
}

#[test]
fn numbers_stay_within_their_range() {
    refuses(&[
        ("server.max_in_flight", "0", "", "100000"),
        ("server.max_in_flight", "100001", "", "100000"),
        ("server.max_in_flight", "-1", "", "integer"),
        ("server.max_in_flight", r#""many""#, "", "expected"),
        ("server.max_in_flight", "1.5", "", "expected"),
        ("server.max_in_flight", "9223372036854775807", "", "100000"),
        ("server.workers", "257", "", "256"),
        ("server.drain_seconds", "301", "", "300"),
        ("server.shutdown_grace_seconds", "0", "", "600"),
        ("server.shutdown_grace_seconds", "601", "", "600"),
        ("identity.verified_token_seconds", "301", "", "300"),
        ("identity.verified_tokens", "1000001", "", "1000000"),
        ("identity.jwt.main.leeway_seconds", "61", "", "60"),
        ("identity.jwt.main.jwks_cooldown_seconds", "0", "", "3600"),
        ("identity.jwt.main.jwks_max_stale_seconds", "86401", "", "86400"),
        ("identity.dpop.iat_window_seconds", "4", "", "300"),
        ("identity.dpop.iat_window_seconds", "301", "", "300"),
        ("identity.dpop.replay_entries", "999", "", "10000000"),
        ("upstreams.openai.timeout_seconds", "0", "", "60"),
        ("upstreams.openai.timeout_seconds", "61", "", "60"),
        ("upstreams.openai.max_attempts", "11", "", "10"),
        ("profiles.default.ttl_seconds", "59", "", "60"),
        ("profiles.default.ttl_seconds", "601", "", "600"),
        ("profiles.default.max_ttl_seconds", "601", "", "600"),
        ("profiles.default.limits.mints_per_minute", "0", "", "from 1"),
        ("profiles.default.limits.concurrent_calls", "0", "", "from 1"),
        ("profiles.default.limits.monthly_mints", "0", "", "from 1"),
    ]);
    let shorter = good().set("profiles.default.ttl_seconds", "300").set("profiles.default.max_ttl_seconds", "120");
    serve(&shorter).done().expect_problem("profiles.default.ttl_seconds", "max_ttl_seconds");
}

#[test]
fn words_come_from_their_list() {
    refuses(&[
        ("environment", r#""production""#, "", "staging"),
        ("environment", r#""Prod""#, "", "prod"),
        ("environment", "1", "", "expected"),
        ("upstreams.openai.kind", r#""anthropic""#, "", "openai"),
        ("upstreams.openai.credential", r#"{ kind = "password", keys = ["env://TEST_OPENAI_KEY"] }"#, CREDENTIAL_KIND, "api_key"),
        ("profiles.default.api", r#""chat""#, "", "transcription"),
        ("telemetry.log_format", r#""xml""#, "", "pretty"),
        ("telemetry.log", r#""info,=,=""#, "", "warn"),
    ]);
}

const CREDENTIAL_KIND: &str = "upstreams.openai.credential.kind";

#[test]
fn urls_and_origins_are_exact() {
    refuses(&[
        ("server.public_url", r#""voice.example.com""#, "", "URL"),
        ("server.public_url", r#""ftp://voice.example.com""#, "", "https://"),
        ("server.public_url", r#""https://user:pass@voice.example.com""#, "", "user name"),
        ("server.public_url", r#""https://voice.example.com/?a=1""#, "", "query"),
        ("server.public_url", r#""https://""#, "", "URL"),
        ("server.allowed_origins", r#"["*"]"#, "server.allowed_origins[0]", "exact"),
        ("server.allowed_origins", r#"["null"]"#, "server.allowed_origins[0]", "exact"),
        (
            "server.allowed_origins",
            r#"["https://a.example", "https://b.example/"]"#,
            "server.allowed_origins[1]",
            "browsers send",
        ),
        ("server.allowed_origins", r#""https://a.example""#, "", "sequence"),
        ("identity.jwt.main.issuer", r#""login.example.com""#, "", "URL"),
        ("identity.jwt.main.jwks_url", r#""/jwks.json""#, "", "URL"),
        ("identity.jwt.main.jwks_url", r#""file:///etc/passwd""#, "", "https://"),
        ("upstreams.openai.base_url", r#""api.openai.com/v1""#, "", "URL"),
        ("upstreams.openai.base_url", r#""https://api.openai.com/v1#x""#, "", "fragment"),
    ]);
}

#[test]
fn an_origin_with_a_wildcard_is_refused() {
    refuses(&[
        ("server.allowed_origins", r#"["https://*.example.com"]"#, "server.allowed_origins[0]", "exact"),
        ("server.allowed_origins", r#"["https://*"]"#, "server.allowed_origins[0]", "exact"),
    ]);
}

#[test]
fn an_issuer_is_described_completely() {
    refuses(&[
        ("identity.jwt.main.issuer", r#""""#, "", "iss"),
        ("identity.jwt.main.audience", "[]", "", "at least one"),
        ("identity.jwt.main.audience", r#"[""]"#, "", "at least one"),
        ("identity.jwt.main.audience", r#""voice""#, "", "sequence"),
        ("identity.jwt.main.user_claim", r#""""#, "", "sub"),
        ("identity.jwt.main.algorithms", "[]", "", "at least one"),
        ("identity.jwt.main.algorithms", r#"["ES256", "HS256"]"#, "identity.jwt.main.algorithms[1]", "never accepted"),
        ("identity.jwt.main.algorithms", r#"["none"]"#, "identity.jwt.main.algorithms[0]", "never accepted"),
        ("identity.dpop.algorithms", "[]", "", "at least one"),
        ("identity.dpop.algorithms", r#"["ES256", "HS256"]"#, "identity.dpop.algorithms[1]", "never accepted"),
        ("identity.dpop.require_nonces", "true", "", "no such key"),
        ("identity.jwt.main.algorithms", r#"["rs256"]"#, "identity.jwt.main.algorithms[0]", "RS256"),
        ("identity.jwt.main.required_claims", "{ tier = {} }", "identity.jwt.main.required_claims.tier", "wanted value"),
        ("identity.jwt.main.required_claims", "{ tier = [] }", "identity.jwt.main.required_claims.tier", "wanted value"),
        ("identity.jwt.second.issuer", r#""http://127.0.0.1:9/""#, "", "same issuer"),
    ]);
    serve(&good().without("identity")).done().expect_problem("identity", "[identity.jwt");
}

#[test]
fn an_upstream_is_described_completely() {
    refuses(&[
        ("upstreams.openai.organization", r#""""#, "", "visible ASCII"),
        ("upstreams.openai.project", r#""proj 1""#, "", "visible ASCII"),
        ("upstreams.openai.credential", "{ keys = [] }", "upstreams.openai.credential.keys", "at least one"),
        ("upstreams.openai.credential", r#"{ keys = "env://TEST_OPENAI_KEY" }"#, "upstreams.openai.credential.keys", "sequence"),
        ("upstreams.openai.credential", "7", "", "expected"),
    ]);
    serve(&good().without("upstreams")).done().expect_problem("upstreams", "[upstreams.");
    let nameless = good().set("upstreams.\"two words\".timeout_seconds", "8");
    serve(&nameless).done().expect_problem("upstreams.two words", "letters");
}

#[test]
fn a_profile_is_described_completely() {
    refuses(&[
        ("profiles.default.upstream", r#""azure""#, "", "openai"),
        ("profiles.default.session.type", r#""transcription""#, "", "realtime"),
        ("profiles.default.session.model", r#""""#, "", "name the model"),
        ("profiles.default.api", r#""translation""#, "profiles.default.session.type", "no type"),
        ("profiles.default.allow", "{}", "", "no group"),
        ("profiles.default.allow", r#"{ groups = "support" }"#, "profiles.default.allow.groups", "sequence"),
        ("profiles.default.allow", "{ claims = { tier = {} } }", "profiles.default.allow.claims.tier", "wanted value"),
    ]);
    serve(&good().without("profiles")).done().expect_problem("profiles", "[profiles.default]");
    serve(&good().unset("profiles.default.upstream")).done().expect_problem("profiles.default.upstream", "openai");
    serve(&good().unset("profiles.default.session.model"))
        .done()
        .expect_problem("profiles.default.session.model", "name the model");
}

#[test]
fn what_a_client_may_set_is_a_place_in_the_session() {
    for (rule, word) in [
        (r#""audio/output/voice""#, "JSON pointer"),
        (r#""""#, "JSON pointer"),
        (r#""/""#, "JSON pointer"),
        (r#""/a~2""#, "JSON pointer"),
        (r#""/type""#, "type"),
        ("7", "JSON pointer"),
        (r#"{ pointer = "/audio" }"#, "one_of"),
        (r#"{ pointer = "/audio", one_of = [] }"#, "empty"),
        (r#"{ pointer = "/audio", one_of = [1], also = 2 }"#, "JSON pointer"),
    ] {
        let config = good().set("profiles.default.client_may_set", &format!(r#"["/speed", {rule}]"#));
        serve(&config).done().expect_problem("profiles.default.client_may_set[1]", word);
    }
}

#[test]
fn entries_go_somewhere() {
    refuses(&[
        ("audit.sinks", "[]", "", "nowhere"),
        ("audit.sinks", r#"["syslog"]"#, "audit.sinks[0]", "stdout"),
        ("audit.sinks", r#"["stdout", "file://audit.jsonl"]"#, "audit.sinks[1]", "absolute"),
        ("audit.sinks", r#""stdout""#, "", "sequence"),
        ("audit.required", r#""maybe""#, "", "bool"),
    ]);
    let unopened = serve(&good().set("audit.sinks", r#"["file:///nonexistent/folder/audit.jsonl"]"#)).done();
    unopened.expect(78);
    assert!(unopened.stderr.contains("audit.sinks[0]: cannot be opened"), "{unopened}");
}

#[test]
fn keys_that_do_not_exist_are_refused_with_those_that_do() {
    refuses(&[
        ("colour", "1", "", "`environment`"),
        ("server.lisen", r#""127.0.0.1:1""#, "", "`listen`"),
        ("admin.password", r#""x""#, "", "`token`"),
        ("privacy.salt", r#""x""#, "", "`pseudonym_key`"),
        ("identity.oauth.main", "{}", "identity.oauth", "`jwt`"),
        ("identity.jwt.main.audiences", r#"["voice"]"#, "", "`audience`"),
        ("upstreams.openai.api_key", r#""x""#, "", "`credential`"),
        ("upstreams.openai.credential", r#"{ key = "x" }"#, "upstreams.openai.credential.key", "`keys`"),
        ("profiles.default.ttl", "60", "", "`ttl_seconds`"),
        ("profiles.default.limits.per_minute", "60", "", "`mints_per_minute`"),
        ("profiles.default.allow", r#"{ group = "a" }"#, "profiles.default.allow.group", "`groups`"),
        ("audit.sink", r#""stdout""#, "", "`sinks`"),
        ("telemetry.level", r#""info""#, "", "`log`"),
    ]);
}

#[test]
fn what_is_not_toml_is_refused_with_line_and_column() {
    for (text, place) in [
        ("environment = \"dev\"\n[server\n", "line 2"),
        ("environment = \"dev\"\nenvironment = \"dev\"\n", "line 2"),
        ("[server]\n\n[server]\n", "line 3"),
        ("listen 8080\n", "line 1"),
        ("a = [1, 2\nb = 3\n", "line 2"),
        ("{\"server\": {}}\n", "line 1"),
        ("environment = 'dev\n", "line 1"),
        ("x = 01\n", "line 1"),
    ] {
        let outcome = super::run::ephemint(&["serve", "--config", super::run::FILE]).file(super::run::FILE, text).done();
        let problems = outcome.expect_refused();
        let expected = format!("{}: {place}, column ", super::run::FILE);
        assert!(problems.len() == 1 && problems[0].starts_with(&expected), "{text:?}\n{outcome}");
        assert!(problems[0].contains("not valid TOML"), "{outcome}");
    }
}
