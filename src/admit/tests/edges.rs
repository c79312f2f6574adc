//! What random sequences come upon too rarely, from each kind of books.

use std::time::Duration;

use super::books::{self, Books, RedisServer};
use super::{NO_LIMITS, alone, pseudonym, subject};
use crate::admit::rule::{Rule, ceil_seconds};
use crate::admit::subject::{Name, Subjects, Whose};
use crate::admit::{Denied, Hold};
use crate::config::Limits;
use crate::domain::ids::SessionId;
use crate::domain::ttl::Ttl;

/// 2026-11-30T23:59:30Z
const END_OF_NOVEMBER: u64 = 1_796_083_170;

/// In memory, in a file, at a Redis, and in slots of their own.
async fn each(try_it: impl AsyncFn(&Books)) {
    let server = RedisServer::start();
    let here = [Books::in_memory(END_OF_NOVEMBER), Books::in_a_file(END_OF_NOVEMBER)];
    let there = [false, true].map(|is_cluster| Books::at_redis(books::connect(&server), is_cluster));
    for books in here.into_iter().chain(there) {
        books.set(END_OF_NOVEMBER * 1_000_000).await;
        try_it(&books).await;
    }
}

async fn admit(books: &Books, subjects: &Subjects) -> Result<Hold, Denied> {
    let is_open = async |_: SessionId| Ok(true);
    Ok(books.admit(subjects, &pseudonym("alice"), None, Ttl::MIN, is_open).await?.1)
}

async fn refused(books: &Books, subjects: &Subjects) -> (Rule, u64) {
    match admit(books, subjects).await {
        Err(Denied::Limited { rule, retry_after, .. }) => (rule, ceil_seconds(retry_after)),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[tokio::test]
async fn a_month_begins_anew_and_a_mint_of_the_last_one_that_fails_takes_nothing_off_it() {
    each(async |books| {
        let alice = alone("alice", Limits { monthly_mints: Some(1), ..NO_LIMITS });
        let old = admit(books, &alice).await.unwrap();
        assert_eq!(refused(books, &alice).await, (Rule::MonthlyMints, 30));
        books.advance(Duration::from_secs(29)).await;
        assert_eq!(refused(books, &alice).await, (Rule::MonthlyMints, 1));
        books.advance(Duration::from_secs(1)).await;
        books::spend(admit(books, &alice).await.unwrap());
        books::give_back(old).await;
        assert_eq!(refused(books, &alice).await, (Rule::MonthlyMints, 31 * 86_400));
    })
    .await;
}

#[tokio::test]
async fn a_mint_that_fails_late_gives_back_only_what_nobody_else_has_had() {
    each(async |books| {
        let alice = alone("alice", Limits { mints_per_minute: Some(6), ..NO_LIMITS });
        let fails = admit(books, &alice).await.unwrap();
        books.advance(Duration::from_secs(11)).await;
        for _ in 0..6 {
            books::spend(admit(books, &alice).await.unwrap());
        }
        books::give_back(fails).await;
        assert_eq!(refused(books, &alice).await, (Rule::MintsPerMinute, 10));
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_for_a_place_that_more_calls_than_places_hold_waits_for_enough_of_them() {
    each(async |books| {
        let (alice, me) = (alone("alice", Limits { concurrent_calls: Some(1), ..NO_LIMITS }), pseudonym("alice"));
        let now = Duration::from_secs(END_OF_NOVEMBER);
        books.hold(&alice, &me, SessionId::new(), END_OF_NOVEMBER + 20, now).await;
        books.hold(&alice, &me, SessionId::new(), END_OF_NOVEMBER + 50, now).await;
        books.hold(&alice, &me, SessionId::new(), END_OF_NOVEMBER + 30, now).await;
        assert_eq!(refused(books, &alice).await, (Rule::ConcurrentCalls, 50));
        books.advance(Duration::from_secs(30)).await;
        assert_eq!(refused(books, &alice).await, (Rule::ConcurrentCalls, 20));
        books.advance(Duration::from_secs(20)).await;
        books::spend(admit(books, &alice).await.unwrap());
    })
    .await;
}

/// An address is counted for its guests and for everybody behind it: both have a limit of their own.
#[tokio::test]
async fn two_limits_of_one_address_both_count() {
    each(async |books| {
        let (one, many) = (Limits { concurrent_calls: Some(1), ..NO_LIMITS }, Limits { concurrent_calls: Some(9), ..NO_LIMITS });
        let address = Name::One(pseudonym("an address"));
        let first = subject(Whose::Guest, Name::One(pseudonym("alice")), NO_LIMITS);
        let more = vec![subject(Whose::GuestAddress, address.clone(), many), subject(Whose::Address, address, one)];
        let guest = Subjects { first, more };
        books::spend(admit(books, &guest).await.unwrap());
        assert_eq!(refused(books, &guest).await, (Rule::ConcurrentCalls, 60));
    })
    .await;
}

/// Nothing at Redis is kept for ever: each key has an end.
#[tokio::test]
async fn every_key_at_redis_has_an_end() {
    let server = RedisServer::start();
    let all = Limits { mints_per_minute: Some(9), concurrent_calls: Some(9), monthly_mints: Some(9) };
    let books = Books::of_a_replica(&server);
    let (alice, bob) = (alone("alice", all), alone("bob", all));
    let held = admit(&books, &alice).await.unwrap();
    let session = books::id(&held);
    books::spend(held);
    let now = Duration::from_secs(END_OF_NOVEMBER);
    books.hold(&alice, &pseudonym("alice"), session, END_OF_NOVEMBER + 60, now).await;
    books::give_back(admit(&books, &bob).await.unwrap()).await;
    let keys = server.cli(&["keys", "*"]);
    assert!(keys.lines().count() >= 5, "{keys}");
    let ends = keys.lines().map(|key| server.cli(&["pttl", key]).parse::<i64>().unwrap());
    assert!(ends.clone().all(|end| end > 0), "{:?}", keys.lines().zip(ends).collect::<Vec<_>>());
}
