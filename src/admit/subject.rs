//! Whose limits an admission comes under, and what is counted under which name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::authenticate::Visit;
use crate::authorize::{Grant, Policy};
use crate::config::{Ceilings, Limits, PerAddress};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, Pseudonymizer, SessionId};

/// Whose counts they are. Each has a table of its own, so that a flood of one kind leaves room for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// A user of a profile.
    User,
    /// A guest of a profile.
    Guest,
    /// The guests behind an address.
    GuestAddress,
    /// A user, over all profiles.
    Person,
    /// Everybody behind an address.
    Address,
    Tenant,
    /// All users of a profile.
    Profile,
    Everybody,
}

impl Whose {
    pub(super) const ALL: [Self; 8] =
        [Self::User, Self::Guest, Self::GuestAddress, Self::Person, Self::Address, Self::Tenant, Self::Profile, Self::Everybody];

    /// In names of keys.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Guest => "guest",
            Self::GuestAddress => "guests",
            Self::Person => "person",
            Self::Address => "address",
            Self::Tenant => "tenant",
            Self::Profile => "profile",
            Self::Everybody => "all",
        }
    }

    /// Where the configuration sets these limits, below a profile or at its top.
    pub(crate) fn section(self) -> &'static str {
        match self {
            Self::User | Self::Guest => "limits",
            Self::GuestAddress => "identity.guest.per_address",
            Self::Person => "limits.per_user",
            Self::Address => "limits.per_address",
            Self::Tenant => "limits.per_tenant",
            Self::Profile => "total_limits",
            Self::Everybody => "limits.global",
        }
    }
}

/// Who is counted, and within what: limits of a profile are per user of that profile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) name: Name,
    pub(super) within: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// A user, a guest or an address.
    One(Pseudonym),
    Tenant(Box<str>),
    All,
}

impl Key {
    /// As a store in a file names it. Only a tenant's name can hold a line break, and it comes last.
    pub(super) fn text(&self, whose: Whose) -> String {
        let name = match &self.name {
            Name::One(pseudonym) => pseudonym.as_str(),
            Name::Tenant(tenant) => tenant,
            Name::All => "",
        };
        format!("{}\n{}\n{name}", whose.word(), self.within)
    }

    pub(super) fn parse(text: &str) -> Option<(Whose, Self)> {
        let mut parts = text.splitn(3, '\n');
        let (word, within, name) = (parts.next()?, parts.next()?, parts.next()?);
        let whose = Whose::ALL.into_iter().find(|whose| whose.word() == word)?;
        let name = match whose {
            Whose::Tenant => Name::Tenant(name.into()),
            Whose::Profile | Whose::Everybody => Name::All,
            _ => Name::One(Pseudonym::parse(name)?),
        };
        Some((whose, Self { name, within: within.into() }))
    }
}

/// As a store in a file names the lease of a session with whoever `key` names.
pub(super) fn lease_text(session: SessionId, key: &str) -> String {
    format!("{session}\n{key}")
}

/// One whose limits must have room.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) whose: Whose,
    pub(super) key: Key,
    pub(super) limits: Limits,
    /// Nobody comes back under this key after that, steady.
    pub(super) known_until: Duration,
    /// The arrival time of its rate that a booking made, steady.
    pub(super) booked: Duration,
}

/// Everyone whose limits must have room for one admission. Whose they are rises strictly: their counts are locked in this order, so no
/// two admissions wait for each other.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    /// Who asks. Most come under no other limits than their own, and then no list is allocated.
    pub(super) first: Subject,
    pub(super) more: Vec<Subject>,
}

impl Subjects {
    pub(super) fn one(subject: Subject) -> Self {
        Self { first: subject, more: Vec::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subject> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// Leaves of each limit the share of one among so many, but at least one.
    fn divide(&mut self, among: u64) {
        let share = |limit: Option<u64>| limit.map(|limit| (limit / among.max(1)).max(1));
        for Subject { limits, .. } in std::iter::once(&mut self.first).chain(&mut self.more) {
            let Limits { mints_per_minute, concurrent_calls, monthly_mints } = *limits;
            *limits = Limits {
                mints_per_minute: share(mints_per_minute),
                concurrent_calls: share(concurrent_calls),
                monthly_mints: share(monthly_mints),
            };
        }
    }

    /// Those who count calls.
    pub(super) fn holding(&self) -> impl Iterator<Item = &Subject> {
        self.iter().filter(|subject| subject.limits.concurrent_calls.is_some())
    }
}

/// Whose a session is, and under what it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: Pseudonym,
    /// Empty when tokens name no tenant.
    pub(crate) tenant: Box<str>,
    pub(crate) profile: Arc<str>,
    /// Where the request came from; only where something is counted by it.
    pub(crate) network: Option<Pseudonym>,
    /// When a guest is one no more, seconds since 1970. Absent for everybody else.
    pub(crate) guest_until: Option<u64>,
}

/// All limits there are.
pub(super) struct Rules {
    profiles: HashMap<Arc<str>, (Limits, Option<Limits>)>,
    ceilings: Ceilings,
    /// Present where there are guests.
    pub(super) guest_address: Option<PerAddress>,
    names: Pseudonymizer,
    mints: Arc<str>,
    proofs: Arc<str>,
}

impl Rules {
    pub(super) fn new(policy: &Policy, ceilings: Ceilings, guest_address: Option<PerAddress>, names: Pseudonymizer) -> Self {
        let limits =
            policy.profiles().map(|profile| (profile.name().clone(), (*profile.limits(), profile.total_limits().copied())));
        Self { profiles: limits.collect(), ceilings, guest_address, names, mints: "mints".into(), proofs: "proofs".into() }
    }

    pub(super) fn counts_addresses(&self) -> bool {
        self.ceilings.per_address.is_some()
    }

    pub(super) fn owner(&self, grant: &Grant, from: Option<IpAddr>) -> Owner {
        let principal = grant.principal();
        let network = match principal.visit() {
            Some(visit) => Some(*visit.network()),
            None => self.ceilings.per_address.and(from).map(|from| self.names.network(from)),
        };
        Owner {
            user: *principal.user(),
            tenant: principal.tenant().into(),
            profile: grant.profile().name().clone(),
            network,
            guest_until: principal.visit().map(Visit::until),
        }
    }

    /// Everyone whose limits a session of this owner comes under, each limit the share of one `among` so many. `None` when its profile is
    /// there no more.
    pub(super) fn subjects(&self, owner: &Owner, among: u64, clock: &SharedClock) -> Option<Subjects> {
        let (limits, total) = *self.profiles.get(&owner.profile)?;
        let person = Name::One(owner.user);
        let first = Subject::asking(owner, limits, clock);
        let everywhere = |whose, name, limits| Subject::new(whose, name, &self.mints, limits);
        let address = |whose, limits: Option<Limits>| Some(everywhere(whose, Name::One(owner.network?), limits?));
        let guests = self.guest_address.filter(|_| owner.guest_until.is_some()).map(|per_address| per_address.mints);
        let tenant = self.ceilings.per_tenant.filter(|_| !owner.tenant.is_empty());
        let more = [
            address(Whose::GuestAddress, guests),
            self.ceilings.per_user.map(|limits| everywhere(Whose::Person, person, limits)),
            address(Whose::Address, self.ceilings.per_address),
            tenant.map(|limits| everywhere(Whose::Tenant, Name::Tenant(owner.tenant.clone()), limits)),
            total.map(|limits| Subject::new(Whose::Profile, Name::All, &owner.profile, limits)),
            self.ceilings.global.map(|limits| everywhere(Whose::Everybody, Name::All, limits)),
        ];
        let mut subjects = Subjects { first, more: more.into_iter().flatten().collect() };
        if among > 1 {
            subjects.divide(among);
        }
        Some(subjects)
    }

    /// The proofs that come from an address.
    pub(super) fn proofs(&self, network: &Pseudonym, among: u64) -> Subjects {
        let per_minute = self.guest_address.map_or(0, |per_address| per_address.proofs_per_minute);
        let limits = Limits { mints_per_minute: Some(per_minute), ..Limits::default() };
        let mut subjects = Subjects::one(Subject::new(Whose::GuestAddress, Name::One(*network), &self.proofs, limits));
        subjects.divide(among);
        subjects
    }
}

impl Subject {
    fn new(whose: Whose, name: Name, within: &Arc<str>, limits: Limits) -> Self {
        Self { whose, key: Key { name, within: within.clone() }, limits, known_until: Duration::MAX, booked: Duration::ZERO }
    }

    /// The user or guest themselves.
    fn asking(owner: &Owner, limits: Limits, clock: &SharedClock) -> Self {
        let own = |whose| Self::new(whose, Name::One(owner.user), &owner.profile, limits);
        match owner.guest_until {
            None => own(Whose::User),
            Some(until) => {
                let left = Duration::from_secs(until).saturating_sub(clock.wall());
                Self { known_until: clock.steady() + left, ..own(Whose::Guest) }
            }
        }
    }
}
