//! What is kept in the store.

use crate::kind::row::{Data, Fence, Limit, Row, Times};

/// A secret of the definition, sealed. One that nobody has a copy of can't be made again, but a deletion of data is what people name.
pub(super) static SECRET: Row = Row {
    word: "secret",
    id_word: "secret",
    label: "secret",
    api: None,
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::QUICK, start: Limit::NONE, delete: Limit::QUICK },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 8,
    plumbing: false,
};
