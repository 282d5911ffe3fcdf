//! End to end: the real binary, a real PostgreSQL, real processes, real HTTP.

mod apps;
mod artifacts;
mod buckets;
mod caches;
mod commands;
mod containers;
mod databases;
mod definition;
mod examples;
mod interruption;
mod jobs;
mod lifecycle;
mod logs;
mod mistakes;
mod old_data;
mod platform;
mod ports;
mod routes;
mod rust_call;
mod secrets;
mod settling;
mod standstill;
