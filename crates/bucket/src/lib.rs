//! An S3 server for one bucket, with its own credentials: what is kept in a folder, and the protocol by which it is reached.
//!
//! ```text
//!   connection ──► S3Service (s3s: signatures, XML) ──► Service ──► Store ──┬── index.redb   keys, versions, uploads, small objects
//!                                                                          └── files/xx/ID   everything larger than 16 KiB
//! ```
//!
//! What always holds:
//! - Names of objects are keys of the index and never paths. Files are called by random ids.
//! - A file is on disk, synced, before the index refers to it, and the index stops referring to it before it is removed. What a crash leaves
//!   behind is a file that nothing refers to; the next [`Store::open`] removes it. Readers never see half of an object.
//! - What is there counts towards [`Limits::max_size`], unfinished uploads and old versions too.
//!
//! Not here: who may connect, stacks, and where credentials come from.

mod chunks;
mod error;
mod files;
mod index;
mod lifecycle;
mod listing;
mod reading;
mod room;
mod service;
mod store;
mod upload;
mod writing;

pub use error::BucketError;
pub use lifecycle::{Rule, Swept};
pub use room::Limits;
pub use service::{Access, Server};
pub use store::Store;
