//! What people write, as values: the app's definition, and the words that name things.
//!
//! Everything here is parsed once, at the edge, and can't be wrong afterwards: a [`Name`] is a valid name, a
//! [`Cpu`] is a number of millicores. Each value that a diagnostic may point at keeps its place in the source
//! ([`Spanned`]). The crate is pure: no clock, no randomness, no I/O.
//!
//! ```
//! let definition = r#"
//!     [app]
//!     name = "guestbook"
//!
//!     [service.web]
//!     command = ["guestbook"]
//!     port    = 8080
//! "#;
//! let app = freehold_spec::decode(definition).expect("nothing in it is wrong");
//! assert_eq!(app.name.value.as_str(), "guestbook");
//!
//! let errors = freehold_spec::decode("[app]\nname = \"Guest book\"\nsize = 3\n").expect_err("two things in it are");
//! assert_eq!(errors.len(), 2);
//! ```

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod app;
pub mod collation;
pub mod decode;
pub mod document;
pub mod environment;
pub mod files;
pub mod language;
pub mod name;
pub mod nearest;
pub mod network;
pub mod order;
pub mod part;
pub mod quantity;
pub mod schedule;
pub mod span;
pub mod template;
pub mod yaml;

pub use app::App;
pub use decode::{DecodeError, DecodeErrorKind, LARGEST, LARGEST_FILES, Reading, schema};
pub use document::{Document, Written, decode, decode_in, read, read_in};
pub use environment::{Environment, Layer, PRODUCTION};
pub use files::Files;
pub use ipnet::IpNet;
pub use language::Language;
pub use name::{EnvName, Name, NameError, StackName};
pub use nearest::{listed, nearest};
pub use order::{Circle, JobOrder};
pub use part::{Output, PartKind};
pub use quantity::{Cpu, Memory, Seconds, Storage};
pub use schedule::Schedule;
pub use span::{Span, Spanned};
pub use template::{Fact, Reference, Segment, Template};
