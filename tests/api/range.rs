//! Where attack tokens are tried: every one must be refused, and good ones beside them must not.

use crate::support::{Algorithm, Answer, Config, Issuer, Key, Token, Upstream, World, claims};

/// A service with two issuers; the first has several keys, two of them for ES256.
pub(crate) struct Range {
    pub(crate) world: World,
    pub(crate) other: Issuer,
}

/// A name for the report, and the token.
pub(crate) type Row = (String, String);

pub(crate) fn row(name: &str, token: impl Into<String>) -> Row {
    (name.to_owned(), token.into())
}

impl Range {
    pub(crate) fn start() -> Self {
        Self::with(|config| config)
    }

    pub(crate) fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let main = Issuer::with_keys(vec![
            Key::new("ec-1", Algorithm::ES256),
            Key::new("ec-2", Algorithm::ES256),
            Key::new("ed-1", Algorithm::EdDSA),
            Key::new("rsa-1", Algorithm::RS256),
        ]);
        let other = Issuer::with_keys(vec![Key::new("other-1", Algorithm::ES256), Key::new("ec-2", Algorithm::ES256)]);
        let url = other.url();
        let world = World::from(main, Upstream::start(), |config| change(config.issuer("other", &url)));
        Self { world, other }
    }

    /// A good token of the first issuer, to be spoiled.
    pub(crate) fn token(&self) -> Token {
        self.world.issuer.token("canary-user-mallory")
    }

    /// A good token, signed by another of the first issuer's keys.
    pub(crate) fn token_of(&self, algorithm: Algorithm) -> Token {
        let key = self.world.issuer.key(algorithm);
        Token::new(key, claims(&self.world.issuer.url(), "canary-user-mallory"))
    }

    /// Good tokens must mint, now and after every attack.
    pub(crate) async fn all_accepted(&self, rows: Vec<Row>) {
        let mut wrong = Vec::new();
        for (name, token) in rows {
            let answer = self.world.service.mint(&token).await;
            if answer.status != 200 {
                wrong.push(format!("{name}: {} {}", answer.status, answer.code()));
            }
        }
        assert!(wrong.is_empty(), "good tokens were refused: {wrong:#?}");
    }

    /// Attack tokens must be refused as such, and must never reach the upstream.
    pub(crate) async fn all_refused(&self, rows: Vec<Row>) {
        self.control().await;
        let before = self.world.upstream.count();
        let mut wrong = Vec::new();
        for (name, token) in rows {
            let answer = self.world.service.mint(&token).await;
            if is_refusal(&answer) {
                answer.expect_problem(answer.status, &answer.code());
            } else {
                wrong.push(format!("{name}: {} {}", answer.status, answer.code()));
            }
        }
        assert!(wrong.is_empty(), "attack tokens got through or were misjudged: {wrong:#?}");
        assert_eq!(self.world.upstream.count(), before, "an attack token reached the upstream");
        self.control().await;
    }

    async fn control(&self) {
        let issuer = &self.world.issuer;
        let mut rows = vec![row("the other issuer's token", self.other.bearer("control"))];
        for key in &issuer.keys {
            let token = Token::new(key, claims(&issuer.url(), "canary-user-control"));
            rows.push(row(key.kid(), token.build()));
        }
        self.all_accepted(rows).await;
    }
}

fn is_refusal(answer: &Answer) -> bool {
    matches!((answer.status, answer.code().as_str()), (401, "invalid_token" | "token_expired") | (403, "insufficient_scope"))
}
