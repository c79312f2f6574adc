//! Fifty rotations while users mint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::support::{eventually, secrets};
use crate::{KeyFile, credentials, entries, fingerprint, key};

const ROTATIONS: u32 = 50;
/// Every tenth is to a key that the provider does not know.
const BAD: u32 = 10;
const CALLERS: u32 = 8;
/// Of one caller: 200 mints a second together.
const PACE: Duration = Duration::from_millis(40);

#[tokio::test]
async fn fifty_rotations_under_two_hundred_mints_a_second_lose_none() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = Arc::new(file.world(|config| config.set("telemetry.log", r#""info""#)));
    let (is_over, minted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let caller = |number: u32| {
        let (world, is_over, minted) = (world.clone(), is_over.clone(), minted.clone());
        tokio::spawn(async move {
            let token = world.bearer(&format!("caller-{number}"));
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !is_over.load(Ordering::Relaxed) {
                pace.tick().await;
                world.service.mint(&token).await.expect_minted();
                minted.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(caller).collect();
    let mut good = secrets::PRIMARY_KEY.to_owned();
    for rotation in 1..=ROTATIONS {
        let next = key(100 + rotation);
        if rotation % BAD == 0 {
            file.write(&next);
            let is_refused = async || {
                (entries(&world.service, "new_key_refused").len() >= usize::try_from(rotation / BAD).unwrap()).then_some(())
            };
            eventually("the bad key is refused", 5, is_refused).await;
            continue;
        }
        world.upstream.accept(&next);
        file.write(&next);
        // Some end the old key at once, others wait until nobody uses it any more.
        if rotation % 2 == 0 {
            world.upstream.revoke(&good);
        }
        let is_used = async || (credentials(&world.service).await["in_use"] == fingerprint(&next)).then_some(());
        eventually("the new key is in use", 5, is_used).await;
        world.upstream.revoke(&good);
        good = next;
    }
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no mint failed");
    }
    let minted = minted.load(Ordering::Relaxed);
    assert!(minted > 1000, "{minted} mints");
    assert_eq!(entries(&world.service, "rotated").len(), 45);
    assert_eq!(entries(&world.service, "new_key_refused").len(), 5);
}
