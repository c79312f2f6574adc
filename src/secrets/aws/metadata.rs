//! Credentials that the surroundings of the process hand out: to a container (AWS SDKs and Tools Reference Guide, "Container credential
//! provider", which EKS Pod Identity is too) and to an EC2 instance (EC2 User Guide, "Use the Instance Metadata Service", version 2).

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use url::Host;

use super::Unreadable;
use super::exchange::{self, Reply, Unanswered, with};
use super::place::{guarded, is_on, is_this_machine, variable};
use super::profile;
use super::sign::Credentials;
use crate::config::load::Environ;

/// These services are next door. Longer than a connection may take, so that nobody being there is told from nobody answering.
const DEADLINE: Duration = Duration::from_secs(3);
const CONTAINER: &str = "the container's credential service";
const INSTANCE: &str = "the instance metadata service";
const ECS: &str = "http://169.254.170.2";
const IMDS: &str = "http://169.254.169.254";
const IMDS_V6: &str = "http://[fd00:ec2::254]";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// Of the session with the metadata service, in seconds. It is used at once.
const SESSION: &str = "60";

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Handed {
    /// `Success`, where it is said.
    code: Option<String>,
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

/// Credentials of an ECS task or a pod. `None`: the process is in neither.
pub(super) async fn container(client: &Client, environ: &Environ) -> Result<Option<Credentials>, Unreadable> {
    const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let url = match (variable(environ, RELATIVE), variable(environ, FULL)) {
        (Some(path), _) => guarded(&format!("{ECS}{path}"), RELATIVE, is_next_door)?,
        (None, Some(url)) => guarded(url, FULL, is_next_door)?,
        (None, None) => return Ok(None),
    };
    let mut request = client.get(url).timeout(DEADLINE);
    if let Some(token) = container_token(environ).await? {
        request = with(request, [("authorization", token)].into());
    }
    let reply = exchange::ask(request, CONTAINER).await?;
    handed(&reply, "the container").map(Some)
}

/// What the container proves itself with. The file is read anew each time: its token is renewed.
async fn container_token(environ: &Environ) -> Result<Option<String>, Unreadable> {
    const FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    let (token, name) = match variable(environ, FILE) {
        Some(path) => {
            let token = profile::token(path).await;
            (token.map_err(|cause| Unreadable::Wrong(format!("the file that {FILE} names {cause}")))?.reveal().to_owned(), FILE)
        }
        None => match variable(environ, TOKEN) {
            Some(token) => (token.to_owned(), TOKEN),
            None => return Ok(None),
        },
    };
    if token.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Ok(Some(token));
    }
    Err(Unreadable::Wrong(format!("{name} holds a token that no header can carry")))
}

/// Credentials of the EC2 instance. `None`: there is no instance metadata service, or it is switched off.
pub(super) async fn instance(client: &Client, environ: &Environ) -> Result<Option<Credentials>, Unreadable> {
    const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
    if is_on(environ, "AWS_EC2_METADATA_DISABLED") {
        return Ok(None);
    }
    let is_v6 = variable(environ, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").is_some_and(|text| text.eq_ignore_ascii_case("ipv6"));
    let usual = if is_v6 { IMDS_V6 } else { IMDS };
    let base = guarded(variable(environ, ENDPOINT).unwrap_or(usual), ENDPOINT, is_next_door)?;
    let to = |method: Method, path: &str| {
        let mut url = base.clone();
        url.set_path(path);
        client.request(method, url).timeout(DEADLINE)
    };
    let Some(session) = session(to(Method::PUT, "/latest/api/token")).await? else {
        return Ok(None);
    };
    let get = |path: &str| with(to(Method::GET, path), [("x-aws-ec2-metadata-token", session.clone())].into());
    let roles = exchange::ask(get(ROLES), INSTANCE).await?;
    let role = match roles.status {
        StatusCode::OK => line(&roles)?,
        StatusCode::NOT_FOUND => {
            return Err(Unreadable::Wrong("the EC2 instance has no role; attach an instance profile".into()));
        }
        _ => return Err(roles.unknown("")),
    };
    let reply = exchange::ask(get(&format!("{ROLES}{role}")), INSTANCE).await?;
    handed(&reply, &format!("the EC2 instance's role {role}")).map(Some)
}

/// Opens a session. `None`: nobody is there.
async fn session(request: RequestBuilder) -> Result<Option<String>, Unreadable> {
    let request = request.header("x-aws-ec2-metadata-token-ttl-seconds", SESSION).header("content-length", "0");
    let reply = match exchange::ask(request, INSTANCE).await {
        Ok(reply) => reply,
        Err(Unanswered::Unreachable(_)) => return Ok(None),
        // Its answer does not travel further than the instance's hop limit, which is 1 by default.
        Err(Unanswered::Late(cause)) => {
            return Err(Unreadable::Away(format!("{cause}; in a container, raise the instance's HttpPutResponseHopLimit to 2")));
        }
        Err(other) => return Err(other.into()),
    };
    match reply.status {
        StatusCode::OK => line(&reply).map(Some),
        StatusCode::FORBIDDEN => {
            Err(Unreadable::Wrong("the instance metadata service is switched off; enable its version 2".into()))
        }
        // The metadata service of another cloud has the same address.
        status if status.is_client_error() => Ok(None),
        _ => Err(reply.unknown("")),
    }
}

/// The first line of a text; it goes into a header or a path.
fn line(reply: &Reply) -> Result<String, Unreadable> {
    let text = std::str::from_utf8(&reply.body).ok().and_then(|text| text.lines().next()).map(str::trim);
    let line = text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()));
    line.map(str::to_owned).ok_or_else(|| reply.malformed())
}

fn handed(reply: &Reply, owner: &str) -> Result<Credentials, Unreadable> {
    if reply.status != StatusCode::OK {
        let (who, status) = (reply.who, reply.status.as_u16());
        return Err(match status {
            401 | 403 => {
                Unreadable::Wrong(format!("{who} refuses to hand out credentials ({status}); check its token and the role"))
            }
            404 => {
                Unreadable::Wrong(format!("{who} has no credentials there (404); check the role of the task, pod or instance"))
            }
            _ => reply.unknown(""),
        });
    }
    let handed: Handed = serde_json::from_slice(&reply.body).map_err(|_| reply.malformed())?;
    if let Some(code) = handed.code.filter(|code| code != "Success") {
        let code = exchange::name(&code).unwrap_or("another error");
        return Err(Unreadable::Wrong(format!("{} has no credentials of {owner} ({code}); check its trust policy", reply.who)));
    }
    let credentials = Credentials::new(&handed.access_key_id, &handed.secret_access_key, Some(&handed.token), owner)?;
    credentials.until(&handed.expiration).ok_or_else(|| reply.malformed())
}

/// This machine, and the link-local addresses of these services: of ECS, of EKS Pod Identity, of EC2.
fn is_next_door(url: &Url) -> bool {
    is_this_machine(url)
        || match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_link_local(),
            Some(Host::Ipv6(ip)) => ip.segments().starts_with(&[0xfd00, 0x0ec2]),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::{Url, is_next_door};

    #[test]
    fn credentials_come_from_next_door_alone() {
        for (url, is_near) in [
            ("http://169.254.170.2/v2/credentials/x", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://127.0.0.1:7/", true),
            ("http://169.255.0.1/", false),
            ("http://10.0.0.1/", false),
            ("http://[fd00::23]/", false),
            ("http://169.254.170.2.evil.example/", false),
        ] {
            assert_eq!(is_next_door(&Url::parse(url).unwrap()), is_near, "{url}");
        }
    }
}
