//! A simulated issuer: whoever says to be alice is alice. Its tokens are real JWTs and go through the same checks as any other.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use super::AUDIENCE;
use super::local::names_this_machine;
use super::upstream::at;
use crate::domain::clock::SharedClock;
use crate::http::edge;
use crate::issue::refusal::{Code, Refusal};

const TOKEN_SECONDS: u64 = 3600;
const MAX_NAME: usize = 64;
const NO_BODY: usize = 0;

/// The issuer's key, new with every start.
pub(crate) struct Signin {
    issuer: String,
    key: Ed25519KeyPair,
    clock: SharedClock,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    user: String,
    #[serde(default)]
    groups: Vec<String>,
}

impl Signin {
    pub(crate) fn new(issuer: String, clock: SharedClock) -> Result<Self, Unspecified> {
        Ok(Self { issuer, key: Ed25519KeyPair::generate()?, clock })
    }

    fn sign(&self, request: &TokenRequest) -> String {
        let now = self.clock.unix();
        let claims = json!({
            "iss": self.issuer, "sub": request.user, "aud": AUDIENCE, "iat": now, "exp": now + TOKEN_SECONDS, "groups": request.groups,
        });
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "dev"});
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes())))
    }
}

/// Discovery and keys.
pub(super) fn issuer(signin: Data<Signin>) -> impl FnOnce(&mut ServiceConfig) {
    move |app: &mut ServiceConfig| {
        app.app_data(signin)
            .service(at("/.well-known/openid-configuration", "GET", NO_BODY).route(web::get().to(discovery)))
            .service(at("/jwks", "GET", NO_BODY).route(web::get().to(jwks)));
    }
}

async fn discovery(signin: Data<Signin>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"issuer": signin.issuer, "jwks_uri": format!("{}/jwks", signin.issuer)}))
}

async fn jwks(signin: Data<Signin>) -> HttpResponse {
    let x = URL_SAFE_NO_PAD.encode(signin.key.public_key());
    HttpResponse::Ok()
        .json(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "dev", "x": x}]}))
}

/// `POST /dev/token {"user":"alice"}`.
pub(super) async fn token(request: HttpRequest, body: Bytes, signin: Data<Signin>) -> Result<HttpResponse, Refusal> {
    edge::check_origin(&request)?;
    if !names_this_machine(&request) {
        return Err(
            Refusal::new(Code::OriginNotAllowed, "Development sign-in answers to 127.0.0.1 and localhost only.").about("Host")
        );
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(
            Refusal::new(Code::UnsupportedMediaType, "Send the body as Content-Type: application/json.").about("Content-Type")
        );
    }
    let wanted: TokenRequest = serde_json::from_slice(&body)
        .map_err(|_| Refusal::new(Code::InvalidJson, "Send {\"user\":\"alice\"}, with \"groups\":[\"…\"] if you like."))?;
    let named = (1..=MAX_NAME).contains(&wanted.user.len())
        && wanted.user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b));
    if !named {
        return Err(
            Refusal::new(Code::InvalidJson, "A user's name has 1 to 64 letters, digits, '.', '_', '-' or '@'.").about("/user")
        );
    }
    let answer = json!({"access_token": signin.sign(&wanted), "token_type": "Bearer", "expires_in": TOKEN_SECONDS});
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer))
}
