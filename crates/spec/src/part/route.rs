//! Host names with paths that lead to services, or are answered at the entrance.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::decode::kind::{At, Few, List, Map, Sequence};
use crate::decode::network::Cidr;
use crate::decode::number::{Among, Numbers, Truth, Whole};
use crate::decode::path::Prefix;
use crate::decode::table::table;
use crate::decode::text::{Amount, Duration, HttpHeader, OneOf, PartName, Plain, Text, UserName, WithReferences, Word};
use crate::name::Name;
use crate::part::output::{OutputRow, Reach, Readers, Secrecy};
use crate::quantity::{Memory, Seconds};
use crate::span::{Span, Spanned};
use crate::template::Template;

/// The most host names of a route: those of an HTTPRoute (`maxItems` in its definition).
const HOSTS: usize = 16;
/// The most header fields that are set, added or removed: those of a filter of an HTTPRoute (`maxItems` in its definition).
const HEADERS: usize = 16;
/// The most paths of a route.
const PATHS: usize = 100;

/// Host names with paths that lead to services, or are answered at the entrance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The table's header.
    pub span: Span,
    /// The service that answers, where a path names no other.
    pub service: Option<Spanned<Name>>,
    /// The host names, all of which serve. The first one stands in the route's URL.
    pub hosts: Vec<Spanned<Template>>,
    /// Host names whose requests are redirected to the first one.
    pub redirect_from: Vec<Spanned<Template>>,
    /// Rules; the longest prefix that fits wins. Default: `/`, 30 s, 0 retries.
    pub paths: Vec<PathRule>,
    /// What is changed in the header of requests.
    pub request_headers: Headers,
    /// What is changed in the header of answers.
    pub response_headers: Headers,
    /// Which pages of other origins may read answers.
    pub cors: Option<Cors>,
    /// The largest body of a request.
    pub max_body: Option<Spanned<Memory>>,
    /// Passwords by user name; nobody else is let in.
    pub basic_auth: BTreeMap<String, Spanned<Template>>,
    /// The networks of the clients that are let in; empty for all.
    pub allow_from: Vec<Spanned<IpNet>>,
    /// How many requests a client may send.
    pub rate_limit: Option<RateLimit>,
}

/// How requests below a path are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// Where its table stands.
    pub span: Span,
    /// Path prefix, by whole segments: `/events` fits `/events` and `/events/1`, not `/eventsource`.
    pub prefix: Spanned<String>,
    /// The service that answers; without, the route's.
    pub service: Option<Spanned<Name>>,
    /// Where requests are redirected to.
    pub redirect: Option<Redirect>,
    /// The answer that all requests get.
    pub respond: Option<Respond>,
    /// The longest a request may take, all attempts and the answer included.
    pub timeout: Spanned<Seconds>,
    /// The longest one attempt may take until its answer begins.
    pub attempt_timeout: Option<Spanned<Seconds>>,
    /// How often a request may be tried again, if that is safe.
    pub retries: Spanned<u32>,
}

/// Where requests are redirected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Where its table stands.
    pub span: Span,
    /// A URL (`https://example.org/new`), or a path of the same host (`/new`). The query of the request is kept.
    pub to: Spanned<Template>,
    /// What follows the prefix in the path of a request is appended.
    pub keep_path: bool,
    /// The status: 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// Where its table stands.
    pub span: Span,
    /// Of HTTP, 200 to 599.
    pub status: u16,
    /// The body; empty for none.
    pub body: Spanned<Template>,
    /// The body's media type.
    pub content_type: String,
}

/// Changes of a header. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// Fields that get this value, whatever they had.
    pub set: BTreeMap<String, Spanned<Template>>,
    /// Fields that get this value beside those that they have.
    pub add: BTreeMap<String, Spanned<Template>>,
    /// Fields that are taken out.
    pub remove: Vec<String>,
}

impl Headers {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    fn values(&self) -> impl Iterator<Item = &Spanned<Template>> {
        self.set.values().chain(self.add.values())
    }
}

/// Cross-origin resource sharing, as in the Fetch standard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Where its table stands.
    pub span: Span,
    /// `https://app.example.org`, `https://*.example.org`, or `*` for all.
    pub origins: Vec<Spanned<Template>>,
    /// The methods that pages may use.
    pub methods: Vec<Method>,
    /// The fields of requests that pages may set. Names are in lower case.
    pub headers: Vec<String>,
    /// The fields of answers that pages may read. Names are in lower case.
    pub expose: Vec<String>,
    /// Whether cookies and the like are sent along.
    pub credentials: Spanned<bool>,
    /// How long a browser may rely on the permission.
    pub max_age: Spanned<Seconds>,
}

/// How many requests a client may send, told apart by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Where its table stands.
    pub span: Span,
    /// How many in a period; they may come all at once.
    pub requests: u32,
    /// After which so many may come again.
    pub per: Period,
}

/// A period of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Period {
    Second,
    Minute,
    Hour,
}

impl Period {
    /// How long it is.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }
}

/// A method of HTTP that pages of other origins may be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are HTTP's own words")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// As it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl Route {
    /// The service that requests below a path go to; none where they are answered at the entrance.
    pub fn service_of<'a>(&'a self, rule: &'a PathRule) -> Option<&'a Spanned<Name>> {
        if rule.is_answered() { None } else { rule.service.as_ref().or(self.service.as_ref()) }
    }

    /// The services that it leads to, with the places that name them.
    pub fn services(&self) -> impl Iterator<Item = &Spanned<Name>> {
        self.paths.iter().filter_map(|rule| self.service_of(rule))
    }

    /// The texts in it that everybody may read.
    pub fn public_texts(&self) -> impl Iterator<Item = &Spanned<Template>> {
        let rules = self.paths.iter().flat_map(|rule| {
            let redirect = rule.redirect.as_ref().map(|redirect| &redirect.to);
            redirect.into_iter().chain(rule.respond.as_ref().map(|respond| &respond.body))
        });
        let origins = self.cors.iter().flat_map(|cors| &cors.origins);
        let headers = self.request_headers.values().chain(self.response_headers.values());
        self.hosts.iter().chain(&self.redirect_from).chain(rules).chain(origins).chain(headers)
    }
}

impl PathRule {
    /// Whether the entrance answers itself.
    pub fn is_answered(&self) -> bool {
        self.redirect.is_some() || self.respond.is_some()
    }
}

/// What others may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Where the world reaches it.
    Url,
}

impl Output {
    pub(super) const ALL: &'static [Self] = &[Self::Url];

    pub(super) const fn row(self) -> OutputRow {
        match self {
            Self::Url => OutputRow {
                field: "url",
                what: "a URL",
                secrecy: Secrecy::Public,
                reach: Reach::Nothing,
                readers: Readers::All,
                follows_references: true,
            },
        }
    }
}

impl Word for Period {
    const WORDS: &'static [(&'static str, Self)] =
        &[("second", Self::Second), ("minute", Self::Minute), ("hour", Self::Hour)];
}

impl Word for Method {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("GET", Self::Get),
        ("HEAD", Self::Head),
        ("POST", Self::Post),
        ("PUT", Self::Put),
        ("PATCH", Self::Patch),
        ("DELETE", Self::Delete),
        ("OPTIONS", Self::Options),
    ];
}

/// The statuses of a redirection, as an HTTPRoute has them.
pub(crate) struct Redirections;

impl Numbers for Redirections {
    const NUMBERS: &'static [u16] = &[301, 302, 303, 307, 308];
}

/// The longest time of a request, in days.
type Time = At<Text<Duration<1, 7>>>;
/// Fields of a header by name.
type Fields = Few<Map<HttpHeader, At<WithReferences>>, HEADERS>;
/// Names of fields of a header.
type FieldNames = Few<List<Text<HttpHeader>, 0>, HEADERS>;

table! {
    /// Host names with paths that lead to services.
    "route" RouteTable -> Route { span:
        /// The service that answers, where a path names no other; it needs a port.
        service: optional At<Text<PartName>>;
        /// The host names, all of which serve; the first stands in `${route.NAME.url}`. Texts with `${…}` references, none of them secret. Several routes may share a host, as long as no two have the same path.
        hosts: required Few<List<At<WithReferences>, 1>, HOSTS>;
        /// Host names whose requests are redirected (301) to the first of `hosts`: an apex, a `www.`, a former name.
        redirect_from: default Few<List<At<WithReferences>, 0>, HOSTS> = "[]";
        /// Rules; the longest prefix that fits wins.
        paths: default Few<Sequence<PathTable, 1>, PATHS> = "[{ prefix = \"/\" }]";
        /// What is changed in the header of requests on their way to the service.
        request_headers: default HeadersTable = "{}";
        /// What is changed in the header of answers.
        response_headers: default HeadersTable = "{}";
        /// Pages of which other origins may read answers.
        cors: optional CorsTable;
        /// The largest body of a request: "10Mi". A larger one is answered 413. Without it, there is no limit.
        max_body: optional At<Text<Amount<Memory>>>;
        /// Passwords by user name, each a text with a reference to a secret. Without one of these (HTTP's basic authentication) requests are answered 401.
        basic_auth: default Few<Map<UserName, At<WithReferences>>, HEADERS> = "{}";
        /// Networks of the clients that are let in: "192.0.2.0/24", "2001:db8::/32", one address. Others are answered 403. Without it, all are.
        allow_from: default List<At<Text<Cidr>>, 0> = "[]";
        /// How many requests each client, told by its address, may send. More are answered 429.
        rate_limit: optional RateLimitTable;
    }
}

table! {
    /// How requests below a path are treated.
    "path" PathTable -> PathRule { span:
        /// The path, by whole segments: /events fits /events and /events/1, not /eventsource.
        prefix: required At<Text<Prefix>>;
        /// The service that answers; without it, the route's.
        service: optional At<Text<PartName>>;
        /// Where requests are redirected to, in the place of a service.
        redirect: optional RedirectTable;
        /// The answer that all requests get, in the place of a service.
        respond: optional RespondTable;
        /// The longest that a request may take, all attempts and the answer included.
        timeout: default Time = "\"30s\"";
        /// The longest that one attempt may take until its answer begins. Without it, an attempt may take the whole time.
        attempt_timeout: optional Time;
        /// How often a request may be tried again, where that is safe.
        retries: default At<Whole<u32, 0, 10>> = "0";
    }
}

table! {
    /// Where requests are redirected to.
    "redirect" RedirectTable -> Redirect { span:
        /// A URL ("https://example.org/new"), or a path of the same host ("/new"). A text with `${…}` references, none of them secret. The request's query is kept.
        to: required At<WithReferences>;
        /// Whether what follows the prefix in a request's path is appended.
        keep_path: default Truth = "false";
        /// The status: 301, 302, 303, 307 or 308.
        status: default Among<Redirections> = "302";
    }
}

table! {
    /// A fixed answer.
    "respond" RespondTable -> Respond { span:
        /// Of HTTP: 403, 410, 503.
        status: required Whole<u16, 200, 599>;
        /// The body, at most 4 KiB. A text with `${…}` references, none of them secret.
        body: default At<WithReferences> = "\"\"";
        /// The body's media type.
        content_type: default Text<Plain> = "\"text/plain; charset=utf-8\"";
    }
}

table! {
    /// Changes of a header.
    "headers" HeadersTable -> Headers {
        /// Fields that get this value, whatever they had. Texts with `${…}` references, none of them secret.
        set: default Fields = "{}";
        /// Fields that get this value beside those that they have.
        add: default Fields = "{}";
        /// Fields that are taken out.
        remove: default FieldNames = "[]";
    }
}

table! {
    /// Pages of which other origins may read answers (cross-origin resource sharing).
    "cors" CorsTable -> Cors { span:
        /// The origins: "https://app.example.org", "https://*.example.org", or "*" for all. Texts with `${…}` references, none of them secret.
        origins: required Few<List<At<WithReferences>, 1>, 64>;
        /// The methods that pages may use.
        methods: default List<Text<OneOf<Method>>, 1> = "[\"GET\", \"HEAD\", \"POST\"]";
        /// The fields of requests that pages may set.
        headers: default Few<List<Text<HttpHeader>, 0>, 64> = "[]";
        /// The fields of answers that pages may read.
        expose: default Few<List<Text<HttpHeader>, 0>, 64> = "[]";
        /// Whether cookies and the like are sent along.
        credentials: default At<Truth> = "false";
        /// How long a browser may rely on it.
        max_age: default At<Text<Duration<1, 1>>> = "\"1h\"";
    }
}

table! {
    /// How many requests each client may send.
    "rate_limit" RateLimitTable -> RateLimit { span:
        /// How many in a period; they may come all at once.
        requests: required Whole<u32, 1, 1000000>;
        /// The period: "second", "minute" or "hour".
        per: required Text<OneOf<Period>>;
    }
}
