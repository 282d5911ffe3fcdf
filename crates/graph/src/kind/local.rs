//! What is on this machine.

use std::time::Duration;

use crate::kind::describe;
use crate::kind::row::{Called, Data, Effect, Fence, Fold, Limit, Program, Row, Texts, Times, seconds};
use crate::value::Value;

/// What is added to times that the definition gives, for starting and for telling the outcome.
const SLACK: Duration = Duration::from_secs(30);

/// How long an image may take to be fetched.
pub const FETCH: Duration = Duration::from_secs(600);

/// A service's processes, or containers.
pub(super) static SERVICE: Row = Row {
    word: "service",
    id_word: "service",
    label: "service",
    api: None,
    data: Data::None,
    effects: &[
        ("artifact", Effect::Restart),
        ("image", Effect::Restart),
        ("writable", Effect::Restart),
        ("command", Effect::Restart),
        ("env", Effect::Restart),
        ("health", Effect::Restart),
        ("serves", Effect::Restart),
        ("ports", Effect::Restart),
        ("files", Effect::Restart),
        ("memory_bytes", Effect::Restart),
        ("cpu_millis", Effect::Restart),
        ("update", Effect::InPlace),
    ],
    keyed_lists: &[],
    times: Times { apply: Limit::Of(switched), start: Limit::Of(started), delete: Limit::Of(stopped) },
    fence: Fence::Workers,
    behind: None,
    status: true,
    rank: 14,
    plumbing: false,
    encloses: false,
    program: Program::Service,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::Environment("service"),
    called: Called::Id,
    fold: Fold::Own,
    describe: describe::local_service,
};

/// The folder with the data of a cache that persists. Apart from its server, so that a cache without data is none that holds data.
pub(super) static CACHE_DATA: Row = Row {
    word: "cache-data",
    id_word: "cache-data",
    label: "cache data",
    api: None,
    data: Data::Kept,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::QUICK, start: Limit::NONE, delete: Limit::LONG },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 9,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Id,
    fold: Fold::Own,
    describe: describe::local_cache_data,
};

/// A cache's server. Whatever changes of it, it is started anew; what isn't kept on disk is lost with the old one.
pub(super) static CACHE: Row = Row {
    word: "cache",
    id_word: "cache",
    label: "cache",
    api: None,
    data: Data::None,
    effects: &[
        ("max_memory_bytes", Effect::Restart),
        ("memory_bytes", Effect::Restart),
        ("cpu_millis", Effect::Restart),
        ("eviction", Effect::Restart),
        ("persist", Effect::Restart),
        ("password", Effect::Restart),
    ],
    keyed_lists: &[],
    times: Times { apply: Limit::Of(switched), start: Limit::Of(started), delete: Limit::Of(stopped) },
    // After those who write to it.
    fence: Fence::Logins,
    behind: None,
    status: true,
    rank: 10,
    plumbing: false,
    encloses: false,
    program: Program::Server,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Id,
    fold: Fold::Own,
    describe: describe::local_cache,
};

/// A bucket: its files, and its server within Freehold. Whatever changes of it, it goes on serving.
pub(super) static BUCKET: Row = Row {
    word: "bucket",
    id_word: "bucket",
    label: "bucket",
    api: None,
    data: Data::Kept,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::LONG, start: Limit::NONE, delete: Limit::LONG },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 9,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Id,
    fold: Fold::Own,
    describe: describe::local_bucket,
};

/// A job that runs on a schedule.
pub(super) static SCHEDULE: Row = Row {
    word: "schedule",
    id_word: "schedule",
    label: "schedule",
    api: None,
    data: Data::None,
    effects: &[],
    keyed_lists: &[],
    times: Times { apply: Limit::QUICK, start: Limit::NONE, delete: Limit::Fixed(SLACK) },
    fence: Fence::Workers,
    behind: None,
    status: true,
    rank: 17,
    plumbing: false,
    encloses: false,
    program: Program::Schedule,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::Environment("job"),
    called: Called::Id,
    fold: Fold::Own,
    describe: describe::local_schedule,
};

/// A host name of the router.
pub(super) static ROUTE: Row = Row {
    word: "route",
    id_word: "route",
    label: "route",
    api: None,
    data: Data::None,
    effects: &[],
    keyed_lists: &[("paths", "prefix")],
    times: Times { apply: Limit::QUICK, start: Limit::NONE, delete: Limit::QUICK },
    fence: Fence::None,
    behind: None,
    status: true,
    rank: 22,
    plumbing: false,
    encloses: false,
    program: Program::None,
    logins: None,
    cause: None,
    scales: None,
    after_verification: false,
    texts: Texts::None,
    called: Called::Hosts,
    fold: Fold::Own,
    describe: describe::local_route,
};

/// Until the new processes have taken over and the old ones have ended; before that an image may have to be fetched.
fn switched(body: &Value) -> Duration {
    let fetch = if body.get("image").is_some() { FETCH } else { Duration::ZERO };
    fetch.saturating_add(seconds(body, "start_timeout_seconds")).saturating_add(stopped(body))
}

fn started(body: &Value) -> Duration {
    seconds(body, "start_timeout_seconds").saturating_add(seconds(body, "settle_seconds"))
}

fn stopped(body: &Value) -> Duration {
    SLACK.saturating_add(seconds(body, "drain_seconds")).saturating_add(seconds(body, "stop_timeout_seconds"))
}
