//! A real Kubernetes for tests, without a container engine.
//!
//! ```text
//! ControlPlane    etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and a Node that kwok simulates:
//!                 everything that the API decides is real; no container runs. 5–12 s to start, 700 MB.
//! Node            a control plane with a kubelet, containerd, kube-proxy, CoreDNS, a registry and Envoy Gateway:
//!                 real Pods, real traffic. As root on Linux, one at a time on a machine. 20–30 s, 1.5 GB.
//! ```
//!
//! The programs are built and kept by `scripts/kubernetes`; [`ControlPlane::missing`] says why they aren't there. A test
//! that needs them begins with
//!
//! ```no_run
//! # use freehold_testkit::kubernetes::ControlPlane;
//! let Some(cluster) = ControlPlane::for_test("a_deployment_becomes_ready") else { return };
//! ```
//!
//! which prints `skipped: a_deployment_becomes_ready: kubernetes: REASON` where they are missing. All tests of a process
//! share the one that `for_test` gives, so each takes names of its own: [`ControlPlane::unique`]. With
//! `FREEHOLD_TEST_CONTROL_PLANE` set to the kubeconfig of another's control plane (`scripts/kubernetes up` prints one,
//! `scripts/test` sets it) that one is used, which saves the start.
//!
//! A test that stops the API server, or wants flags of its own, starts its own with [`ControlPlane::start`]. A real node is
//! had in the same way from [`Node::for_test`] (`FREEHOLD_TEST_NODE`, `scripts/kubernetes node-up`); an image registry
//! alone from [`Registry::start`].
//!
//! All of it is blocking: in an async test use `tokio::task::spawn_blocking`, or call it before the runtime has work.
//!
//! What else can be chosen: `FREEHOLD_KUBERNETES_VERSION` (as `scripts/kubernetes` takes it), `KUBEBUILDER_ASSETS` (a folder
//! whose etcd, kube-apiserver and kubectl are used instead of ours), `FREEHOLD_TEST_KUBECONFIG` (an existing cluster, used
//! as it is: nothing is installed there, and its nodes may be real).
//!
//! # What a simulated Pod does
//! It is Ready at once, a Job's is Succeeded at once. Otherwise by the annotation, or by a container's variable, or by the
//! last part of an image's name, whichever a test can set most easily:
//!
//! | annotation | variable | image | |
//! |---|---|---|---|
//! | `freehold.test/ready-after: 3s` | | | becomes Ready later |
//! | `freehold.test/fail: image-pull` | `FREEHOLD_TEST_FAIL=image-pull` | `…/fail-image-pull:1` | waits with `ImagePullBackOff` |
//! | `freehold.test/fail: config` | likewise | likewise | waits with `CreateContainerConfigError` |
//! | `freehold.test/fail: crash-loop` | | | `CrashLoopBackOff`, three restarts, last ended with code 1 |
//! | `freehold.test/fail: oom` | | | `CrashLoopBackOff`, two restarts, last `OOMKilled` |
//! | `freehold.test/fail: not-ready` | | | runs, is never Ready; an event `Unhealthy` |
//! | `freehold.test/fail: job-failed` | | | phase `Failed`, exit code 1 |
//! | `freehold.test/fail: stuck` (any other word) | | | stays Pending on its Node without a status |
//!
//! A Pod that asks for more than [`NODE_CPUS`] CPUs is `Unschedulable`, by the real scheduler. Logs and `exec` don't exist.

mod access;
mod control_plane;
mod flags;
mod forward;
mod gateway;
mod image;
mod node;
mod parts;
mod processes;
mod registry;

pub use access::Access;
pub use control_plane::{ControlPlane, NODE, Options};
pub use flags::NODE_CPUS;
pub use forward::Forward;
pub use gateway::{HTTP_PORT, HTTPS_PORT};
pub use image::Image;
pub use node::Node;
pub use parts::Parts;
pub use registry::{REGISTRY_PASSWORD, REGISTRY_USER, Registry};
