//! Sessions that replicas share, at Redis.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::cmd as command;

use super::stored::Fixed;
use super::{Binding, By, Call, End, KEPT, LONGEST_CALL, NotReported, Which};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{CallId, Pseudonym, SessionId};
use crate::redis::{Redis, Script};
use crate::store::StoreDown;

/// Slots that the index of all sessions is spread over.
const SHARDS: u8 = 16;
/// A session is in the index of all for so long, seconds: as long as one can be known.
const INDEXED: u64 = 600 + 2 * LONGEST_CALL + 2 * KEPT;
/// Sessions looked up at once.
const PAGE: usize = 256;
/// A call to be hung up is taken up by another replica when the one that began has not done it after that, seconds.
const TAKEN_UP_AFTER: u64 = 15;
/// Of a session, in the order in which it is read.
const FIELDS: [&str; 7] = ["d", "x", "c", "ct", "e", "et", "h"];

pub(crate) struct SharedSessions {
    redis: Arc<Redis>,
    script: Script,
    queue: Script,
    clock: SharedClock,
}

/// Takes up to so many due ones, and keeps others from them for a while. Members of a set sorted by when they are due.
const QUEUE: &str = r"
local now = tonumber(redis.call('TIME')[1])
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do redis.call('ZADD', KEYS[1], now + ARGV[2], member) end
return due";

impl SharedSessions {
    pub(super) fn new(redis: Arc<Redis>, clock: SharedClock) -> Self {
        Self { redis, script: Script::new(include_str!("bind.lua")), queue: Script::new(QUEUE), clock }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.unix()
    }

    /// `None` when the session had ended.
    pub(super) async fn bind(&self, binding: &Binding) -> Result<Option<Binding>, StoreDown> {
        let (user, session) = (binding.owner.user, binding.session);
        let fixed = serde_json::to_string(&Fixed::of(binding)).map_err(|_| StoreDown)?;
        let more = [fixed, binding.expires_at.to_string()];
        let pointer = command("SET").arg(self.owner_key(session)).arg(user.as_str()).arg("EX").arg(INDEXED).to_owned();
        let (bound, owned, indexed) =
            tokio::join!(self.run("bind", &user, session, &more), self.redis.command::<()>(&pointer), self.index(&user, session));
        owned?;
        indexed?;
        let said = bound?;
        if said.word == "ended" { Ok(None) } else { said.binding().map(Some) }
    }

    /// The newest so many of a user's.
    pub(super) async fn of(&self, user: &Pseudonym, most: usize) -> Result<Vec<Binding>, StoreDown> {
        self.pages(&self.user_key(user), &Which { user: Some(*user), ..Which::default() }, most).await
    }

    pub(super) async fn own(&self, user: &Pseudonym, session: SessionId) -> Result<Option<Binding>, StoreDown> {
        let fields: Vec<Option<String>> =
            self.redis.command(command("HMGET").arg(self.session_key(user, session)).arg(&FIELDS)).await?;
        let fields: Vec<String> = fields.into_iter().map(Option::unwrap_or_default).collect();
        Ok(read(&fields).filter(|binding| binding.owner.user == *user))
    }

    pub(super) async fn end(&self, user: &Pseudonym, session: SessionId, by: By) -> Result<Option<(Binding, bool)>, StoreDown> {
        // Before it is ended: should this replica die in between, another one finds that there is something to hang up.
        self.to_hang_up(user, session).await?;
        let said = self.run("finish", user, session, &[by.word().to_owned()]).await?;
        let ended = if said.word == "unknown" { None } else { Some((said.binding()?, said.word == "now")) };
        if ended.as_ref().is_none_or(|(binding, _)| binding.to_hang_up().is_none()) {
            self.not_to_hang_up(user, session).await?;
        }
        Ok(ended)
    }

    pub(super) async fn report(&self, user: &Pseudonym, session: SessionId, call: &CallId) -> Result<Binding, NotReported> {
        let known = self.own(user, session).await?.ok_or(NotReported::Unknown)?;
        // Before the call is noted down, so that no session notes down more than one.
        if known.call.is_some_and(|known| known.id != *call) || !self.claim(call, session).await? {
            return Err(NotReported::AlreadyReported);
        }
        self.to_hang_up(user, session).await?;
        let said = self.run("report", user, session, &[call.as_str().to_owned()]).await?;
        if said.word == "over" {
            return Err(NotReported::Over(Box::new(said.binding()?)));
        }
        self.not_to_hang_up(user, session).await?;
        match said.word.as_str() {
            "reported" => Ok(said.binding()?),
            "other" => Err(NotReported::AlreadyReported),
            _ => Err(NotReported::Unknown),
        }
    }

    pub(super) async fn hung_up(&self, user: &Pseudonym, session: SessionId) -> Result<(), StoreDown> {
        self.run("hung_up", user, session, &[]).await?;
        self.not_to_hang_up(user, session).await
    }

    pub(super) async fn forget(&self, user: &Pseudonym, session: SessionId) -> Result<(), StoreDown> {
        let gone = command("DEL").arg(self.owner_key(session)).to_owned();
        let (forgotten, pointer) = tokio::join!(self.run("forget", user, session, &[]), self.redis.command::<()>(&gone));
        pointer?;
        forgotten.map(drop)
    }

    pub(super) async fn find(&self, session: SessionId) -> Result<Option<Binding>, StoreDown> {
        let get = command("GET").arg(self.owner_key(session)).to_owned();
        match self.redis.command::<Option<String>>(&get).await?.and_then(|user| Pseudonym::parse(&user)) {
            Some(user) => self.own(&user, session).await,
            None => Ok(None),
        }
    }

    pub(super) async fn list(&self, which: &Which, most: usize) -> Result<Vec<Binding>, StoreDown> {
        let mut found = Vec::new();
        match &which.user {
            Some(user) => found = self.pages(&self.user_key(user), which, most).await?,
            None => {
                for shard in 0..SHARDS {
                    found.extend(self.pages(&self.index_key(shard), which, most).await?);
                }
            }
        }
        found.sort_unstable_by_key(|binding| std::cmp::Reverse(binding.session));
        found.truncate(most);
        Ok(found)
    }

    /// Sessions whose call is to be hung up, and that nobody has done so for a while. Others do not get them for as long.
    pub(super) async fn claim_hang_ups(&self, most: usize) -> Result<Vec<Binding>, StoreDown> {
        let (most, after) = (most.to_string(), TAKEN_UP_AFTER.to_string());
        let due: Vec<String> = self.redis.script(&self.queue, &[&self.queue_key()], &[&most, &after]).await?;
        let mut found = Vec::new();
        for (user, session) in due.iter().filter_map(|member| parse_member(member)) {
            match self.own(&user, session).await? {
                Some(binding) if binding.to_hang_up().is_some() => found.push(binding),
                _ => self.not_to_hang_up(&user, session).await?,
            }
        }
        Ok(found)
    }

    /// The newest so many of an index that are meant. Page by page, so that nobody else waits for long.
    async fn pages(&self, index: &str, which: &Which, most: usize) -> Result<Vec<Binding>, StoreDown> {
        let (now, mut found, mut start) = (self.now(), Vec::new(), 0);
        while found.len() < most {
            let last = start + PAGE.min(most) - 1;
            let page = command("ZREVRANGE").arg(index).arg(start).arg(last).to_owned();
            let members: Vec<String> = self.redis.command(&page).await?;
            let known = members.iter().filter_map(|member| parse_member(member));
            let shown = join_all(known.map(async |(user, session)| self.own(&user, session).await)).await;
            for binding in shown {
                found.extend(binding?.filter(|binding| which.takes(binding, now)));
            }
            if start + members.len() <= last {
                break;
            }
            start = last + 1;
        }
        found.truncate(most);
        Ok(found)
    }

    async fn index(&self, user: &Pseudonym, session: SessionId) -> Result<(), StoreDown> {
        let (now, key) = (self.now(), self.index_key(shard_of(user)));
        let add = command("ZADD").arg(&key).arg(now).arg(member(user, session)).to_owned();
        let clean = command("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(now.saturating_sub(INDEXED)).to_owned();
        let expire = command("EXPIRE").arg(&key).arg(INDEXED).to_owned();
        let (add, clean, expire) =
            tokio::join!(self.redis.command::<()>(&add), self.redis.command::<()>(&clean), self.redis.command::<()>(&expire));
        Ok(add.and(clean).and(expire)?)
    }

    /// Whether the call is this session's: nobody else reported it before.
    async fn claim(&self, call: &CallId, session: SessionId) -> Result<bool, StoreDown> {
        let key = self.key(&format!("call:{}", call.as_str()));
        let set = command("SET").arg(&key).arg(session.to_string()).arg("NX").arg("EX").arg(INDEXED).to_owned();
        if self.redis.command::<Option<String>>(&set).await?.is_some() {
            return Ok(true);
        }
        let holder: Option<String> = self.redis.command(&command("GET").arg(&key).to_owned()).await?;
        Ok(holder.is_some_and(|holder| holder == session.to_string()))
    }

    async fn to_hang_up(&self, user: &Pseudonym, session: SessionId) -> Result<(), StoreDown> {
        let due = self.now() + TAKEN_UP_AFTER;
        let add = command("ZADD").arg(self.queue_key()).arg(due).arg(member(user, session)).to_owned();
        Ok(self.redis.command::<()>(&add).await?)
    }

    async fn not_to_hang_up(&self, user: &Pseudonym, session: SessionId) -> Result<(), StoreDown> {
        let remove = command("ZREM").arg(self.queue_key()).arg(member(user, session)).to_owned();
        Ok(self.redis.command::<()>(&remove).await?)
    }

    async fn run(&self, operation: &str, user: &Pseudonym, session: SessionId, more: &[String]) -> Result<Said, StoreDown> {
        let keys = [self.session_key(user, session), self.user_key(user)];
        let mut arguments = vec![operation.to_owned(), member(user, session), LONGEST_CALL.to_string(), KEPT.to_string()];
        arguments.extend_from_slice(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut said: Vec<String> = self.redis.script(&self.script, &keys.each_ref().map(String::as_str), &arguments).await?;
        if said.is_empty() {
            return Err(StoreDown);
        }
        let fields = said.split_off(1);
        Ok(Said { word: said.pop().unwrap_or_default(), fields })
    }

    fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.redis.prefix())
    }

    fn session_key(&self, user: &Pseudonym, session: SessionId) -> String {
        self.key(&format!("{{u{}}}:s:{session}", user.as_str().get(..16).unwrap_or_default()))
    }

    fn user_key(&self, user: &Pseudonym) -> String {
        self.key(&format!("{{u{}}}:x:{user}", user.as_str().get(..16).unwrap_or_default()))
    }

    fn owner_key(&self, session: SessionId) -> String {
        self.key(&format!("o:{session}"))
    }

    fn index_key(&self, shard: u8) -> String {
        self.key(&format!("{{x{shard}}}:all"))
    }

    fn queue_key(&self) -> String {
        self.key("hang-ups")
    }
}

/// What the script says: a word, and sessions.
struct Said {
    word: String,
    fields: Vec<String>,
}

impl Said {
    fn binding(&self) -> Result<Binding, StoreDown> {
        read(&self.fields).ok_or_else(|| {
            tracing::error!("a session at Redis is not of the form that this version writes");
            StoreDown
        })
    }
}

fn read(fields: &[String]) -> Option<Binding> {
    let [fixed, expires_at, call, reported_at, by, at, hang_up] = fields else { return None };
    let fixed: Fixed = serde_json::from_str(fixed).ok()?;
    let number = |text: &str| text.parse::<u64>().ok();
    let call = CallId::parse(call).and_then(|id| Some(Call { id, reported_at: number(reported_at)? }));
    let end = By::parse(by).and_then(|by| Some(End { by, at: number(at)?, hang_up: hang_up == "1" }));
    fixed.binding(number(expires_at)?, call, end)
}

fn shard_of(user: &Pseudonym) -> u8 {
    user.as_str().bytes().last().unwrap_or_default() % SHARDS
}

fn member(user: &Pseudonym, session: SessionId) -> String {
    format!("{session}:{user}")
}

fn parse_member(member: &str) -> Option<(Pseudonym, SessionId)> {
    let (session, user) = member.split_once(':')?;
    Some((Pseudonym::parse(user)?, SessionId::parse(session)?))
}
