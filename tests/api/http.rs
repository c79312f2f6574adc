//! HTTP itself: routes, methods, negotiation, ids, traces, and what the service says of its own API.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, MINT, World};

async fn call(world: &World, method: Method, path: &str) -> Answer {
    world.service.call(method, path).bearer(&world.bearer("alice")).send().await
}

async fn with_header(world: &World, name: &str, value: &str) -> Answer {
    let call = world.service.call(Method::POST, MINT).bearer(&world.bearer("alice"));
    call.header(name, value).send().await
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_and_not_a_hint() {
    let world = World::start();
    for path in [
        "/nowhere",
        "/v1",
        "/v1/",
        "/v1/realtime",
        "/v1/realtime/sessions",
        "/v1/realtime/client_secrets/",
        "/v1/sessions/",
        "/V1/realtime/client_secrets",
        "//v1/realtime/client_secrets",
        "/v1//realtime/client_secrets",
        "/v1/realtime/client_secrets%2F",
        "/v1/realtime%2Fclient_secrets",
        "/v1/realtime/client_secrets;x=1",
        "/x/..%2Fv1/sessions",
        "/livez/",
        "/.env",
        "/ephemint.toml",
    ] {
        let answer = call(&world, Method::POST, path).await;
        answer.expect_problem(404, "not_found");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn the_public_listener_has_no_admin_routes() {
    let world = World::start();
    let token = crate::support::secrets::ADMIN_TOKEN;
    for path in [
        "/metrics",
        "/admin/v1/status",
        "/admin/v1/sessions",
        "/admin/v1/lockdown",
        "/admin/v1/credentials",
        "/admin",
        "/dev/token",
    ] {
        for method in [Method::GET, Method::POST, Method::PUT] {
            let answer = world.service.call(method, path).bearer(token).send().await;
            answer.expect_problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn other_methods_are_refused_with_the_allowed_ones() {
    let world = World::start();
    let session = format!("/v1/sessions/{}", uuid::Uuid::now_v7());
    let brew = Method::from_bytes(b"BREW").expect("a method");
    for (path, allowed, others) in [
        (MINT, vec!["POST"], vec![Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE, brew.clone()]),
        ("/v1/realtime/translations/client_secrets", vec!["POST"], vec![Method::GET, Method::PUT]),
        ("/v1/sessions", vec!["GET"], vec![Method::POST, Method::DELETE]),
        (session.as_str(), vec!["GET", "DELETE"], vec![Method::POST, Method::PUT, Method::PATCH]),
        ("/livez", vec!["GET"], vec![Method::POST, Method::DELETE, brew]),
        ("/readyz", vec!["GET"], vec![Method::POST]),
        ("/openapi.json", vec!["GET"], vec![Method::POST]),
    ] {
        for method in others {
            let answer = call(&world, method.clone(), path).await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer}");
            answer.expect_problem(405, "method_not_allowed");
            let allow: Vec<_> = answer.header("allow").expect("Allow").split(',').map(str::trim).collect();
            for name in &allowed {
                assert!(allow.contains(name), "{path} does not allow {name}: {allow:?}");
            }
            assert!(!allow.contains(&method.as_str()), "{path}: {allow:?}");
        }
    }
}

#[tokio::test]
async fn who_asks_for_the_methods_alone_is_told_them() {
    let world = World::start();
    for (path, allow) in [(MINT, "POST, OPTIONS"), ("/v1/sessions", "GET, HEAD, OPTIONS")] {
        let answer = call(&world, Method::OPTIONS, path).await;
        assert_eq!(answer.expect(204).header("allow"), Some(allow), "{answer}");
        for header in ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"] {
            assert_eq!(answer.header(header), None, "{answer}");
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_take_json_is_refused() {
    let world = World::start();
    for accept in ["text/html", "application/xml", "text/*", "image/png, text/html;q=0.5"] {
        with_header(&world, "accept", accept).await.expect_problem(406, "not_acceptable");
    }
    assert_eq!(world.upstream.count(), 0);
    for accept in [
        "application/json",
        "*/*",
        "application/*",
        "text/html, application/json;q=0.9",
        "text/html, */*;q=0.1",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
    ] {
        let answer = with_header(&world, "accept", accept).await;
        assert_eq!(answer.status, 200, "{accept}: {answer}");
    }
}

#[tokio::test]
async fn a_request_id_of_the_caller_is_kept() {
    let world = World::start();
    let longest = "r".repeat(128);
    for id in ["r", "abc-DEF_123.4", longest.as_str()] {
        let answer = with_header(&world, "x-request-id", id).await;
        answer.expect_minted();
        assert_eq!(answer.request_id(), id);
    }
    let call = world.service.call(Method::GET, "/nowhere").header("x-request-id", "mine");
    let answer = call.send().await;
    assert_eq!(answer.expect_problem(404, "not_found")["request_id"], "mine");
}

#[tokio::test]
async fn any_other_request_id_is_replaced_by_a_uuid() {
    let world = World::start();
    let too_long = "r".repeat(129);
    for id in ["", " ", "a b", "a/b", "a\"b", "<script>", "a;b", "k\u{e9}", "../x", "a,b", too_long.as_str()] {
        let answer = with_header(&world, "x-request-id", id).await;
        answer.expect_minted();
        let made = uuid::Uuid::parse_str(answer.request_id()).expect("a UUID");
        assert_eq!(made.get_version_num(), 7, "{id:?}");
    }
    let two = b"GET /livez HTTP/1.1\r\nHost: ephemint\r\nX-Request-ID: one\r\nX-Request-ID: two\r\nConnection: close\r\n\r\n";
    let answer = world.service.raw().ask(two);
    assert_eq!(answer.all("x-request-id").len(), 1, "{answer}");
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_is_not_stored() {
    let world = World::start();
    let mut seen = Vec::new();
    for (method, path) in [
        (Method::GET, "/livez"),
        (Method::GET, "/readyz"),
        (Method::GET, "/v1/sessions"),
        (Method::POST, MINT),
        (Method::GET, "/nowhere"),
        (Method::PUT, MINT),
    ] {
        let answer = call(&world, method, path).await;
        let id = answer.request_id().to_owned();
        assert!(!seen.contains(&id), "{id} came twice");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}: {answer}");
        seen.push(id);
    }
}

#[tokio::test]
async fn a_trace_of_the_caller_goes_on_upstream() {
    let world = World::start();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = with_header(&world, "traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")).await;
    answer.expect_minted();
    let request = world.upstream.last();
    let sent = request.header("traceparent").expect("the trace is continued");
    let parts: Vec<_> = sent.split('-').collect();
    assert_eq!((parts[0], parts[1], parts.len()), ("00", trace, 4), "{sent}");
    assert_ne!(parts[2], "00f067aa0ba902b7", "the service's own span is the parent");
    for wrong in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f-00f067aa0ba902b7-01",
        "zz",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\u{e9}",
    ] {
        with_header(&world, "traceparent", wrong).await.expect_minted();
        let sent = format!("{:?}", world.upstream.last().all("traceparent"));
        assert!(!sent.contains(wrong) && !sent.contains("00f067aa0ba902b7"), "{wrong} went upstream as {sent}");
    }
}

#[tokio::test]
async fn probes_answer_anyone_and_tell_nothing() {
    let world = World::start();
    for path in ["/livez", "/readyz"] {
        let answer = world.service.call(Method::GET, path).send().await;
        assert_eq!(answer.expect(200).json(), json!({"status": "ok"}));
        let type_of = answer.header("content-type").unwrap_or_default();
        assert!(type_of.starts_with("application/json"), "{answer}");
    }
}

#[tokio::test]
async fn the_openapi_document_lists_the_routes() {
    let world = World::start();
    let answer = world.service.call(Method::GET, "/openapi.json").send().await;
    let document = answer.expect(200).json();
    let version = document["openapi"].as_str().unwrap_or_default();
    assert!(version.starts_with("3.1"), "{version}");
    for (path, methods) in [
        ("/v1/realtime/client_secrets", vec!["post"]),
        ("/v1/realtime/translations/client_secrets", vec!["post"]),
        ("/v1/sessions", vec!["get"]),
        ("/v1/sessions/{id}", vec!["get", "delete"]),
        ("/livez", vec!["get"]),
        ("/readyz", vec!["get"]),
    ] {
        for method in methods {
            assert!(document["paths"][path][method]["responses"].is_object(), "{method} {path} is not described");
        }
    }
    assert!(!document.to_string().contains("/admin/"), "the admin API is not public");
}

#[tokio::test]
async fn the_api_has_a_page_that_explains_it() {
    let world = World::start();
    let answer = world.service.call(Method::GET, "/docs").send().await;
    let type_of = answer.expect(200).header("content-type").unwrap_or_default();
    assert!(type_of.starts_with("text/html"), "{type_of}");
}

#[tokio::test]
async fn with_a_public_url_the_type_of_a_problem_can_be_opened() {
    let world = World::with(|config| config.set("server.public_url", r#""https://voice.example.com""#));
    let answer = world.service.call(Method::POST, MINT).send().await;
    let problem = answer.expect_problem(401, "missing_credentials");
    let kind = url::Url::parse(problem["type"].as_str().expect("a URI")).expect("an absolute URI");
    assert_eq!(kind.host_str(), Some("voice.example.com"), "{kind}");
}
