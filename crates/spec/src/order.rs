//! The order of the jobs that a deploy runs, as their `after` makes it.

use std::collections::BTreeMap;

use crate::app::Job;
use crate::name::Name;

/// The jobs that wait for each other: each is after the next, and the last one after the first.
pub type Circle<'a> = Vec<&'a Name>;

/// Which of the jobs of a deploy come before which, also by way of others.
#[derive(Debug, Clone)]
pub struct JobOrder<'a> {
    /// Each job behind all that it is after.
    names: Vec<&'a Name>,
    places: BTreeMap<&'a Name, usize>,
    /// For each place a bit for each place before it.
    before: Vec<Vec<u64>>,
}

/// How far the walk over the jobs has come with one of them.
enum Visit {
    /// Those that it is after are being looked at; how many of them were.
    Open(usize),
    Closed,
}

impl<'a> JobOrder<'a> {
    /// The order of the jobs that a deploy runs. An `after` that names none of them is passed over: a rule reports it.
    ///
    /// # Errors
    /// Jobs that wait for each other have no order.
    pub fn of(jobs: &'a BTreeMap<Name, Job>) -> Result<Self, Circle<'a>> {
        let runs = |name: &Name| jobs.get(name).is_some_and(|job| job.runs().is_deployed());
        let mut order = Self { names: Vec::new(), places: BTreeMap::new(), before: Vec::new() };
        let mut visits: BTreeMap<&Name, Visit> = BTreeMap::new();
        for first in jobs.keys().filter(|name| runs(name)) {
            let mut way = vec![first];
            while let Some(name) = way.last().copied() {
                let after = jobs.get(name).map(|job| job.after.as_slice()).unwrap_or_default();
                let seen = match visits.entry(name).or_insert(Visit::Open(0)) {
                    Visit::Closed => {
                        way.pop();
                        continue;
                    }
                    Visit::Open(seen) => seen,
                };
                let Some(next) = after.get(*seen) else {
                    visits.insert(name, Visit::Closed);
                    way.pop();
                    order.add(name, jobs);
                    continue;
                };
                *seen += 1;
                match visits.get(&next.value) {
                    Some(Visit::Closed) => {}
                    Some(Visit::Open(_)) => {
                        return Err(way.into_iter().skip_while(|name| **name != next.value).collect());
                    }
                    None if runs(&next.value) => way.push(&next.value),
                    None => {}
                }
            }
        }
        Ok(order)
    }

    /// All that it is after has a place.
    fn add(&mut self, name: &'a Name, jobs: &BTreeMap<Name, Job>) {
        let place = self.names.len();
        let mut before = vec![0; place / 64 + 1];
        for earlier in jobs.get(name).into_iter().flat_map(|job| &job.after) {
            let Some(earlier) = self.places.get(&earlier.value) else { continue };
            for (word, more) in before.iter_mut().zip(self.before.get(*earlier).into_iter().flatten()) {
                *word |= more;
            }
            if let Some(word) = before.get_mut(earlier / 64) {
                *word |= 1 << (earlier % 64);
            }
        }
        self.names.push(name);
        self.places.insert(name, place);
        self.before.push(before);
    }

    /// The jobs, each behind all that it is after.
    pub fn names(&self) -> &[&'a Name] {
        &self.names
    }

    /// Whether one job runs before another.
    pub fn is_before(&self, earlier: &Name, later: &Name) -> bool {
        let (Some(earlier), Some(later)) = (self.places.get(earlier), self.places.get(later)) else { return false };
        self.before
            .get(*later)
            .and_then(|before| before.get(earlier / 64))
            .is_some_and(|word| (word >> (earlier % 64)) & 1 == 1)
    }

    /// Whether two jobs can run at the same time.
    pub fn may_meet(&self, one: &Name, other: &Name) -> bool {
        one != other && !self.is_before(one, other) && !self.is_before(other, one)
    }
}
