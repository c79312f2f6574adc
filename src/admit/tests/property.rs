//! Random sequences of what callers, operators and time do: every answer is the model's, from each kind of books.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::books::{self, Books, RedisServer};
use super::model::{Expected, Known, Model, Resumed};
use super::{NO_LIMITS, pseudonym, rounds, subject};
use crate::admit::rule::Standing;
use crate::admit::subject::{Name, Subjects, Whose};
use crate::admit::{Denied, Hold, IdempotencyKey};
use crate::config::Limits;
use crate::domain::ids::SessionId;
use crate::domain::secret::Sha256;
use crate::domain::ttl::Ttl;

/// Starts of three months in a row, seconds since 1970: of each four, the second ends the month that a sequence begins in.
const MONTHS: [[u64; 2]; 4] = [
    [1_796_083_200, 1_798_761_600],
    [1_798_761_600, 1_801_440_000],
    [1_835_481_600, 1_838_160_000],
    [4_107_542_400, 4_110_220_800],
];
const USERS: [&str; 4] = ["alice", "bob", "a guest", "another guest"];
/// After that, what was booked cannot be given back at Redis, nor retried anywhere.
const KNOWN_FOR: u64 = 290_000_000;

#[derive(Clone, Debug)]
enum Step {
    Admit {
        user: usize,
        /// Which of the user's keys, and what is asked for.
        key: Option<(u8, u8)>,
        ttl: u64,
    },
    /// Of those that are under way.
    Keep(usize, u64),
    Spend(usize),
    GiveBack(usize),
    /// Of sessions that have begun.
    Hold(usize, u64),
    Release(usize),
    Advance(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let key = of((0..2_u8, prop::sample::select(vec![0_u8, 0, 0, 1])));
    prop_oneof![
        10 => (0..USERS.len(), key, 60..120_u64).prop_map(|(user, key, ttl)| Step::Admit { user, key, ttl }),
        3 => (any::<usize>(), 2..700_u64).prop_map(|(which, seconds)| Step::Keep(which, seconds)),
        5 => any::<usize>().prop_map(Step::Spend),
        4 => any::<usize>().prop_map(Step::GiveBack),
        1 => (any::<usize>(), 2..700_u64).prop_map(|(which, seconds)| Step::Hold(which, seconds)),
        1 => any::<usize>().prop_map(Step::Release),
        5 => prop_oneof![4 => 0..2_000_u64, 4 => 2_000..20_000_u64, 2 => 20_000..90_000_u64].prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    // So many of them pass in a minute, to the microsecond.
    let rate = of(prop::sample::select(vec![1_u64, 2, 3, 4, 5, 6, 10, 12]));
    (rate, of(1..4_u64), of(1..9_u64)).prop_map(|(mints_per_minute, concurrent_calls, monthly_mints)| Limits {
        mints_per_minute,
        concurrent_calls,
        monthly_mints,
    })
}

#[derive(Clone, Debug)]
struct Plan {
    months: [u64; 2],
    /// Milliseconds from the start to the end of the month.
    left: u64,
    limits: [Option<Limits>; 7],
    steps: Vec<Step>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let rules: [_; 7] = std::array::from_fn(|_| of(limits()));
    let left = (1..200_u64).prop_map(|seconds| seconds * 1000);
    (prop::sample::select(MONTHS.to_vec()), left, rules, vec(step(), 1..60)).prop_map(|(months, left, limits, steps)| Plan {
        months,
        left,
        limits,
        steps,
    })
}

/// Under what a user is counted. Two are of one tenant, the others guests of one address.
fn subjects(plan: &Plan, user: usize) -> Subjects {
    let [own, person, tenant, guests, address, profile, all] = plan.limits;
    let (is_guest, me) = (user >= 2, Name::One(pseudonym(USERS[user])));
    let from = Name::One(pseudonym("an address"));
    let whose = if is_guest { Whose::Guest } else { Whose::User };
    let first = subject(whose, me.clone(), own.unwrap_or(NO_LIMITS));
    let more = [
        guests.filter(|_| is_guest).map(|limits| subject(Whose::GuestAddress, from.clone(), limits)),
        person.map(|limits| subject(Whose::Person, me, limits)),
        address.map(|limits| subject(Whose::Address, from, limits)),
        tenant.filter(|_| !is_guest).map(|limits| subject(Whose::Tenant, Name::Tenant("acme\n".into()), limits)),
        profile.map(|limits| subject(Whose::Profile, Name::All, limits)),
        all.map(|limits| subject(Whose::Everybody, Name::All, limits)),
    ];
    Subjects { first, more: more.into_iter().flatten().collect() }
}

/// A mint under way.
struct Minting {
    hold: Hold,
    user: usize,
    session: usize,
    key: Option<(usize, u8)>,
    request: u8,
    since: u64,
    month: usize,
    arrivals: Vec<u64>,
    kept: bool,
    /// Of a retry.
    resumed: Option<Resumed>,
}

struct Run<'p> {
    plan: &'p Plan,
    books: Books,
    model: Model,
    under_way: Vec<Minting>,
    sessions: Vec<(SessionId, usize)>,
    /// Keys whose first mint is under way.
    pending: HashSet<(usize, u8)>,
    /// When each key was first used.
    keys_since: HashMap<(usize, u8), u64>,
    closed: HashSet<SessionId>,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Admit { user, key, ttl } => self.admit(user, key, ttl).await?,
            Step::Keep(which, seconds) => {
                if let Some(which) = which.checked_rem(self.under_way.len()) {
                    self.keep(which, seconds).await;
                }
            }
            Step::Spend(which) => {
                if let Some(which) = which.checked_rem(self.under_way.len()) {
                    self.spend(which).await;
                }
            }
            Step::GiveBack(which) => {
                if let Some(which) = which.checked_rem(self.under_way.len()) {
                    self.give_back(which).await;
                }
            }
            Step::Hold(which, seconds) => {
                if let Some(which) = which.checked_rem(self.sessions.len()) {
                    let (until, (session, user)) = (self.until(seconds), self.sessions[which]);
                    let subjects = subjects(self.plan, user);
                    self.books.hold(&subjects, &pseudonym(USERS[user]), session, until, self.now()).await;
                    self.model.hold(&subjects, which, until * 1_000_000);
                }
            }
            Step::Release(which) => {
                if let Some(which) = which.checked_rem(self.sessions.len()) {
                    let (session, user) = self.sessions[which];
                    let subjects = subjects(self.plan, user);
                    self.books.release(&subjects, &pseudonym(USERS[user]), session).await;
                    self.model.release(&subjects, which);
                    self.closed.insert(session);
                }
            }
            Step::Advance(millis) => {
                self.books.advance(Duration::from_millis(millis)).await;
                self.model.now += millis * 1000;
            }
            Step::Restart => {
                if self.books.restart().await {
                    // What was under way stays booked: whether its secret went out, nobody knows. What was kept can be tried again.
                    for minting in self.under_way.drain(..).filter(|minting| minting.kept && minting.resumed.is_none()) {
                        let known = Known { session: minting.session, request: minting.request, retries: 0 };
                        self.model.keys.extend(minting.key.map(|key| (key, known)));
                    }
                    self.pending.clear();
                }
            }
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.model.now)
    }

    fn until(&self, seconds: u64) -> u64 {
        self.now().as_secs() + seconds
    }

    async fn admit(&mut self, user: usize, key: Option<(u8, u8)>, ttl: u64) -> Result<(), TestCaseError> {
        let is_usable = |key: &(usize, u8)| {
            let is_fresh = self.keys_since.get(key).is_none_or(|since| self.model.now < since + KNOWN_FOR);
            is_fresh && !self.pending.contains(key)
        };
        let request = key.map_or(0, |(_, request)| request);
        let key = key.map(|(key, _)| (user, key)).filter(is_usable);
        let named = key.map(|(_, key)| IdempotencyKey { key: format!("key {key}").into(), request: Sha256::of(&[request]) });
        let (subjects, me) = (subjects(self.plan, user), pseudonym(USERS[user]));
        let closed = self.closed.clone();
        let is_open = async |session| Ok(!closed.contains(&session));
        let ttl_micros = ttl * 1_000_000;
        let ttl = Ttl::from_seconds(ttl).unwrap();
        let answer = self.books.admit(&subjects, &me, named.as_ref(), ttl, is_open).await;
        let retried = key.filter(|key| self.model.keys.contains_key(key));
        let (expected, resumed) = match retried {
            Some(key) => {
                let is_open = !closed.contains(&self.sessions[self.model.keys[&key].session].0);
                let (expected, resumed) = self.model.retry(&subjects, &me, key, (request, is_open, ttl_micros));
                (expected, Some(resumed))
            }
            None => (self.model.book(&subjects, &me, self.sessions.len(), ttl_micros), None),
        };
        prop_assert_eq!(self.seen(&answer), expected);
        if let Ok((_, hold)) = answer {
            self.begin(hold, user, (key, request), resumed);
        }
        Ok(())
    }

    fn begin(&mut self, hold: Hold, user: usize, (key, request): (Option<(usize, u8)>, u8), resumed: Option<Resumed>) {
        let session = if let (Some(_), Some(key)) = (&resumed, key) {
            self.model.keys[&key].session
        } else {
            self.sessions.push((books::id(&hold), user));
            if let Some(key) = key {
                self.pending.insert(key);
                self.keys_since.insert(key, self.model.now);
            }
            self.sessions.len() - 1
        };
        let (since, month) = (self.model.now, self.model.month());
        let arrivals = self.model.arrivals(&subjects(self.plan, user));
        self.under_way.push(Minting { hold, user, session, key, request, since, month, arrivals, kept: false, resumed });
    }

    /// The answer as the model gives it.
    fn seen(&self, answer: &Result<(Option<Standing>, Hold), Denied>) -> Expected {
        match answer {
            Ok((standing, hold)) if is_retry(hold) => {
                let number = self.sessions.iter().position(|(session, _)| *session == books::id(hold));
                Expected::Resumed(number.expect("a session that was booked"), *standing)
            }
            Ok((standing, _)) => Expected::Booked(*standing),
            Err(Denied::Limited { whose, rule, standing, retry_after }) => {
                Expected::Limited { whose: *whose, rule: *rule, standing: *standing, retry_after: *retry_after }
            }
            Err(Denied::IdempotencyConflict) => Expected::Conflict,
            Err(other) => panic!("{other:?}"),
        }
    }

    /// A mint that takes longer than its place is held would have been given up.
    async fn keep(&mut self, which: usize, seconds: u64) {
        let Minting { session, user, .. } = self.under_way[which];
        let (until, subjects) = (self.until(seconds), subjects(self.plan, user));
        if !self.model.has_run_out(&subjects, session) {
            books::keep(&self.under_way[which].hold, until, self.now()).await;
            self.model.keep(&subjects, session, until * 1_000_000);
            self.under_way[which].kept = true;
        }
    }

    async fn spend(&mut self, which: usize) {
        if !self.under_way[which].kept {
            self.keep(which, 60).await;
        }
        let minting = self.under_way.swap_remove(which);
        books::spend(minting.hold);
        if let Some(key) = minting.key.filter(|key| minting.resumed.is_none() && self.pending.remove(key)) {
            if minting.kept {
                let known = Known { session: minting.session, request: minting.request, retries: 0 };
                self.model.keys.insert(key, known);
            } else {
                // Not minted in time: it is for nobody to try again.
                self.pending.insert(key);
            }
        }
    }

    async fn give_back(&mut self, which: usize) {
        if self.model.now >= self.under_way[which].since + KNOWN_FOR {
            return self.spend(which).await;
        }
        let minting = self.under_way.swap_remove(which);
        let subjects = subjects(self.plan, minting.user);
        books::give_back(minting.hold).await;
        if let Some(resumed) = &minting.resumed {
            self.model.suspend(&subjects, minting.session, resumed);
            return;
        }
        self.model.give_back(&subjects, minting.session, minting.month, &minting.arrivals);
        if let Some(key) = minting.key {
            self.pending.remove(&key);
            self.keys_since.remove(&key);
        }
    }
}

fn is_retry(hold: &Hold) -> bool {
    match hold {
        Hold::Here(hold) => hold.is_retry(),
        Hold::Shared(hold) => hold.is_retry(),
    }
}

async fn follow(plan: &Plan, books: Books, own_first: bool) -> Result<(), TestCaseError> {
    let now = plan.months[0] * 1_000_000 - plan.left * 1000;
    books.set(now).await;
    let months = plan.months.map(|end| end * 1_000_000).to_vec();
    let mut run = Run {
        plan,
        books,
        model: Model::new(now, months, own_first),
        under_way: Vec::new(),
        sessions: Vec::new(),
        pending: HashSet::new(),
        keys_since: HashMap::new(),
        closed: HashSet::new(),
    };
    for step in &plan.steps {
        run.step(step).await?;
    }
    // Otherwise what is dropped is given back in the background, to the next one's books.
    run.under_way.drain(..).for_each(|minting| books::spend(minting.hold));
    Ok(())
}

fn all_plans(books: &impl AsyncFn(&Plan) -> Result<(), TestCaseError>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: rounds() * 5, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&plan(), |plan| runtime.block_on(books(&plan))).unwrap_or_else(|failed| panic!("{failed}"));
}

fn start(plan: &Plan) -> u64 {
    plan.months[0] - plan.left / 1000
}

#[test]
fn the_books_in_memory_do_as_the_model() {
    all_plans(&async |plan| follow(plan, Books::in_memory(start(plan)), false).await);
}

#[test]
fn the_books_in_a_file_do_as_the_model_also_when_it_is_opened_again() {
    all_plans(&async |plan| follow(plan, Books::in_a_file(start(plan)), false).await);
}

fn at_redis(is_cluster: bool) {
    let server = RedisServer::start();
    let redis = std::cell::OnceCell::new();
    all_plans(&async |plan| {
        let redis = redis.get_or_init(|| books::connect(&server)).clone();
        follow(plan, Books::at_redis(redis, is_cluster), is_cluster).await
    });
}

#[test]
fn the_books_at_redis_do_as_the_model() {
    at_redis(false);
}

#[test]
fn the_books_in_slots_of_their_own_do_as_the_model() {
    at_redis(true);
}
