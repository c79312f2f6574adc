//! A fake issuer's authorization and token endpoints, and the browser between it and the service.

use std::collections::{BTreeMap, HashMap, VecDeque};

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::parse;

use super::answer::Answer;
use super::canary::secrets;
use super::client::Call;
use super::issuer::Issuer;
use super::reply::Reply;
use super::sealed::resealed;
use super::service::Service;
use super::token::{Token, base64url};
use super::wire::Request;
use super::{lock, user};

/// What the service is called at the issuer.
pub(crate) const CLIENT_ID: &str = "ephemint-login";
/// Where browsers reach the service, as they believe: TLS ends before it.
pub(crate) const PUBLIC_URL: &str = "https://voice.example.com";
pub(crate) const SESSION_COOKIE: &str = "__Host-ephemint";
pub(crate) const SIGN_IN_COOKIE: &str = "__Host-ephemint-login-";

/// What the service asked the issuer for, by leading a browser there.
#[derive(Clone, Debug)]
pub(crate) struct Asked(BTreeMap<String, String>);

impl Asked {
    pub(crate) fn read(location: &str) -> Self {
        let url = Url::parse(location).expect("the place to sign in is a URL");
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let parameters: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(parameters.len(), pairs.len(), "a parameter is there twice: {location}");
        Self(parameters)
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The issuer's answer, as the browser brings it back.
    pub(crate) fn answer(&self, code: &str) -> String {
        format!("/auth/callback?code={code}&state={}", self.get("state"))
    }
}

/// What a code is good for.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    challenge: String,
    redirect_uri: String,
    answer: Value,
}

/// The token endpoint's state.
#[derive(Default)]
pub(crate) struct TokenEndpoint {
    grants: HashMap<String, Grant>,
    given: usize,
    broken: Option<Reply>,
    refreshed: VecDeque<Reply>,
}

impl TokenEndpoint {
    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        let form: BTreeMap<_, _> = parse(&request.body).into_owned().collect();
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let refused = || Reply::json(400, &json!({"error": "invalid_grant", "error_description": secrets::UPSTREAM_MESSAGE}));
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        if field("grant_type") == "refresh_token" {
            return self.refreshed.pop_front().unwrap_or_else(refused);
        }
        let Some(grant) = self.grants.remove(field("code")) else { return refused() };
        let challenge = base64url(digest(&SHA256, field("code_verifier").as_bytes()));
        if field("grant_type") != "authorization_code"
            || grant.challenge != challenge
            || grant.redirect_uri != field("redirect_uri")
        {
            return refused();
        }
        Reply::json(200, &grant.answer)
    }
}

impl Issuer {
    /// A good ID token of `canary-user-NAME` for this sign-in, to be changed by the test.
    pub(crate) fn id_token(&self, asked: &Asked, name: &str) -> Token {
        self.token(&user(name)).claim("aud", CLIENT_ID).claim("nonce", asked.get("nonce"))
    }

    /// A code for which the token endpoint gives this ID token.
    pub(crate) fn code(&self, asked: &Asked, id_token: &str) -> String {
        self.code_for(asked, json!({"access_token": "canary-access-token", "token_type": "Bearer", "id_token": id_token}))
    }

    /// A code for which the token endpoint gives this answer.
    pub(crate) fn code_for(&self, asked: &Asked, answer: Value) -> String {
        let (challenge, redirect_uri) = (asked.get("code_challenge").to_owned(), asked.get("redirect_uri").to_owned());
        let mut endpoint = lock(&self.token_endpoint);
        endpoint.given += 1;
        let code = format!("{}-{}", secrets::CODE, endpoint.given);
        endpoint.grants.insert(code.clone(), Grant { challenge, redirect_uri, answer });
        code
    }

    /// Answers everything at the token endpoint with `reply`; `None` ends it.
    pub(crate) fn break_token_endpoint(&self, reply: Option<Reply>) {
        lock(&self.token_endpoint).broken = reply;
    }

    /// The answer to the next refresh token; without one, refresh tokens are refused.
    pub(crate) fn refresh_with(&self, reply: Reply) {
        lock(&self.token_endpoint).refreshed.push_back(reply);
    }

    /// What came to the token endpoint, as forms.
    pub(crate) fn token_requests(&self) -> Vec<BTreeMap<String, String>> {
        let requests = self.requests();
        let to_endpoint = requests.iter().filter(|request| request.target == "/token");
        to_endpoint.map(|request| parse(&request.body).into_owned().collect()).collect()
    }
}

/// A browser: it keeps cookies, and does not follow redirects.
pub(crate) struct Browser<'a> {
    service: &'a Service,
    cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(service: &'a Service) -> Self {
        Self { service, cookies: Vec::new() }
    }

    /// Signed in as `canary-user-NAME`.
    pub(crate) async fn signed_in(service: &'a Service, issuer: &Issuer, name: &str) -> Self {
        let mut browser = Self::new(service);
        let asked = browser.ask().await;
        let code = issuer.code(&asked, &issuer.id_token(&asked, name).build());
        browser.get(&asked.answer(&code)).await.expect(303);
        browser
    }

    /// Begins to sign in.
    pub(crate) async fn ask(&mut self) -> Asked {
        self.ask_from("/auth/login").await
    }

    pub(crate) async fn ask_from(&mut self, path: &str) -> Asked {
        let answer = self.get(path).await;
        Asked::read(answer.expect(302).header("location").expect("Location"))
    }

    /// An address that the user goes to, or a script of the service's own page asks for.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(self.call(Method::GET, path)).await
    }

    /// A request of a script of the service's own page.
    pub(crate) async fn post(&mut self, path: &str) -> Answer {
        self.send(self.call(Method::POST, path).header("origin", PUBLIC_URL)).await
    }

    /// A request with the browser's cookies and nothing else.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let call = self.service.call(method, path);
        if self.cookies.is_empty() { call } else { call.cookie(&self.cookie_header()) }
    }

    /// Sends, and keeps the cookies of the answer.
    pub(crate) async fn send(&mut self, call: Call) -> Answer {
        let answer = call.send().await;
        for cookie in answer.all("set-cookie") {
            let (name, value) =
                cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie's name and value");
            self.drop_cookie(name);
            if !cookie.contains("; Max-Age=0;") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    pub(crate) fn cookie_header(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.cookies.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The session's cookie.
    #[track_caller]
    pub(crate) fn session(&self) -> String {
        self.cookie(SESSION_COOKIE).expect("a session").to_owned()
    }

    /// Changes what the session's cookie holds.
    #[track_caller]
    pub(crate) fn change_session(&mut self, issuer: &Issuer, change: impl FnOnce(&mut Value)) {
        let changed = resealed(&self.session(), &issuer.url(), change);
        self.set_cookie(SESSION_COOKIE, &changed);
    }

    pub(crate) fn set_cookie(&mut self, name: &str, value: &str) {
        self.drop_cookie(name);
        self.cookies.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn drop_cookie(&mut self, name: &str) {
        self.cookies.retain(|(known, _)| known != name);
    }
}
