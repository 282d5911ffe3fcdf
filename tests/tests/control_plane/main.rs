//! Freehold and a real API server with simulated Pods: everything that the API decides, in all the ways in which it can go wrong.

mod foreign;
mod interruption;
mod lifecycle;
mod limits;
mod targets;
