//! How many streams may be open at once: each holds a connection, a task, and what it has yet to send.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use freehold_problem::{Code, Problem};
use freehold_store::TenantId;
use futures::stream::{BoxStream, Stream, StreamExt};

use crate::Result;
use crate::actor::Actor;

/// How many one tenant's callers may have open together, and how many operators may.
const MOST: usize = 256;

/// The streams that are open, by whose callers have them.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<BTreeMap<TenantId, usize>>>);

/// One that is open.
struct Open {
    all: Streams,
    of: TenantId,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.of);
            }
        }
    }
}

impl Streams {
    /// Counts a stream for as long as it lives.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn open<T: 'static>(
        &self,
        actor: &Actor,
        stream: impl Stream<Item = T> + Send + 'static,
    ) -> Result<BoxStream<'static, T>> {
        let of = actor.key_space();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(of).or_default();
        if *count >= MOST {
            return Err(Problem::new(Code::NotNow, format!("{MOST} streams of events and logs are open already"))
                .help("close some of them; `freehold status` tells the same without a stream"));
        }
        *count += 1;
        drop(all);
        let open = Open { all: self.clone(), of };
        let counted = move |item| {
            let _ = &open;
            item
        };
        Ok(stream.map(counted).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenants_streams_are_bounded_and_count_no_longer_than_they_live() {
        let streams = Streams::default();
        let [acme, globex] =
            [1, 2].map(|tenant| Actor::tenant(TenantId(uuid::Uuid::from_u128(tenant)), "ci", crate::Scope::ALL));
        let open = |actor: &Actor| streams.open(actor, futures::stream::pending::<()>());
        let mut held: Vec<_> = (0..MOST).map(|_| open(&acme).unwrap()).collect();
        assert_eq!(open(&acme).err().unwrap().code, Code::NotNow);
        assert!(open(&globex).is_ok());
        held.pop();
        assert!(open(&acme).is_ok());
        drop(held);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
