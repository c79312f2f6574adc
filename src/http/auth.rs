//! `/auth/...`: browsers sign in and out; and what a session's cookie takes to be a credential anywhere else.

use std::borrow::Cow;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, SET_COOKIE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use super::docs::{escape, policy, style};
use super::edge::Arrival;
use super::origin::Verdict;
use super::{Worker, ask, methods};
use crate::authenticate::{ClaimsRequest, Cookies, Jar, Presented};
use crate::issue::login::Asking;
use crate::issue::refusal::{Code, Refusal};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FOLDER: &str = "/auth/";

/// There only when sign-in is configured.
pub(super) fn routes(app: &mut ServiceConfig) {
    app.service(methods("/auth/login", "GET").route(web::get().to(login)))
        .service(methods("/auth/callback", "GET").route(web::get().to(callback)))
        .service(methods("/auth/logout", "POST").route(web::post().to(logout)))
        .service(methods("/auth/me", "GET, HEAD").route(web::get().to(me)).route(web::head().to(me)));
}

/// Who is signed in.
#[derive(Serialize, ToSchema)]
pub(super) struct SignedIn<'a> {
    /// Always true; nobody is 401.
    signed_in: bool,
    /// What to call the user: the `name` claim, or their id at the issuer.
    user: &'a str,
    tenant: Option<&'a str>,
    groups: &'a [String],
    /// When the session ends unless it is used, seconds since 1970.
    expires_at: u64,
}

/// Nobody is signed in here any more.
#[derive(Serialize, ToSchema)]
pub(super) struct SignedOut {
    /// Always false.
    signed_in: bool,
    /// Where to lead the browser to sign out at the issuer too; null when the issuer offers no such place.
    logout_url: Option<String>,
}

async fn login(request: HttpRequest, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    let query = request.query_string();
    let return_to = parameters(query, "return_to").next().filter(|_| parameters(query, "return_to").count() == 1);
    let (cookies, jar) = (cookies(request.headers()), jar(&request));
    let place = worker.issuer.lead(&asking(&request)?, return_to.as_deref(), claims(query), &cookies, &jar).await?;
    Ok(redirect(StatusCode::FOUND, &place))
}

/// What the issuer has to ask the user for: once, and whole.
fn claims(query: &str) -> Result<Option<ClaimsRequest>, Refusal> {
    let asked: Vec<_> = parameters(query, "claims").collect();
    let read = match asked.as_slice() {
        [] => return Ok(None),
        [one] => ClaimsRequest::read(one),
        _ => None,
    };
    let sentence = "claims has to be the text that the answer interaction_required has as claims: a claims request for the access token, in base64, once.";
    read.map(Some).ok_or_else(|| Refusal::new(Code::InvalidJson, sentence).about("claims"))
}

fn parameters<'a>(query: &'a str, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    form_urlencoded::parse(query.as_bytes()).filter(move |(key, _)| key == name).map(|(_, value)| value)
}

async fn callback(request: HttpRequest, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    let (cookies, jar) = (cookies(request.headers()), jar(&request));
    let place = worker.issuer.sign_in(&asking(&request)?, request.query_string(), &cookies, &jar).await?;
    // See Other: nothing of what led here is sent on (RFC 9700, section 4.12).
    Ok(redirect(StatusCode::SEE_OTHER, &place))
}

async fn logout(request: HttpRequest, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    let allowed = check_page(&request, &worker).and_then(|()| ask::takes_json(request.headers()));
    let (cookies, jar) = (cookies(request.headers()), jar(&request));
    let logout_url = worker.issuer.sign_out(&asking(&request)?, allowed, &cookies, &jar).await?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(SignedOut { signed_in: false, logout_url }))
}

async fn me(request: HttpRequest, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    worker.edge.origins().check(request.headers())?;
    ask::takes_json(request.headers())?;
    let presented = session(&request, &worker)?
        .ok_or_else(|| Refusal::new(Code::MissingCredentials, "Nobody is signed in in this browser; sign in at /auth/login."))?;
    let me = worker.issuer.login()?.me(&presented).await?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(SignedIn {
        signed_in: true,
        user: &me.user,
        tenant: Some(me.principal.tenant()).filter(|tenant| !tenant.is_empty()),
        groups: me.principal.groups(),
        expires_at: me.expires_at,
    }))
}

/// The session's cookie, where it is what the caller presents: with an `Authorization` header it is not.
///
/// Browsers send cookies whatever page causes the request, so one that changes something must come from a page that may call.
pub(super) fn session(request: &HttpRequest, worker: &Worker) -> Result<Option<Presented>, Refusal> {
    let headers = request.headers();
    let Some(login) = worker.issuer.stages.authenticator.login() else { return Ok(None) };
    if headers.contains_key(AUTHORIZATION) || !headers.contains_key(COOKIE) {
        return Ok(None);
    }
    let presented = login.presented(&cookies(headers), &jar(request))?;
    if presented.is_some() && !matches!(*request.method(), Method::GET | Method::HEAD) {
        check_page(request, worker)?;
    }
    Ok(presented)
}

/// Refuses what does not come from a page of an allowed origin, and what may not.
fn check_page(request: &HttpRequest, worker: &Worker) -> Result<(), Refusal> {
    let mut site = request.headers().get_all(SEC_FETCH_SITE);
    let from_own_page = site.next().is_some_and(|site| site == "same-origin") && site.next().is_none();
    match worker.edge.origins().verdict(request.headers()) {
        Verdict::Allowed(_) => Ok(()),
        Verdict::Absent if from_own_page => Ok(()),
        Verdict::Absent | Verdict::Refused => Err(Refusal::new(
            Code::OriginNotAllowed,
            "With a session cookie, requests that change something must say that they come from an allowed page, as browsers do in Origin.",
        )
        .about("Origin")),
    }
}

/// What the audit trail says of the request.
fn asking(request: &HttpRequest) -> Result<Asking, Refusal> {
    let arrival = request.extensions().get::<Arrival>().cloned();
    let arrival = arrival.ok_or_else(|| Refusal::new(Code::Internal, "The request was not set up."))?;
    Ok(Asking { request_id: arrival.request_id, trace: ask::trace(request.headers()), arrived: arrival.at })
}

fn cookies(headers: &HeaderMap) -> Cookies<'_> {
    Cookies::read(headers.get_all(COOKIE).map(HeaderValue::as_bytes))
}

fn redirect(status: StatusCode, place: &str) -> HttpResponse {
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).insert_header((LOCATION, place)).finish()
}

fn jar(request: &HttpRequest) -> Jar {
    request.extensions().get::<Jar>().cloned().unwrap_or_default()
}

/// The browser that sent a request, as far as the answer's form depends on it.
pub(super) struct Browser {
    /// Cookies for the answer. Absent for requests that have nothing to do with them.
    jar: Option<Jar>,
    /// A person reads the answer: browsers are led to these paths, and no script is.
    is_led: bool,
}

impl Browser {
    /// Prepares the request for handlers that leave cookies for the answer.
    pub(super) fn of(request: &ServiceRequest) -> Self {
        let (path, headers) = (request.path(), request.headers());
        let jar = (path.starts_with(FOLDER) || headers.contains_key(COOKIE)).then(Jar::default);
        if let Some(jar) = &jar {
            request.extensions_mut().insert(jar.clone());
        }
        let mut kinds = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
        let is_led = matches!(path, "/auth/login" | "/auth/callback") && kinds.any(|kinds| kinds.contains("text/html"));
        Self { jar, is_led }
    }

    /// Hands the cookies out, with whatever the answer is.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        for cookie in self.jar.iter().flat_map(Jar::take) {
            if let Ok(value) = HeaderValue::try_from(cookie.reveal()) {
                headers.append(SET_COOKIE, value);
            }
        }
    }

    /// A refusal in a form that its reader can use.
    pub(super) fn refused(&self, problem: HttpResponse, refusal: &Refusal, request_id: &str) -> HttpResponse {
        if self.is_led { page(problem, refusal, request_id) } else { problem }
    }
}

/// A refusal as a page. Nothing of the request is on it but its id.
fn page(mut problem: HttpResponse, refusal: &Refusal, request_id: &str) -> HttpResponse {
    let headers = problem.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::try_from(policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    let text = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Not signed in</title>{}</head><body><main><header><h1>You are not signed in</h1><p>{}</p><p><a href=\"login\">Try again</a> · <a href=\"../\">Go back</a></p></header><section><p>{} <code>{}</code>, request <code>{}</code></p></section></main></body></html>",
        style(),
        escape(&refusal.detail),
        refusal.code.row().status,
        refusal.code.row().name,
        escape(request_id)
    );
    problem.set_body(BoxBody::new(text))
}
