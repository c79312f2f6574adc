//! `ephemint dev`: the best first five minutes.

use super::serve::serve;
use super::startup::from_loaded;
use super::{FAILURE, complain, print, sandbox};
use crate::app::App;
use crate::config::SignIn;
use crate::config::check::exact_origin;
use crate::config::load::{Environ, from_text};
use crate::domain::secret::{Secret, random_secret};
use crate::sandbox::{AUDIENCE, Keys, Scenario, World};

const KEY: &str = "EPHEMINT_DEV_UPSTREAM_KEY";
const PSEUDONYM: &str = "EPHEMINT_DEV_PSEUDONYM_KEY";
/// Where the admin token of a development world is.
const ADMIN: &str = "EPHEMINT_DEV_ADMIN_TOKEN";

#[derive(clap::Args)]
pub(super) struct DevArguments {
    /// Port of the service on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the operators' listener on 127.0.0.1; 0 takes a free one [default: 9090, or 0 when --port is 0]
    #[arg(long)]
    admin_port: Option<u16>,
    /// Use OpenAI itself, with the key in OPENAI_API_KEY, in place of the simulation
    #[arg(long)]
    live: bool,
    /// Run nothing but the simulated OpenAI Realtime API, on --port: offline, for front ends and CI
    #[arg(long, conflicts_with_all = ["live", "admin_port", "open"])]
    sandbox_only: bool,
    /// Web origin whose pages may call, beside the demo page's own: for a front end on another host. May be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin, conflicts_with = "sandbox_only")]
    allow_origin: Vec<String>,
    /// Open the demo page in the browser
    #[arg(long)]
    open: bool,
}

pub(super) fn run(arguments: &DevArguments, mut environ: Environ) -> u8 {
    let outcome = if arguments.sandbox_only { sandbox::run(arguments.port) } else { start(arguments, &mut environ) };
    match outcome {
        Ok(code) => code,
        Err(cause) => {
            complain(&cause);
            FAILURE
        }
    }
}

fn start(arguments: &DevArguments, environ: &mut Environ) -> Result<u8, String> {
    let no_random = |_| "the operating system gives no random numbers".to_owned();
    let key = random_secret("sk-proj-sandbox-").map_err(no_random)?;
    environ.insert(KEY.into(), key.reveal().to_owned());
    let admin = random_secret("dev-").map_err(no_random)?;
    environ.insert(ADMIN.into(), admin.reveal().to_owned());
    environ.insert(PSEUDONYM.into(), random_secret("").map_err(no_random)?.reveal().to_owned());
    // Settings of a service on the same machine are none of this one's.
    environ.retain(|name, _| !name.starts_with("EPHEMINT__"));
    let world = World::bind(0).map_err(|e| format!("cannot listen on 127.0.0.1: {e}"))?.open_to(arguments.allow_origin.clone());
    let loaded = from_text(&settings(arguments, world.url()), "ephemint dev", environ);
    let mut ready = match from_loaded(&loaded, environ.clone(), &Environ::new()) {
        Ok(ready) => ready,
        Err(code) => return Ok(code),
    };
    if let Some(demo) = &mut ready.config.demo {
        let scenarios = if arguments.live { Vec::new() } else { Scenario::names().map(Into::into).to_vec() };
        demo.sign_in = SignIn::Development { users: vec!["alice".into(), "bob".into()], scenarios };
    }
    let (url, token_route) = (world.url().to_owned(), world.token_route());
    world.start(Keys::one(&key), |error| complain(&format!("the sandbox ended: {error}"))).map_err(|e| e.to_string())?;
    let (live, open) = (arguments.live, arguments.open);
    Ok(serve(ready, token_route, false, |app| welcome(app, &url, &admin, live, open)))
}

fn origin(text: &str) -> Result<String, String> {
    exact_origin(text).map(|()| text.to_owned())
}

fn settings(arguments: &DevArguments, world: &str) -> String {
    let port = arguments.port;
    let admin_port = arguments.admin_port.unwrap_or(if port == 0 { 0 } else { 9090 });
    let upstream = if arguments.live {
        r#"credential = { keys = ["env://OPENAI_API_KEY"] }"#.to_owned()
    } else {
        format!("base_url = \"{world}/v1\"\ncredential = {{ keys = [\"env://{KEY}\"] }}")
    };
    let origins = &arguments.allow_origin;
    format!(
        r#"
environment = "dev"
[server]
listen = "127.0.0.1:{port}"
allowed_origins = {origins:?}
workers = 1
[admin]
listen = "127.0.0.1:{admin_port}"
token = "env://{ADMIN}"
open_metrics = true
[privacy]
pseudonym_key = "env://{PSEUDONYM}"
[identity.jwt.dev]
issuer = "{world}"
audience = ["{AUDIENCE}"]
algorithms = ["EdDSA"]
[upstreams.openai]
{upstream}
[profiles.default]
upstream = "openai"
ttl_seconds = 120
client_may_set = ["/audio/output/voice", "/instructions"]
session = {{ type = "realtime", model = "gpt-realtime-2.1", instructions = "You are a friendly voice assistant. Keep answers short.", audio = {{ input = {{ transcription = {{ model = "gpt-4o-mini-transcribe" }} }}, output = {{ voice = "marin" }} }} }}
[profiles.tools]
upstream = "openai"
ttl_seconds = 120
client_may_set = ["/audio/output/voice"]
session = {{ type = "realtime", model = "gpt-realtime-2.1", instructions = "You are a friendly voice assistant that knows the weather. Keep answers short.", audio = {{ input = {{ transcription = {{ model = "gpt-4o-mini-transcribe" }} }}, output = {{ voice = "cedar" }} }}, tools = [{{ type = "function", name = "get_weather", description = "The weather in a city.", parameters = {{ type = "object", properties = {{ city = {{ type = "string" }} }}, required = ["city"] }} }}], tool_choice = "auto" }}
[profiles.limited]
upstream = "openai"
ttl_seconds = 120
client_may_set = ["/audio/output/voice"]
limits = {{ mints_per_minute = 2 }}
session = {{ type = "realtime", model = "gpt-realtime-2.1", instructions = "You are a friendly voice assistant. Keep answers short.", audio = {{ input = {{ transcription = {{ model = "gpt-4o-mini-transcribe" }} }}, output = {{ voice = "marin" }} }} }}
[demo]
enabled = true
profiles = ["default", "tools", "limited"]
[telemetry]
log = "warn"
log_format = "pretty"
"#
    )
}

fn welcome(app: &App, world: &str, token: &Secret, live: bool, open: bool) {
    let (service, admin) = (format!("http://{}", app.public_address()), format!("http://{}", app.admin_address()));
    let token = token.reveal();
    let upstream = if live {
        "sandbox   (sign-in only; sessions are OpenAI's and cost money)"
    } else {
        "sandbox   a simulated OpenAI: nothing leaves this machine, nothing costs money"
    };
    print(&format!(
        r#"
Ephemint is running, on this machine only. Ctrl-C ends it.

  talk      {service}/
  service   {service}         API: {service}/docs
  admin     {admin}/metrics
  {upstream}
            {world}

Open the first of these, sign in as alice and talk. Or trade her token for a client secret by hand:

  curl -s -X POST {service}/v1/realtime/client_secrets -H "Authorization: Bearer $(curl -s {service}/dev/token -H 'Content-Type: application/json' -d '{{"user":"alice"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')"

Then see her session as an operator does, who may also end it, block her or stop everything (deploy/docs/sessions.md):

  curl -s {admin}/admin/v1/sessions -H "Authorization: Bearer {token}"

Every mint and every refusal is written down; here are the entries:
"#
    ));
    if open {
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        if std::process::Command::new(opener).arg(format!("{service}/")).spawn().is_err() {
            complain(&format!("{opener} is not there; open {service}/ yourself"));
        }
    }
}
