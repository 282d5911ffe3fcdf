//! What others may refer to with `${…}`: what it is, whether it is secret, and what has to be reached to use it. Rules, policies and
//! expansions ask these instead of matching kinds of references.

/// An output of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputRow {
    /// As it is written behind the part's name; empty where nothing follows: `${secret.session-key}`.
    pub field: &'static str,
    /// What it is, with its article: `a URL`.
    pub what: &'static str,
    /// Who may know it.
    pub secrecy: Secrecy,
    /// What has to be reached by whoever uses it. Opens network policies.
    pub reach: Reach,
    /// What it is meant for.
    pub readers: Readers,
    /// Whether it is made from the references of its own part, so that there can be circles.
    pub follows_references: bool,
}

impl OutputRow {
    /// What it is, without its article: `URL`.
    pub fn noun(&self) -> &'static str {
        self.what.split_once(' ').map_or(self.what, |(_, noun)| noun)
    }
}

/// Who may know an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Everybody, in plans and logs as well.
    Public,
    /// Only programs that refer to it; why.
    Secret(&'static str),
}

impl Secrecy {
    /// Whether only programs may know it.
    pub const fn is_secret(self) -> bool {
        match self {
            Self::Public => false,
            Self::Secret(_) => true,
        }
    }
}

/// What has to be reached by whoever uses an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing within the stack.
    Nothing,
    /// The part whose output it is: the port of a service, the server of a database.
    Part,
}

/// What an output is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Services and jobs alike.
    All,
    /// Jobs: it gives more rights than a service needs.
    Jobs,
}

/// The outputs of a part that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOutput {}

impl NoOutput {
    pub(super) const ALL: &'static [Self] = &[];

    pub(super) const fn row(self) -> OutputRow {
        match self {}
    }
}

/// What others may refer to of a named port of a service: `${service.mail.smtp.host}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortOutput {
    /// Where the other services of the stack reach it: `tcp://HOST:PORT`.
    Url,
    /// The host of that URL.
    Host,
    /// The port of that URL.
    Port,
}

impl PortOutput {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Url, Self::Host, Self::Port];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Host => "host",
            Self::Port => "port",
        }
    }
}
