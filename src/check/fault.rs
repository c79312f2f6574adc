//! Everything that can be found wrong, and what mends it. `deploy/docs/troubleshooting.md` has the same sentences.

/// One kind of trouble, whatever the case at hand.
#[derive(Debug)]
pub(super) struct Fault {
    /// What is wrong.
    pub(super) cause: &'static str,
    /// What the operator does.
    pub(super) fix: &'static str,
}

macro_rules! faults {
    ($($name:ident: $cause:literal => $fix:literal;)+) => {
        $(pub(super) const $name: Fault = Fault { cause: $cause, fix: $fix };)+
        #[cfg(test)]
        const ALL: &[Fault] = &[$($name),+];
    };
}

faults! {
    // 401
    KEY_REFUSED: "the upstream does not know this key" => "Create a key in the project's settings, put it where the reference points and delete the old one: it was revoked, its service account is gone, or it was cut when it was copied.";
    KEY_EXPIRED: "the key has expired" => "Create a new key in the project's settings and put it where the reference points; the service takes it up by itself.";
    OTHER_ORGANIZATION: "the key is not of this organization, or there is no such organization" => "Set the upstream's organization to the id (org-...) of the organization that the key is of, or leave it out: a project's key needs none.";
    NO_MEMBER: "the key's owner is a member of no organization any more" => "Use the key of a service account (sk-svcacct-), which depends on no one's membership, or have the owner invited again.";
    OTHER_PROJECT: "the key is not of this project, or there is no such project" => "Set the upstream's project to the id (proj_...) of the project that the key is of, or leave it out.";
    RESTRICTED: "the key is known, but may not list models; whether it may mint cannot be told" => "Allow the key to read Models, so that this check sees more, and to write Model capabilities (model.request), without which no session opens.";
    // 401 or 403
    ADDRESS_REFUSED: "the organization's or project's IP allow list does not have this machine's address" => "Add the address that this machine's requests leave by (NAT gateway, egress proxy) to the IP allow list.";
    ACCOUNT_DEACTIVATED: "the account is deactivated" => "Look for OpenAI's mail to the organization's owners and write to its support; until then use a key of another organization.";
    PROJECT_ARCHIVED: "the project is archived" => "Use a key of a project that is in use, or restore the project in the organization's settings.";
    // 403
    COUNTRY: "OpenAI does not serve the country or region that requests leave from" => "Let this machine's requests leave from a supported country; the key is not at fault.";
    FORBIDDEN: "the upstream forbids this" => "Check the key's permissions and the project's in its settings; without a code in the answer, a firewall or proxy on the way has given it.";
    // 429
    RATE_LIMITED: "the rate limit is used up right now" => "Wait and check again, or have the project's rate limits raised; they hold for all keys of a project together.";
    NO_CREDIT: "the account has no credit or has used up its quota" => "Add credit or raise the quota in the organization's billing settings; neither waiting nor another key of the organization helps.";
    SPEND_LIMIT: "a spending limit is reached" => "Raise the spending limit of the project or the organization in its settings, or wait for the next month.";
    // Other answers
    NO_SUCH_PATH: "there is no such path" => "Set base_url to the whole base with its version and nothing behind it, for OpenAI https://api.openai.com/v1.";
    REDIRECTED: "the upstream redirects, and a key never goes where an answer points" => "Set base_url to where the redirect leads: most often https in place of http, or another host name.";
    REJECTED: "the upstream does not take the request" => "Check base_url: what answers there does not speak OpenAI's API.";
    UPSTREAM_DOWN: "the upstream has a problem of its own" => "Check again later and see status.openai.com; if only your gateway is at base_url, look at its own upstream.";
    NO_MODELS: "the answer is no list of models" => "Check base_url: a sign-in page or a proxy may answer in place of the API.";
    // On the way to any server
    NO_NAME: "the host name cannot be resolved" => "Check the host name in the configuration, and this machine's DNS (in a container, its resolver and network policy).";
    REFUSED: "nobody listens there" => "Check host and port in the configuration, and that the server runs.";
    UNROUTABLE: "no way leads there" => "Check this machine's network: addresses, routes, and in a cluster whether it may go out at all.";
    NO_CONNECTION: "no connection within the time" => "Open the way in the firewall, security group or network policy: packets to there are dropped. If it is open, check scheme and port: https gets no answer where plain http is spoken.";
    NO_ANSWER: "no answer within the time" => "Check again; if it stays so, the server or something in front of it hangs, a firewall drops packets, or the port expects TLS where none is spoken or the other way round.";
    NO_ROOTS: "this machine trusts no certificate authority" => "Install the package ca-certificates, or name a file of authorities in SSL_CERT_FILE.";
    UNTRUSTED: "the server's certificate is of no authority that this machine trusts" => "For an authority of your own, or a proxy that opens TLS, name the authority's file in SSL_CERT_FILE; if you know of neither, somebody is in between.";
    CERTIFICATE_EXPIRED: "the server's certificate is not valid today" => "Have the certificate renewed, or set this machine's clock if that is wrong.";
    CERTIFICATE_NAME: "the server's certificate is for another name" => "Write the host name that the certificate is for, or have one made for this name.";
    NO_TLS: "what answers there speaks no TLS that is understood here" => "Check scheme and port: plain http needs another port or scheme than https.";
    BROKEN: "the connection breaks" => "Check again; if it stays so, look at the port, and at proxies and load balancers on the way.";
    // Permanent keys at rest
    LEGACY_KEY: "a key of a user and not of a project (sk- without proj or svcacct), which ends when its user leaves" => "Create the key of a service account in the project (sk-svcacct-) and put it in this one's place.";
    OPEN_FILE: "everybody on this machine may read the file" => "Take the permission from others: chmod o-r, or defaultMode: 0440 of the volume in Kubernetes.";
    OLD_KEY: "the key is old" => "Replace it; without an interruption, as deploy/docs/secrets.md says.";
    SAME_KEY: "it is the same key as another of this upstream, so that neither stands in for the other" => "Put a key of its own in the second place, best of another service account, or leave it out.";
    // Models and clocks
    UNKNOWN_MODEL: "the model is not among those that the key may use" => "Correct the model in the profile's session, or allow it to the project in its settings.";
    MODEL_ENDS: "the model is shut down soon" => "Move the profile to the model's successor, which OpenAI's page on deprecations names.";
    MODEL_ENDED: "the model is shut down" => "Move the profile to another model: no session opens with this one.";
    CLOCK_OFF: "this machine's clock differs from the upstream's by more than is forgiven, so that mints may be refused" => "Keep the clock set: chrony or systemd-timesyncd on the host.";
    CLOCK_WRONG: "this machine's clock is wrong by more than a minute, so that mints and users' tokens are refused" => "Set the clock, and keep it set: chrony or systemd-timesyncd on the host.";
    // Workload identity
    NO_SUBJECT: "the platform's token cannot be read" => "Mount the token where subject.token points: in Kubernetes, a projected service account token for the audience https://api.openai.com/v1.";
    NO_METADATA: "the platform's metadata service does not give a token" => "Check subject.kind and that this machine has an identity: the service is there on that platform's machines alone, and pods must be allowed to reach it.";
    NOT_TRADED: "the exchange refuses the platform's token" => "Compare identity_provider_id, service_account_id and the token's issuer, subject and audience with what the organization's settings accept.";
    STRANGE_EXCHANGE: "the exchange does not answer as documented" => "Check auth_url, for OpenAI https://auth.openai.com/oauth/token.";
    // Azure OpenAI
    AZURE_KEY: "the key is not of this resource, or the resource is another one than meant" => "Copy key 1 or key 2 of the resource that base_url names; Azure does not say which of the two is wrong.";
    AZURE_ROLE: "the identity may not use the resource" => "Give it the role \"Cognitive Services OpenAI User\" on the resource and wait some minutes; Contributor does not let it mint.";
    AZURE_TENANT: "the identity is of another tenant than the resource" => "Set tenant_id to the resource's tenant and use an application of it.";
    AZURE_TOKEN: "the resource does not accept the access token" => "Compare scope with the resource's cloud, for example https://cognitiveservices.azure.com/.default, and authority with the identity's.";
    AZURE_KEYS_OFF: "the resource takes no keys" => "Use a credential of Entra ID (managed_identity and its like), or switch local authentication on at the resource.";
    AZURE_NETWORK: "the resource's network rules refuse this machine" => "Allow the address that this machine's requests leave by, or reach the resource by its private endpoint.";
    AZURE_DEPLOYMENT: "the resource has no such deployment" => "Write the deployment's name as model in the upstream's session; one that was made just now takes up to five minutes.";
    AZURE_PATH: "the resource has nothing at this path" => "Let base_url end in /openai/v1; with api_version, use a version that the resource has.";
    NO_ENTRA_TOKEN: "Entra ID gives no access token" => "Do what the sentence says; deploy/docs/azure.md has each kind of credential step by step.";
    // Who vouches for callers
    ISSUER_ABSENT: "there is no discovery document, or no key set" => "Check issuer: its document must be at issuer + /.well-known/openid-configuration. Where an issuer has none, set jwks_url.";
    ISSUER_FORM: "what answers is no discovery document or no key set" => "Check issuer and jwks_url: a sign-in page or a proxy may answer in its place.";
    ISSUER_NAME: "the discovery document names another issuer" => "Write issuer to the letter as the document and the tokens name it; most often a slash at the end is missing or too much.";
    ISSUER_DOWNGRADE: "an https issuer names keys at plain http" => "Have the issuer name its keys at https, or set jwks_url to an https address.";
    ISSUER_KEYS: "the key set holds no key for the accepted algorithms" => "Add the algorithm that the issuer signs with to algorithms, or correct jwks_url.";
    ISSUER_SIGN_IN: "discovery does not say where users sign in" => "Check identity.login.issuer: the document must name authorization_endpoint and token_endpoint, at https.";
    CLIENT_REFUSED: "the endpoint refuses this service's own account" => "Check client_id, client_secret and client_auth (basic or post), and that this client may introspect tokens.";
    INTROSPECTION_FORM: "the answer is none of RFC 7662" => "Check endpoint: it is the introspection endpoint, not the issuer.";
    INTROSPECTION_YES: "a token that nobody issued is called active" => "Check endpoint at once: with it everybody would be let in.";
    PROOF_SECRET: "the provider of proofs refuses the secret" => "Copy the secret key that belongs to the page's site key into identity.guest.proof.secret.";
    PROOF_FORM: "the provider of proofs does not answer as documented" => "Check kind and verify_url of identity.guest.proof.";
    PROOF_YES: "a proof that nobody made is called good" => "Use the widget's own secret key: with a provider's test key every machine is a guest.";
    UNLIMITED: "guests are let in without this limit, which prod refuses" => "Set the limit before anybody else can reach the service.";
    // The store
    STORE_MEMORY: "counts, sessions and blocks are in memory only and end with the process" => "Set store.path to a file on a disk that stays, or share a Redis with store.kind = \"redis\".";
    STORE_IN_USE: "another process has the file" => "Leave it if that is the running service; otherwise stop it, or give each process a path of its own.";
    STORE_FILE: "the file cannot be used" => "Make folder and file writable for the service's user; where the file is not Ephemint's, empty or damaged, name another path or restore a backup.";
    STORE_SIGN_IN: "the store does not take the user or the password" => "Check user and password in the store's URL, redis://user:password@host:port; in a URL, characters such as @ : / # are written with %.";
    STORE_FORBIDDEN: "the store's user may not do what is needed" => "Give the user the commands and keys of deploy/docs/store-redis.md (ACL SETUSER).";
    STORE_CLUSTER: "it is a node of a cluster" => "Write redis+cluster:// (rediss+cluster:// for TLS) in the store's URL.";
    STORE_NO_CLUSTER: "it is no cluster" => "Write redis:// or redis+sentinel:// in the store's URL.";
    STORE_NO_WRITES: "the store takes no writes" => "Name the master, or let Sentinel name it; if it is the master, look at its memory, its disk and its replicas.";
    STORE_NO_MASTER: "Sentinel knows no such master" => "Write the name that `redis-cli -p 26379 sentinel masters` lists: redis+sentinel://host:26379/NAME.";
    STORE_OTHER: "the store does not do what it is asked" => "Look at the server's log, and at what deploy/docs/store-redis.md needs of it.";
    // This machine
    SINK: "entries cannot be written there" => "Create the folder and make folder and file writable for the service's user: without an entry nothing is minted.";
    SINK_FULL: "the disk is full, or nearly" => "Make room, and let something rotate the file: without an entry nothing is minted.";
    NO_PSEUDONYM_KEY: "without it users get new pseudonyms with every start, and other ones at every replica" => "Set privacy.pseudonym_key, for example to env://EPHEMINT_PSEUDONYM_KEY with what `openssl rand -hex 32` prints.";
    NO_ADMIN_TOKEN: "without it every request to the admin listener is refused" => "Set admin.token, for example to env://EPHEMINT_ADMIN_TOKEN with what `openssl rand -hex 32` prints.";
    ADDRESS_IN_USE: "the address is in use" => "Leave it if that is the running service; otherwise stop the other program, or choose another port.";
    ADDRESS_ABSENT: "this machine does not have the address" => "Listen at an address of this machine, or at 0.0.0.0 or [::] for all of them.";
    ADDRESS_FORBIDDEN: "the service's user may not listen there" => "Choose a port from 1024 on, or allow it: CAP_NET_BIND_SERVICE.";
    SAME_ADDRESS: "both listeners have the same address" => "Give admin.listen a port of its own.";
    SETTING: "a setting cannot be sent in a header" => "Check organization and project for characters that are not ASCII.";
    // Environments
    SHARED_KEY: "both environments use the same key" => "Give each environment a project with its own keys and limits: a test must not be able to use up or leak what production lives on.";
    SHARED_ADMIN_TOKEN: "both environments have the same admin token" => "Make a token for each: who may look into staging need not rule production.";
    SHARED_PSEUDONYM_KEY: "both environments have the same pseudonym key" => "Make a key for each, so that users of one cannot be recognized in the other's logs; changing it in production gives its users new pseudonyms.";
    OTHER_UNREADABLE: "what the other configuration names cannot be read here" => "Run this where both are readable, or compare the fingerprints of two runs.";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn the_troubleshooting_page_has_every_cause_beside_its_fix() {
        let page = include_str!("../../deploy/docs/troubleshooting.md");
        for fault in ALL {
            let is_row = |line: &str| line.contains(&format!("| {} | {} |", fault.cause, fault.fix));
            assert!(page.lines().any(is_row), "{fault:?}");
        }
    }
}
