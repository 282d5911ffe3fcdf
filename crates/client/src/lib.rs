//! Deploy a fully provisioned tenant with one call.
//!
//! ```no_run
//! # async fn example() -> Result<(), freehold::ClientError> {
//! use freehold::{Client, Tenant};
//!
//! let client = Client::connect()?;
//! let deployed = client.deploy(Tenant::new("acme").tier("pro")).await?;
//! println!("{}", deployed.outputs["routes"]["web"]["url"]);
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::deploy`] takes a [`Tenant`], a [`Preview`] or a [`Stage`]; the command line and `POST /api/v1/stacks` are the
//! same operation. The server owns the execution: when the caller dies, the deploy goes on.

mod client;
mod connection;
mod error;
mod events;
mod logs;
mod pieces;
mod request;
mod sse;
pub mod wire;

pub use client::{Client, Deployed};
pub use connection::{CONNECTION_FILE, Connection, ConnectionError, default_data_directory};
pub use error::ClientError;
pub use events::EventStream;
pub use logs::{CommandStream, LineStream, LogStream};
pub use request::{Definition, Deployment, Preview, Stage, Tenant, named_files};
