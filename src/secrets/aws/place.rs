//! Where Secrets Manager and STS are.

use url::{Host, Url};

use super::Unreadable;
use super::profile::Profile;
use crate::config::load::Environ;

/// By the beginning of a region's name, where its services are (botocore, `partitions.json`). Others are at `amazonaws.com`.
const SUFFIXES: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
];

/// The name of a region. It becomes part of a host's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region(String);

impl Region {
    fn parse(text: &str, origin: &str) -> Result<Self, Unreadable> {
        let fits = (3..=40).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        let wrong = || Unreadable::Wrong(format!("{origin} does not hold the name of a region, such as eu-west-1"));
        fits.then(|| Self(text.to_owned())).ok_or_else(wrong)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A variable that is set to something.
pub(super) fn variable<'a>(environ: &'a Environ, name: &str) -> Option<&'a str> {
    environ.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// A variable that switches something.
pub(super) fn is_on(environ: &Environ, name: &str) -> bool {
    variable(environ, name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

/// The region of a secret: as set, that of its ARN, of the environment, of the profile.
pub(super) async fn region(setting: Option<&str>, id: &str, environ: &Environ) -> Result<Region, Unreadable> {
    if let Some(text) = setting {
        return Region::parse(text, "secrets.aws.region");
    }
    if let Some(text) = of_arn(id) {
        return Region::parse(text, "the secret's ARN");
    }
    match of_environment(environ).await? {
        Some(region) => Ok(region),
        None => Err(Unreadable::Wrong(
            "the region is not known; set secrets.aws.region or AWS_REGION, or name the secret by its ARN".into(),
        )),
    }
}

/// The region that the process itself is set to.
pub(super) async fn of_environment(environ: &Environ) -> Result<Option<Region>, Unreadable> {
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Some(text) = variable(environ, name) {
            return Region::parse(text, name).map(Some);
        }
    }
    let Some(profile) = Profile::read(environ).await? else { return Ok(None) };
    profile.value("region").map(|text| Region::parse(text, &profile.to_string())).transpose()
}

/// `arn:partition:secretsmanager:region:account:secret:name`
fn of_arn(id: &str) -> Option<&str> {
    id.strip_prefix("arn:")?.split(':').nth(2)
}

pub(super) fn secrets_manager(setting: Option<&Url>, region: &Region, environ: &Environ) -> Result<Url, Unreadable> {
    match setting {
        Some(url) => Ok(url.clone()),
        None => endpoint("secretsmanager", "AWS_ENDPOINT_URL_SECRETS_MANAGER", region, environ),
    }
}

pub(super) fn sts(region: &Region, environ: &Environ) -> Result<Url, Unreadable> {
    endpoint("sts", "AWS_ENDPOINT_URL_STS", region, environ)
}

/// AWS SDKs and Tools Reference Guide, "Service-specific endpoints".
fn endpoint(service: &str, own: &str, region: &Region, environ: &Environ) -> Result<Url, Unreadable> {
    for name in [own, "AWS_ENDPOINT_URL"] {
        if let Some(text) = variable(environ, name) {
            let url = guarded(text, name, is_this_machine)?;
            // It would have to be signed.
            let has_more = url.path() != "/" || url.query().is_some();
            let wrong = || Unreadable::Wrong(format!("{name} has a path, which no service of AWS has"));
            return (!has_more).then_some(url).ok_or_else(wrong);
        }
    }
    let region = region.as_str();
    let suffix = SUFFIXES.into_iter().find(|(start, _)| region.starts_with(start)).map_or("amazonaws.com", |(_, suffix)| suffix);
    let fips = if is_on(environ, "AWS_USE_FIPS_ENDPOINT") { "-fips" } else { "" };
    Url::parse(&format!("https://{service}{fips}.{region}.{suffix}/"))
        .map_err(|_| Unreadable::Wrong("the region does not make the name of a host".into()))
}

/// A URL of the variable `name`. Plain http is for the hosts that `is_near` knows: what goes there are credentials.
pub(super) fn guarded(text: &str, name: &str, is_near: fn(&Url) -> bool) -> Result<Url, Unreadable> {
    let url = Url::parse(text).ok().filter(|url| url.host().is_some() && url.username().is_empty() && url.password().is_none());
    match url {
        Some(url) if url.scheme() == "https" || url.scheme() == "http" && is_near(&url) => Ok(url),
        Some(url) if url.scheme() == "http" => {
            Err(Unreadable::Wrong(format!("{name} is plain http, which would show secrets on their way; use https")))
        }
        _ => Err(Unreadable::Wrong(format!("{name} does not hold a URL that begins with https://"))),
    }
}

/// What the header `Host` says.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Region, Unreadable, Url, authority, endpoint, guarded, is_this_machine, of_arn, region};
    use crate::config::load::Environ;

    #[test]
    fn the_region_is_that_of_the_arn() {
        assert_eq!(of_arn("arn:aws:secretsmanager:eu-west-1:123456789012:secret:openai-AbCdEf"), Some("eu-west-1"));
        assert_eq!(of_arn("arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:openai"), Some("cn-north-1"));
        assert_eq!(of_arn("ephemint/openai"), None);
    }

    #[tokio::test]
    async fn a_region_cannot_lead_to_another_host() {
        for text in ["eu-west-1.evil.example", "evil.example/", "EU-WEST-1", "-eu", "eu-", "e", "eu west"] {
            let environ = Environ::from([("AWS_REGION".to_owned(), text.to_owned())]);
            let outcome = region(None, "openai", &environ).await;
            assert!(matches!(outcome, Err(Unreadable::Wrong(cause)) if cause.starts_with("AWS_REGION")), "{text}");
        }
    }

    #[test]
    fn services_are_where_the_region_has_them() {
        for (region, host) in [
            ("eu-west-1", "secretsmanager.eu-west-1.amazonaws.com"),
            ("us-gov-west-1", "secretsmanager.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "secretsmanager.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "secretsmanager.eusc-de-east-1.amazonaws.eu"),
            ("us-isob-east-1", "secretsmanager.us-isob-east-1.sc2s.sgov.gov"),
        ] {
            let region = Region::parse(region, "").unwrap();
            let url = endpoint("secretsmanager", "AWS_ENDPOINT_URL_SECRETS_MANAGER", &region, &Environ::new()).unwrap();
            assert_eq!(authority(&url), host);
        }
        let fips = Environ::from([("AWS_USE_FIPS_ENDPOINT".to_owned(), "true".to_owned())]);
        let region = Region::parse("us-east-1", "").unwrap();
        let url = endpoint("sts", "AWS_ENDPOINT_URL_STS", &region, &fips).unwrap();
        assert_eq!(authority(&url), "sts-fips.us-east-1.amazonaws.com");
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for (text, is_fine) in [
            ("https://vpce.example.com", true),
            ("http://127.0.0.1:5000", true),
            ("http://[::1]:5000", true),
            ("http://localhost", true),
            ("http://vpce.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("https://user@vpce.example.com", false),
            ("ftp://127.0.0.1", false),
            ("vpce.example.com", false),
        ] {
            assert_eq!(guarded(text, "X", is_this_machine).is_ok(), is_fine, "{text}");
        }
        assert_eq!(authority(&Url::parse("http://[::1]:5000/").unwrap()), "[::1]:5000");
    }
}
