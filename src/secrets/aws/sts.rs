//! AWS STS: temporary credentials of a role (AWS STS API Reference, "AssumeRoleWithWebIdentity" and "AssumeRole").

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::{Client, Url};
use url::form_urlencoded::Serializer;

use super::Unreadable;
use super::exchange::{self, Reply};
use super::place::{self, Region};
use super::sign::{Credentials, Scope, signed};
use crate::domain::secret::Secret;

const WHO: &str = "AWS STS";
const FORM: &str = "application/x-www-form-urlencoded";
const SESSION: &str = "ephemint";

/// A role to be taken on.
pub(super) struct Role<'a> {
    pub(super) arn: &'a str,
    /// Names the process in AWS's audit. Default: `ephemint`.
    pub(super) session: Option<&'a str>,
    pub(super) external_id: Option<&'a str>,
}

impl Role<'_> {
    fn form(&self, action: &str, more: &[(&str, &str)]) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", "2011-06-15");
        form.append_pair("RoleArn", self.arn).append_pair("RoleSessionName", self.session.unwrap_or(SESSION));
        form.extend_pairs(more).finish()
    }

    /// With the token of a pod or of another OpenID provider's workload.
    pub(super) async fn by_token(&self, token: &Secret, client: &Client, url: Url) -> Result<Credentials, Unreadable> {
        let form = self.form("AssumeRoleWithWebIdentity", &[("WebIdentityToken", token.reveal())]);
        let headers = BTreeMap::from([("content-type", FORM.to_owned())]);
        let reply = exchange::ask(exchange::with(client.post(url), headers).body(form), WHO).await?;
        self.read(&reply, "the web identity token")
    }

    /// With other credentials.
    pub(super) async fn by(
        &self,
        source: &Credentials,
        client: &Client,
        url: Url,
        region: &Region,
        now: Timestamp,
    ) -> Result<Credentials, Unreadable> {
        let more = self.external_id.map(|id| ("ExternalId", id));
        let form = self.form("AssumeRole", more.as_slice());
        let headers = BTreeMap::from([("content-type", FORM.to_owned()), ("host", place::authority(&url))]);
        let scope = Scope { service: "sts", region: region.as_str(), at: now };
        let headers = signed(headers, form.as_bytes(), source, &scope);
        let reply = exchange::ask(exchange::with(client.post(url), headers).body(form), WHO).await?;
        self.read(&reply, &format!("the credentials of {}", source.owner))
    }

    fn read(&self, reply: &Reply, proof: &str) -> Result<Credentials, Unreadable> {
        let text = String::from_utf8_lossy(&reply.body);
        if !reply.status.is_success() {
            return Err(self.refused(reply, element(&text, "Code").unwrap_or_default(), proof));
        }
        let value = |name| element(&text, name).ok_or_else(|| reply.malformed());
        let token = value("SessionToken")?;
        let credentials =
            Credentials::new(value("AccessKeyId")?, value("SecretAccessKey")?, Some(token), &format!("the role {}", self.arn))?;
        credentials.until(value("Expiration")?).ok_or_else(|| reply.malformed())
    }

    fn refused(&self, reply: &Reply, code: &str, proof: &str) -> Unreadable {
        let role = self.arn;
        let wrong = match code {
            "AccessDenied" => format!(
                "AWS does not let {proof} assume the role {role}; check the role's trust policy and, of an AWS identity, the permission sts:AssumeRole"
            ),
            "ExpiredTokenException" | "ExpiredToken" => format!("{proof} expired, so the role {role} cannot be assumed"),
            "InvalidIdentityToken" | "IDPRejectedClaim" => format!(
                "AWS does not trust the issuer or the audience of {proof}; the role {role} needs an IAM OIDC provider that has both"
            ),
            "InvalidClientTokenId" | "SignatureDoesNotMatch" => {
                format!("AWS does not know {proof}, with which the role {role} is to be assumed")
            }
            "RegionDisabledException" => "AWS STS is switched off in that region; set AWS_REGION to another".into(),
            "ValidationError" => format!("AWS takes {role} for no role, or its session name for none"),
            "IDPCommunicationError" | "Throttling" => return Unreadable::Away(format!("{WHO} answered {code}; it will pass")),
            other => return reply.unknown(other),
        };
        if reply.status.is_server_error() { reply.unknown(code) } else { Unreadable::Wrong(wrong) }
    }
}

/// The text of the first element of this name. What is looked for here has neither attributes nor characters that XML escapes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

#[cfg(test)]
mod tests {
    use super::element;

    #[test]
    fn an_element_has_an_end() {
        assert_eq!(element("<a><Code> X </Code><Code>Y</Code></a>", "Code"), Some("X"));
        assert_eq!(element("<Code>X", "Code"), None);
        assert_eq!(element("X</Code>", "Code"), None);
    }
}
