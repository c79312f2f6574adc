//! Many at once: of 64 parallel mints under a limit of ten, exactly ten pass.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Builder;

use super::books::{self, Books, RedisServer};
use super::{NO_LIMITS, alone, names, pseudonym, rounds, subject};
use crate::admit::subject::{Name, Rules, Subjects, Whose};
use crate::admit::{Denied, Owner};
use crate::authorize::Policy;
use crate::config::{self, Ceilings, Credential, Keys, Limits, Verify};
use crate::domain::clock::SharedClock;
use crate::domain::clock::manual::ManualClock;
use crate::domain::ids::{Pseudonym, SessionId};
use crate::domain::ttl::Ttl;

const CALLERS: usize = 64;
const LIMIT: u64 = 10;
const NOW: u64 = 1_796_000_000;

/// One rule alone, and all together.
fn limits(round: u32) -> Limits {
    let all = Limits { mints_per_minute: Some(LIMIT), concurrent_calls: Some(LIMIT), monthly_mints: Some(LIMIT) };
    match round % 4 {
        0 => Limits { mints_per_minute: Some(LIMIT), ..NO_LIMITS },
        1 => Limits { concurrent_calls: Some(LIMIT), ..NO_LIMITS },
        2 => Limits { monthly_mints: Some(LIMIT), ..NO_LIMITS },
        _ => all,
    }
}

/// A user of their own under a limit that everybody shares.
fn everyone(caller: usize, limits: Limits) -> (Subjects, Pseudonym) {
    let me = pseudonym(&format!("caller {caller}"));
    let first = subject(Whose::User, Name::One(me), NO_LIMITS);
    (Subjects { first, more: vec![subject(Whose::Everybody, Name::All, limits)] }, me)
}

async fn is_open(_: SessionId) -> Result<bool, crate::store::StoreDown> {
    Ok(true)
}

/// Each in a task of its own, on four threads. How many passed; the others were refused by a rule.
fn passed(callers: impl Iterator<Item = (Arc<Books>, Subjects, Pseudonym)>) -> impl Future<Output = usize> {
    let admit = |(books, subjects, me): (Arc<Books>, Subjects, Pseudonym)| async move {
        let admitted = books.admit(&subjects, &me, None, Ttl::MIN, is_open).await;
        match admitted {
            Ok((_, hold)) => books::spend(hold),
            Err(Denied::Limited { .. }) => return false,
            Err(other) => panic!("{other:?}"),
        }
        true
    };
    let tasks: Vec<_> = callers.map(|caller| tokio::spawn(admit(caller))).collect();
    async { join_all(tasks).await.into_iter().filter(|passed| *passed.as_ref().unwrap()).count() }
}

fn profile(limits: Limits) -> config::Profile {
    let upstream = config::Upstream {
        name: "openai".into(),
        dialect: config::Dialect::OpenAi,
        base_url: "https://api.openai.com/v1".into(),
        organization: None,
        project: None,
        credential: Credential::Keys(Keys {
            keys: Vec::new(),
            rotate_on_rate_limit: false,
            verify: Verify::None,
            warn_after: None,
        }),
        timeout: Duration::from_secs(10),
        max_attempts: 1,
    };
    config::Profile {
        routes: vec![config::Route { upstream: Arc::new(upstream), session: serde_json::Map::new(), calls_url: "".into() }],
        api: config::Api::Realtime,
        ttl: Ttl::MIN,
        max_ttl: Ttl::MIN,
        allow_groups: Vec::new(),
        allow_claims: Vec::new(),
        client_may_set: Vec::new(),
        limits,
        total_limits: None,
    }
}

fn on_threads(race: impl Future<Output = ()>) {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap().block_on(race);
}

#[test]
fn of_many_at_once_as_many_pass_as_may_in_memory() {
    on_threads(async {
        for round in 0..rounds() {
            let books = Arc::new(Books::in_memory(NOW));
            let callers = (0..CALLERS).map(|caller| {
                let (subjects, me) = everyone(caller, limits(round));
                (books.clone(), subjects, me)
            });
            assert_eq!(passed(callers).await, 10, "round {round}");
        }
    });
}

#[test]
fn of_many_at_once_as_many_pass_as_may_with_a_file() {
    on_threads(async {
        let mut books = Arc::new(Books::in_a_file(NOW));
        for round in 0..rounds() {
            let user = format!("user {round}");
            let subjects = alone(&user, limits(round));
            let callers = |count: usize| (0..count).map(|_| (books.clone(), subjects.clone(), pseudonym(&user)));
            assert_eq!(passed(callers(CALLERS)).await, 10, "round {round}");
            // Also for the next process: what passed is there.
            if round % 10 == 0 {
                assert!(Arc::get_mut(&mut books).expect("nobody else has them").restart().await);
                let again = (0..CALLERS).map(|_| (books.clone(), subjects.clone(), pseudonym(&user)));
                assert_eq!(passed(again).await, 0, "round {round}");
            }
        }
    });
}

/// Two replicas, each with a connection of its own; callers come to either.
#[test]
fn of_many_at_once_as_many_pass_as_may_at_two_replicas() {
    let server = RedisServer::start();
    on_threads(async {
        let replicas = [(); 2].map(|()| Arc::new(Books::of_a_replica(&server)));
        for round in 0..rounds() {
            let user = format!("user {round}");
            let subjects = alone(&user, limits(round));
            let callers = (0..CALLERS).map(|caller| (replicas[caller % 2].clone(), subjects.clone(), pseudonym(&user)));
            assert_eq!(passed(callers).await, 10, "round {round}");
        }
    });
}

/// Each round of mints that fail gives back what it took, so that the next one finds all of it.
#[test]
fn what_many_at_two_replicas_give_back_is_there_for_the_next() {
    let server = RedisServer::start();
    on_threads(async {
        let replicas = [(); 2].map(|()| Arc::new(Books::of_a_replica(&server)));
        let subjects = alone("alice", limits(3));
        let fails = |books: Arc<Books>| {
            let subjects = subjects.clone();
            async move {
                let me = pseudonym("alice");
                let (_, hold) = books.admit(&subjects, &me, None, Ttl::MIN, is_open).await.ok()?;
                books::give_back(hold).await;
                Some(())
            }
        };
        for round in 0..rounds() {
            let calls = (0..10).map(|caller| tokio::spawn(fails(replicas[caller % 2].clone())));
            let passed = join_all(calls).await.into_iter().filter(|passed| passed.as_ref().unwrap().is_some()).count();
            assert_eq!(passed, 10, "round {round}");
        }
    });
}

/// Times at Redis are the server's: replicas whose clocks are an hour apart grant the same.
#[test]
fn of_many_at_once_as_many_pass_as_may_at_replicas_with_different_clocks() {
    let server = RedisServer::start();
    on_threads(async {
        let replicas = [NOW, NOW - 3600].map(|unix| (Arc::new(Books::of_a_replica(&server)), ManualClock::at(unix)));
        for round in 0..rounds() {
            let policy = Policy::new([(format!("profile {round}"), profile(limits(round)))].into());
            let rules = Rules::new(&policy, Ceilings::default(), None, names());
            let (user, profile) = (pseudonym("alice"), format!("profile {round}").into());
            let owner = Owner { user, tenant: "".into(), profile, network: None, guest_until: Some(NOW + 600) };
            let callers = (0..CALLERS).map(|caller| {
                let (books, clock) = &replicas[caller % 2];
                let clock: SharedClock = clock.clone();
                (books.clone(), rules.subjects(&owner, 1, &clock).unwrap(), owner.user)
            });
            assert_eq!(passed(callers).await, 10, "round {round}");
        }
    });
}
