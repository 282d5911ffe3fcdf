//! What tests share: a real PostgreSQL ([`postgres`]) and a real Kubernetes ([`kubernetes`]). Never part of the program.

pub mod kubernetes;
pub mod postgres;
