//! `POST /v1/realtime/client_secrets` and its sister for translations.

use std::rc::Rc;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

use super::wire::{ClientSecret, rate_limit};
use super::{Worker, ask, wire};
use crate::authorize::Door;
use crate::issue::refusal::{Code, Refusal};
use crate::issue::token::{Call, Issuer};

pub(super) const REALTIME: &str = "/v1/realtime/client_secrets";
pub(super) const TRANSLATION: &str = "/v1/realtime/translations/client_secrets";

/// A mint as far as it is known before its handler, to write down a refusal that the handler does not see.
pub(super) struct Begun {
    issuer: Rc<Issuer>,
    call: Rc<Call>,
}

impl Begun {
    /// `None`: not a mint. The handler finds the call at the request.
    pub(super) fn of(request: &ServiceRequest) -> Option<Self> {
        let door = match request.path() {
            REALTIME => Door::Realtime,
            TRANSLATION => Door::Translation,
            _ => return None,
        };
        let worker = request.app_data::<Data<Worker>>().filter(|_| *request.method() == Method::POST)?;
        let call = Rc::new(ask::call(request.request(), door)?);
        request.extensions_mut().insert(call.clone());
        Some(Self { issuer: worker.issuer.clone(), call })
    }

    pub(super) async fn refused(&self, refusal: Refusal) -> Refusal {
        self.issuer.refused(&self.call, None, refusal).await
    }
}

pub(super) async fn realtime(request: HttpRequest, payload: Payload, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    mint(&request, payload, &worker, Door::Realtime).await
}

pub(super) async fn translation(request: HttpRequest, payload: Payload, worker: Data<Worker>) -> Result<HttpResponse, Refusal> {
    mint(&request, payload, &worker, Door::Translation).await
}

async fn mint(request: &HttpRequest, payload: Payload, worker: &Worker, door: Door) -> Result<HttpResponse, Refusal> {
    let headers = request.headers();
    let begun = request.extensions().get::<Rc<Call>>().cloned();
    let call = begun
        .or_else(|| ask::call(request, door).map(Rc::new))
        .ok_or_else(|| Refusal::new(Code::Internal, "The request was not set up."))?;
    if let Err(refusal) = worker.edge.origins().check(headers).and_then(|()| ask::takes_json(headers)) {
        return Err(worker.issuer.refused(&call, None, refusal).await);
    }
    let profile = call.profile.clone();
    let body = ask::wish(request, payload, &profile, door);
    let issued = worker.issuer.issue(call, ask::presented(request, worker), body).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header((CONTENT_TYPE, "application/json"));
    if let Some(standing) = issued.standing {
        rate_limit(&mut response, standing);
    }
    let answer =
        wire::json(&ClientSecret::from(&issued)).map_err(|_| Refusal::new(Code::Internal, "The answer could not be written."))?;
    Ok(response.body(answer))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::path::Path;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use actix_web::dev::Service;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, init_service};
    use actix_web::web::{self, Data};
    use actix_web::{App, HttpResponse};
    use serde_json::Value;

    use super::{Issuer, REALTIME, Worker};
    use crate::admit::Admission;
    use crate::audit::Auditor;
    use crate::authenticate::Authenticator;
    use crate::authorize::Policy;
    use crate::bind::Bindings;
    use crate::block::Blocks;
    use crate::config::{Audit, Ceilings, Dpop, Identity, Sink};
    use crate::domain::clock::SystemClock;
    use crate::domain::ids::Pseudonymizer;
    use crate::domain::secret::Secret;
    use crate::http::edge::{Edge, guard};
    use crate::http::origin::Origins;
    use crate::issue::token::Stages;
    use crate::leash::HangUps;
    use crate::outbound::Outbound;
    use crate::provider::{Calls, Provider};
    use crate::store::Store;
    use crate::tasks::Tasks;
    use crate::telemetry::metrics::Metrics;

    /// A worker that knows nobody and writes its entries to a file.
    fn worker(entries: &Path) -> Worker {
        let (clock, outbound, (metrics, _)) = (SystemClock::shared(), Outbound::new().unwrap(), Metrics::new(Duration::ZERO));
        let dpop = Dpop {
            offered: false,
            public_url: None,
            algorithms: Vec::new(),
            window_seconds: 60,
            require_nonce: false,
            replay_entries: 1,
        };
        let identity = Identity {
            jwt: Vec::new(),
            introspection: Vec::new(),
            api_keys: Vec::new(),
            dpop,
            login: None,
            guest: None,
            verified_token_lifetime: Duration::ZERO,
            verified_tokens: 1,
        };
        let names = Pseudonymizer::new(&Secret::from("a key for pseudonyms".to_owned()));
        let audit = Audit {
            sinks: vec![Sink::File(entries.to_owned())],
            required: true,
            identify_users: crate::config::IdentifyUsers::Pseudonym,
        };
        let policy = Policy::new(BTreeMap::new());
        let (bindings, auditor) =
            (Arc::new(Bindings::new(&Store::Memory, &clock).unwrap()), Arc::new(Auditor::open(audit, metrics.clone()).unwrap()));
        let calls = Calls::new(Vec::new(), &outbound, clock.clone()).unwrap();
        let stages = Stages {
            authenticator: Authenticator::start(identity, Vec::new(), names.clone(), &outbound, clock.clone(), metrics.clone())
                .unwrap(),
            admission: Admission::new(&policy, Ceilings::default(), None, names, &clock, &Store::Memory, &metrics).unwrap(),
            policy,
            blocks: Blocks::new(&Store::Memory, clock.clone()).unwrap(),
            hang_ups: HangUps::new(calls, bindings.clone(), auditor.clone(), clock.clone(), &metrics),
            bindings,
            auditor,
            store: Store::Memory,
            clock: clock.clone(),
            tasks: Tasks::default(),
            mints: HashMap::new(),
            metrics: metrics.clone(),
        };
        let provider = Provider::new(&[], &outbound, &clock, &metrics).unwrap();
        let edge = Edge::new(Origins::new(&[], false), None, "/docs".into(), 1, metrics, clock);
        Worker { issuer: Rc::new(Issuer { stages: Arc::new(stages), provider }), edge, proxies: Arc::default() }
    }

    async fn panics() -> HttpResponse {
        panic!("sk-canary in a panic's message")
    }

    #[tokio::test]
    async fn a_mint_that_panics_is_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let entries = folder.path().join("audit.jsonl");
        let worker = worker(&entries);
        let app = App::new().app_data(Data::from(worker.edge.clone())).wrap(from_fn(guard));
        let app = app.configure(|routes| {
            routes.app_data(Data::new(worker)).route(REALTIME, web::post().to(panics)).route("/other", web::post().to(panics));
        });
        let app = init_service(app).await;
        for (path, id) in [(REALTIME, "mint"), ("/other", "other")] {
            let request = TestRequest::post().uri(path).insert_header(("x-request-id", id)).to_request();
            assert_eq!(app.call(request).await.unwrap_err().error_response().status(), 500);
        }
        let written = std::fs::read_to_string(&entries).unwrap();
        let entry: Value = serde_json::from_str(&written).unwrap();
        assert_eq!((&entry["outcome"], &entry["request_id"]), (&"internal".into(), &"mint".into()), "{written}");
        assert!(!written.contains("canary"), "{written}");
    }
}
