//! `ephemint dev --sandbox-only`: the simulated `OpenAI` Realtime API alone.

use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::Notify;

use super::{FAILURE, complain, print};
use crate::sandbox::{Keys, Scenario, World};
use crate::shutdown::Signals;

/// Runs it on 127.0.0.1 until a signal. 0 takes a free port.
pub(super) fn run(port: u16) -> Result<u8, String> {
    let world = World::bind(port).map_err(|e| format!("cannot listen on 127.0.0.1:{port}: {e}"))?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let url = world.url().to_owned();
    let broken = Arc::new(Notify::new());
    let ended = broken.clone();
    let say = move |error| {
        complain(&format!("the sandbox ended: {error}"));
        ended.notify_one();
    };
    runtime.block_on(async {
        let mut signals = Signals::listen(false).map_err(|e| e.to_string())?;
        world.start(Keys::AnyThatLooksLikeOne, say).map_err(|e| e.to_string())?;
        welcome(&url);
        tokio::select! {
            _ = signals.next() => Ok(0),
            () = broken.notified() => Ok(FAILURE),
        }
    })
}

fn welcome(url: &str) {
    let scenarios = Scenario::names().join(", ");
    print(&format!(
        r#"
A simulated OpenAI Realtime API is running, on this machine only. Ctrl-C ends it.

  base URL   {url}/v1
             export OPENAI_BASE_URL={url}/v1
  API key    any that starts with sk-, for example sk-sandbox; it is not kept and opens nothing else
  scenarios  {scenarios}
             chosen by ?scenario=NAME, by the header x-sandbox-scenario, or by the base URL {url}/scenarios/NAME/v1

Get a client secret:

  curl -s {url}/v1/realtime/client_secrets -H "Authorization: Bearer sk-sandbox" -H "Content-Type: application/json" -d '{{"session":{{"type":"realtime","model":"gpt-realtime-2.1"}}}}'
"#
    ));
}
