//! No descriptors left: nothing spins, nothing dies, and it goes on when there are some again.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Service, World, eventually};

/// Processor time of the service so far, in ticks of 10 ms.
fn ticks(service: &Service) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.pid())).expect("/proc");
    let (_, after_name) = stat.rsplit_once(')').expect("the name in brackets");
    // utime and stime are fields 14 and 15; the name is field 2.
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[tokio::test]
async fn without_descriptors_it_neither_spins_nor_dies_and_recovers() {
    let world = World::with(|config| config.shell("ulimit -n 64").set("telemetry.log", r#""info""#));
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    let connect = |_| TcpStream::connect(world.service.public()).expect("the kernel queues connections");
    let crowd: Vec<_> = (0..120).map(connect).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (begun, before) = (Instant::now(), ticks(&world.service));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let spent = (ticks(&world.service) - before) * 10;
    let share = u128::from(spent) * 100 / begun.elapsed().as_millis();
    assert!(share < 20, "{share} % of a processor while there is nothing to do");
    let complaints = world.service.stderr().lines().filter(|line| line.contains(r#""level":"ERROR""#)).count();
    assert!(complaints < 40, "{complaints} lines of complaint in two seconds");
    drop(crowd);
    eventually("it serves again", 5, async || {
        world.service.raw().patience(Duration::from_secs(2)).blocking_get("/readyz", "").filter(|answer| answer.status == 200)
    })
    .await;
    world.service.mint(&token).await.expect_minted();
}
