//! Blocks that replicas share, at Redis: each replica follows them, so that a mint need not ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::cmd as command;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Block, Local, Target};
use crate::domain::clock::SharedClock;
use crate::redis::{Redis, Script};
use crate::store::StoreDown;

/// How long a change goes unnoticed at most by a replica that heard nothing of it, but can reach the store.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Changes one block, gives the change a name that no other has, and says so. KEYS: all blocks, the name of the last change. ARGV: channel,
/// that name, target, block ('' to lift it); then targets whose blocks are over.
const CHANGE: &str = r"#!lua
if ARGV[4] == '' then redis.call('HDEL', KEYS[1], ARGV[3]) else redis.call('HSET', KEYS[1], ARGV[3], ARGV[4]) end
for at = 5, #ARGV do redis.call('HDEL', KEYS[1], ARGV[at]) end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return ARGV[2]";

/// Reads all blocks and the name of the change that they are of.
const READ: &str = r"return { redis.call('GET', KEYS[2]) or '', redis.call('HGETALL', KEYS[1]) }";

pub(super) struct SharedBlocks {
    redis: Arc<Redis>,
    change: Script,
}

impl SharedBlocks {
    /// Keeps `local` up to date for as long as the process lives. Must run inside its runtime.
    pub(super) fn follow(redis: Arc<Redis>, local: Arc<Local>, clock: SharedClock) -> Self {
        tokio::spawn(follow(redis.clone(), local, clock));
        Self { redis, change: Script::new(CHANGE) }
    }

    /// `over`: whose blocks are over, so that they need not be kept.
    pub(super) async fn set(&self, target: &Target, block: &Block, over: &[Target]) -> Result<(), StoreDown> {
        let block = serde_json::to_string(block).map_err(|_| StoreDown)?;
        self.write(target, &block, over).await
    }

    pub(super) async fn lift(&self, target: &Target) -> Result<(), StoreDown> {
        self.write(target, "", &[]).await
    }

    async fn write(&self, target: &Target, block: &str, over: &[Target]) -> Result<(), StoreDown> {
        let ((all, last), channel) = (keys(&self.redis), channel(&self.redis));
        let mut arguments = vec![channel, Uuid::now_v7().to_string(), target.word(), block.to_owned()];
        arguments.extend(over.iter().map(Target::word));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(self.redis.script::<String>(&self.change, &[&all, &last], &arguments).await.map(drop)?)
    }
}

async fn follow(redis: Arc<Redis>, local: Arc<Local>, clock: SharedClock) {
    let (all, last) = keys(&redis);
    let (read, ask) = (Script::new(READ), command("GET").arg(&last).to_owned());
    let mut said = redis.listen(channel(&redis));
    let mut seen = None;
    loop {
        if let Ok(change) = redis.command::<Option<String>>(&ask).await {
            let is_known = seen == Some(change.unwrap_or_default());
            let blocks = if is_known {
                None
            } else {
                Some(redis.script::<(String, HashMap<String, String>)>(&read, &[&all, &last], &[]).await)
            };
            match blocks {
                None => local.looked(&clock),
                Some(Ok((change, blocks))) => {
                    local.replace(blocks.iter().filter_map(|(target, block)| parse(target, block)).collect());
                    local.looked(&clock);
                    seen = Some(change);
                }
                Some(Err(_)) => {}
            }
        }
        // Until something is said, or for a while: what was said may have been lost.
        let _ = timeout(LOOK_AGAIN, said.changed()).await;
    }
}

fn parse(target: &str, block: &str) -> Option<(Target, Arc<Block>)> {
    let parsed = Target::parse(target).zip(serde_json::from_str(block).ok());
    if parsed.is_none() {
        tracing::error!("a block at Redis is not of the form that this version writes; it is not in force here");
    }
    parsed.map(|(target, block)| (target, Arc::new(block)))
}

/// All blocks, and the name of their last change; in one cluster slot.
fn keys(redis: &Redis) -> (String, String) {
    let prefix = redis.prefix();
    (format!("{prefix}:{{blocks}}:all"), format!("{prefix}:{{blocks}}:last"))
}

fn channel(redis: &Redis) -> String {
    format!("{}:blocks", redis.prefix())
}
