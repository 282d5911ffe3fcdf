//! What is kept in the store.

use crate::kind::describe;
use crate::kind::row::{Called, Data, Fence, Fold, Limit, Program, Row, Texts, Times};

/// A secret of the definition, sealed. One that nobody has a copy of can't be made again, but a deletion of data is what people name.
pub(super) static SECRET: Row = Row {
    word: "secret",
    id_word: "secret",
    label: "secret",
    api: None,
    data: Data::Sealed,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::QUICK, start: Limit::NONE, delete: Limit::QUICK },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 8,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Identity,
    fold: Fold::Own,
    describe: describe::secret,
};
