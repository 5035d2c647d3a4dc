//! The group coordinator: members, generations, who has which partition, and the committed
//! offsets. Classic protocol, eager, with static membership.
//!
//! A change of members begins a rebalance; the generation stays until everybody has joined
//! again or was given up on. Commits are fenced by name, member id and generation, as
//! Kafka's `GroupCoordinator` does it. Pure: the time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

/// How the group is configured.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// How often a member hears from the coordinator.
    pub heartbeat: Duration,
    /// A member that is silent for so long is put out.
    pub session: Duration,
    /// A member that does not join again for so long is put out.
    pub rebalance: Duration,
    /// How long a request waits for an answer.
    pub request: Duration,
}

impl Default for Timings {
    /// librdkafka's, but for the rebalance, which is five minutes there.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(3),
            session: Duration::from_secs(45),
            rebalance: Duration::from_secs(300),
            request: Duration::from_secs(60),
        }
    }
}

/// A committed offset and its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub offset: i64,
    pub metadata: String,
}

/// Why the coordinator says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownMember,
    /// Somebody else joined under this name.
    Fenced,
    IllegalGeneration,
}

impl Refusal {
    /// As the client puts it.
    pub fn text(self) -> &'static str {
        match self {
            Self::UnknownMember => "Broker: Unknown member",
            Self::Fenced => {
                "Broker: Static consumer fenced by other consumer with same group.instance.id"
            }
            Self::IllegalGeneration => "Broker: Specified group generation id is not valid",
        }
    }
}

#[derive(Clone, Debug)]
struct Member {
    id: u64,
    partitions: Vec<i32>,
    has_joined: bool,
    silent_since: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Group {
    pub generation: u32,
    /// By `group.instance.id`.
    members: BTreeMap<String, Member>,
    /// When the rebalance that is going on began.
    rebalance: Option<Duration>,
    next_id: u64,
    pub committed: BTreeMap<i32, Stored>,
}

impl Group {
    /// A group that nobody has ever joined.
    pub fn new() -> Self {
        Self {
            generation: 0,
            members: BTreeMap::new(),
            rebalance: None,
            next_id: 1,
            committed: BTreeMap::new(),
        }
    }

    /// Somebody joins under this name; the member id that he gets. A known name gets its
    /// partitions back without a rebalance, and whoever had it is fenced.
    pub fn join(&mut self, name: &str, now: Duration) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(member) = self.members.get_mut(name) {
            member.id = id;
            member.silent_since = None;
            member.has_joined = true;
        } else {
            let member = Member {
                id,
                partitions: Vec::new(),
                has_joined: true,
                silent_since: None,
            };
            self.members.insert(name.to_owned(), member);
            self.begin_rebalance(now, Some(name));
        }
        id
    }

    /// A member has given its partitions back and joins again.
    pub fn rejoin(&mut self, name: &str, id: u64) -> Result<(), Refusal> {
        self.member(name, id)?.has_joined = true;
        Ok(())
    }

    /// A member is put out, or leaves.
    pub fn remove(&mut self, name: &str, now: Duration) {
        if self.members.remove(name).is_none() {
            return;
        }
        match self.members.is_empty() {
            true => {
                self.rebalance = None;
                self.generation += 1;
            }
            false => self.begin_rebalance(now, None),
        }
    }

    fn begin_rebalance(&mut self, now: Duration, joining: Option<&str>) {
        if self.rebalance.is_some() {
            return;
        }
        self.rebalance = Some(now);
        for (name, member) in &mut self.members {
            member.has_joined = Some(name.as_str()) == joining;
        }
    }

    /// Gives the partitions out once everybody has joined.
    pub fn complete(&mut self, partitions: &[i32]) {
        if self.rebalance.is_none() || !self.members.values().all(|member| member.has_joined) {
            return;
        }
        self.rebalance = None;
        self.generation += 1;
        // The range assignor: the first members get one more.
        let (count, members) = (partitions.len(), self.members.len());
        let mut rest = partitions;
        for (place, member) in self.members.values_mut().enumerate() {
            let share = count / members + usize::from(place < count % members);
            let (taken, left) = rest.split_at(share);
            member.partitions = taken.to_vec();
            rest = left;
        }
    }

    /// Puts out whoever was silent, or did not join again, for too long.
    pub fn expire(&mut self, now: Duration, timings: &Timings) {
        let is_late = self
            .rebalance
            .is_some_and(|since| now >= since + timings.rebalance);
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| {
                let is_silent = member
                    .silent_since
                    .is_some_and(|since| now >= since + timings.session);
                is_silent || is_late && !member.has_joined
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.remove(&name, now);
        }
    }

    /// When somebody is to be put out next.
    pub fn next_expiry(&self, timings: &Timings) -> Option<Duration> {
        let silent = self
            .members
            .values()
            .filter_map(|member| Some(member.silent_since? + timings.session));
        let late = self.rebalance.map(|since| since + timings.rebalance);
        let late = late.filter(|_| self.members.values().any(|member| !member.has_joined));
        silent.chain(late).min()
    }

    /// The coordinator hears nothing from a member from now on, or hears it again.
    pub fn set_silent(&mut self, name: &str, id: u64, since: Option<Duration>) {
        if let Ok(member) = self.member(name, id) {
            member.silent_since = since;
        }
    }

    fn member(&mut self, name: &str, id: u64) -> Result<&mut Member, Refusal> {
        match self.members.get_mut(name) {
            None => Err(Refusal::UnknownMember),
            Some(member) if member.id != id => Err(Refusal::Fenced),
            Some(member) => Ok(member),
        }
    }

    /// Whether a request of this member is heeded.
    pub fn check(&self, name: &str, id: u64, generation: u32) -> Result<(), Refusal> {
        match self.members.get(name) {
            None => Err(Refusal::UnknownMember),
            Some(member) if member.id != id => Err(Refusal::Fenced),
            Some(_) if generation != self.generation => Err(Refusal::IllegalGeneration),
            Some(_) => Ok(()),
        }
    }

    /// When the rebalance began that a member has not joined yet.
    pub fn awaits(&self, name: &str) -> Option<Duration> {
        let is_awaited = self
            .members
            .get(name)
            .is_some_and(|member| !member.has_joined);
        self.rebalance.filter(|_| is_awaited)
    }

    /// The partitions of a member, unless a rebalance is going on.
    pub fn partitions(&self, name: &str) -> Option<&[i32]> {
        match self.rebalance {
            Some(_) => None,
            None => Some(&self.members.get(name)?.partitions),
        }
    }

    /// Whether a rebalance only waits for the partitions to be given out.
    pub fn is_ready(&self) -> bool {
        self.rebalance.is_some() && self.members.values().all(|member| member.has_joined)
    }

    /// The topic has other partitions now: they are given out anew.
    pub fn partitions_changed(&mut self, now: Duration) {
        if !self.members.is_empty() {
            self.begin_rebalance(now, None);
        }
    }

    /// The coordinator runs no timers before this time.
    pub fn postpone(&mut self, until: Duration) {
        let silent = self
            .members
            .values_mut()
            .filter_map(|member| member.silent_since.as_mut());
        for since in silent.chain(&mut self.rebalance) {
            *since = until.max(*since);
        }
    }

    /// Whether the name is a member's.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    /// A group of two that have three partitions, and their member ids.
    fn two() -> (Group, u64, u64) {
        let mut group = Group::new();
        let a = group.join("a", NOW);
        group.complete(&[0, 1, 2]);
        let b = group.join("b", NOW);
        group.rejoin("a", a).unwrap();
        group.complete(&[0, 1, 2]);
        (group, a, b)
    }

    #[test]
    fn a_generation_lasts_until_everybody_has_joined_again() {
        let mut group = Group::new();
        let a = group.join("a", NOW);
        group.complete(&[0, 1, 2]);
        assert_eq!(
            (group.generation, group.partitions("a")),
            (1, Some(&[0, 1, 2][..]))
        );
        group.join("b", NOW);
        group.complete(&[0, 1, 2]);
        assert_eq!(group.awaits("a"), Some(NOW));
        assert_eq!(group.partitions("a"), None);
        group
            .check("a", a, 1)
            .expect("the old generation still commits");
        group.rejoin("a", a).unwrap();
        group.complete(&[0, 1, 2]);
        assert_eq!(group.partitions("a"), Some(&[0, 1][..]));
        assert_eq!(group.partitions("b"), Some(&[2][..]));
        assert_eq!(group.check("a", a, 1), Err(Refusal::IllegalGeneration));
    }

    #[test]
    fn a_static_member_comes_back_without_a_rebalance_and_fences_who_was_there() {
        let (mut group, a, _) = two();
        let generation = group.generation;
        let again = group.join("a", NOW);
        assert_eq!(group.partitions("a"), Some(&[0, 1][..]));
        assert_eq!(group.check("a", a, generation), Err(Refusal::Fenced));
        group.check("a", again, generation).unwrap();
    }

    #[test]
    fn a_silent_member_is_put_out_and_its_commits_are_refused() {
        let timings = Timings::default();
        let (mut group, a, b) = two();
        let generation = group.generation;
        group.set_silent("a", a, Some(NOW));
        group.expire(NOW + timings.session - Duration::from_millis(1), &timings);
        assert!(group.has("a"));
        assert_eq!(group.next_expiry(&timings), Some(NOW + timings.session));
        group.expire(NOW + timings.session, &timings);
        assert_eq!(group.check("a", a, generation), Err(Refusal::UnknownMember));
        group.rejoin("b", b).unwrap();
        group.complete(&[0, 1, 2]);
        assert_eq!(group.partitions("b"), Some(&[0, 1, 2][..]));
    }

    #[test]
    fn who_does_not_join_again_in_time_is_put_out() {
        let timings = Timings::default();
        let (mut group, a, _) = two();
        group.join("c", NOW);
        group.rejoin("a", a).unwrap();
        group.expire(NOW + timings.rebalance, &timings);
        assert!(group.has("a") && group.has("c") && !group.has("b"));
        group.complete(&[0, 1, 2]);
        assert_eq!(group.partitions("c"), Some(&[2][..]));
    }
}
