//! Freehold and a real cluster: a kubelet, real Pods, a real gateway, real requests.

mod failures;
mod installed;
mod lifecycle;
mod rollout;
mod routes;
mod streams;
