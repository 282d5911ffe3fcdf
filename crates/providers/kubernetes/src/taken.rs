//! The names that are taken in the scratch namespace, such as that of its own limits: what has one of them is tried out under another name
//! at once. That a name is taken is no evidence of anything, and needn't be true any more: the other name does as well.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::object::Place;

/// How many are remembered. The namespace holds a few objects, which the cluster and the target put there.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct TakenNames(Mutex<BTreeSet<String>>);

impl TakenNames {
    /// Something was found at a place.
    pub(crate) fn note(&self, place: &Place) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < KEPT {
            all.insert(place.path());
        }
    }

    pub(crate) fn contains(&self, place: &Place) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&place.path())
    }
}
