//! What the end-to-end tests stand on: an [`Installation`] of Freehold in a folder of its own, driven through its binary; and a
//! [`Site`], which has a cluster to deploy to.

mod app;
mod call;
pub mod fixture;
pub mod guestbook;
mod installation;
mod installed;
mod proxy;
pub mod routes;
mod simulated;
pub mod site;
pub mod traffic;
mod wait;

pub use app::App;
pub use call::Run;
pub use installation::Installation;
pub use installed::Installed;
pub use proxy::Proxy;
pub use simulated::Simulated;
pub use site::{Place, Site};
pub use wait::{eventually, within};
