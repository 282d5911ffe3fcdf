//! What callers ask about.

/// Which stacks, and from where on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StackFilter {
    /// On this target.
    pub target: Option<String>,
    /// Of this app.
    pub app: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this name.
    pub name: Option<String>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many at the most: 1 to 1000, 100 unless told.
    pub limit: Option<usize>,
}

/// One stack by its key; it need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackSelector {
    /// Its target; left out, the one that a deploy would go to.
    pub target: Option<String>,
    /// Its app.
    pub app: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Which log, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// `service.web`, `job.migrate`.
    pub of: String,
    /// How many of the last lines. 100 unless told.
    pub lines: Option<usize>,
    /// Go on with what is written from now on.
    pub follow: bool,
}
