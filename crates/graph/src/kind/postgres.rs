//! What is on a PostgreSQL server.

use crate::kind::ResourceKind;
use crate::kind::describe;
use crate::kind::row::{Called, Data, Effect, Fence, Fold, Limit, Logins, Program, Row, Texts, Times};

/// How many connections a database's migrator may have, beside those of the definition: one migrates, the others are for people who look
/// after it.
pub const MIGRATOR_CONNECTIONS: u32 = 5;

/// The three roles of a database.
pub(super) static ROLES: Row = Row {
    word: "roles",
    id_word: "roles",
    label: "roles",
    api: None,
    data: Data::None,
    effects: &[("owner", Effect::Replace), ("migrator", Effect::Replace), ("app", Effect::Replace)],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::Logins,
    behind: None,
    status: true,
    rank: 7,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: Some(Logins { connections: "connections", reserved: MIGRATOR_CONNECTIONS }),
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Fixed("owner · migrator · app"),
    fold: Fold::Own,
    describe: describe::roles,
};

/// Which of a database's logins are open, where rotations made new ones.
pub(super) static LOGINS: Row = Row {
    word: "logins",
    id_word: "logins",
    label: "logins",
    api: None,
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::With(ResourceKind::PostgresRoles),
    behind: None,
    status: true,
    rank: 19,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: true,
    texts: Texts::None,
    called: Called::Identity,
    fold: Fold::Own,
    describe: describe::logins,
};

pub(super) static DATABASE: Row = Row {
    word: "database",
    id_word: "database",
    label: "database",
    api: None,
    data: Data::Dumped,
    effects: &[
        ("name", Effect::Replace),
        ("owner", Effect::Replace),
        ("collation", Effect::Replace),
        ("encoding", Effect::Replace),
        ("prepared", Effect::Replace),
    ],
    keyed_lists: &[],
    times: Times { apply: Limit::SERVER, start: Limit::NONE, delete: Limit::SERVER },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 6,
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
    describe: describe::database,
};
