//! Blocks that replicas share, at Redis: each replica follows them, so that a mint need not ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::cmd as command;
use tokio::time::timeout;

use super::{Block, Known, Target};
use crate::redis::{Redis, Script};
use crate::store::StoreDown;

/// How long a change goes unnoticed at most by a replica that heard nothing of it, but can reach the store.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Changes one block, counts the change, and says so. KEYS: all blocks, the count. ARGV: channel, target, block ('' to lift it).
const CHANGE: &str = r"
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[2]) else redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) end
local count = redis.call('INCR', KEYS[2])
redis.call('PUBLISH', ARGV[1], count)
return count";

/// Reads all blocks and the count that they are of.
const READ: &str = r"return { redis.call('GET', KEYS[2]) or '0', redis.call('HGETALL', KEYS[1]) }";

pub(super) struct SharedBlocks {
    redis: Arc<Redis>,
    change: Script,
}

impl SharedBlocks {
    /// Keeps `known` up to date for as long as the process lives. Must run inside its runtime.
    pub(super) fn follow(redis: Arc<Redis>, known: Arc<ArcSwapOption<Known>>) -> Self {
        tokio::spawn(follow(redis.clone(), known));
        Self { redis, change: Script::new(CHANGE) }
    }

    pub(super) async fn set(&self, target: &Target, block: &Block) -> Result<(), StoreDown> {
        let block = serde_json::to_string(block).map_err(|_| StoreDown)?;
        self.write(target, &block).await
    }

    pub(super) async fn lift(&self, target: &Target) -> Result<(), StoreDown> {
        self.write(target, "").await
    }

    async fn write(&self, target: &Target, block: &str) -> Result<(), StoreDown> {
        let ((all, count), channel) = (keys(&self.redis), channel(&self.redis));
        let arguments = [channel.as_str(), &target.word(), block];
        Ok(self.redis.script::<u64>(&self.change, &[&all, &count], &arguments).await.map(drop)?)
    }
}

async fn follow(redis: Arc<Redis>, known: Arc<ArcSwapOption<Known>>) {
    let (all, count) = keys(&redis);
    let read = Script::new(READ);
    let mut said = redis.listen(channel(&redis));
    let mut seen = None;
    loop {
        let counted: Result<Option<String>, _> = redis.command(&command("GET").arg(&count).to_owned()).await;
        if let Ok(counted) = counted
            && seen.as_ref() != Some(&counted.unwrap_or_else(|| "0".into()))
            && let Ok((count, blocks)) = redis.script::<(String, HashMap<String, String>)>(&read, &[&all, &count], &[]).await
        {
            known.store(Some(Arc::new(blocks.iter().filter_map(|(target, block)| parse(target, block)).collect())));
            seen = Some(count);
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

/// All blocks, and how often they were changed; in one cluster slot.
fn keys(redis: &Redis) -> (String, String) {
    let prefix = redis.prefix();
    (format!("{prefix}:{{blocks}}:all"), format!("{prefix}:{{blocks}}:changes"))
}

fn channel(redis: &Redis) -> String {
    format!("{}:blocks", redis.prefix())
}
