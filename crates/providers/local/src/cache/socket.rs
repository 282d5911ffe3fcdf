//! The socket that a cache's server listens on, in a folder of its stack's user.
//!
//! That user's programs can put anything there, also a link to a socket of somebody else's that only we may connect to. So who is at the other
//! end counts, as the kernel says: before a byte is sent.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use freehold_graph::StackId;
use freehold_graph::cache::PROBE;
use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::account::Accounts;

/// What it is called in the folder that the server works in.
pub(crate) const SOCKET: &str = "server.sock";
/// How much of the answers is read: those to a probe are a few words.
const LONGEST: usize = 512;

/// Where a cache's server is reached by Freehold.
#[derive(Debug, Clone)]
pub(crate) struct CacheSocket {
    pub(crate) folder: PathBuf,
    stack: StackId,
    accounts: Arc<Accounts>,
}

impl CacheSocket {
    pub(crate) fn new(folder: PathBuf, stack: StackId, accounts: Arc<Accounts>) -> Self {
        Self { folder, stack, accounts }
    }

    /// Connects to it.
    ///
    /// # Errors
    /// Nobody listens, or somebody else than the stack's user.
    pub(crate) async fn connect(&self) -> io::Result<UnixStream> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(CWD, &self.folder, flags, Mode::empty())?;
        // By the folder's descriptor: its path may be longer than a socket's can be.
        let stream = UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())).await?;
        if stream.peer_cred()?.uid() != self.own()? {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "its socket is not the stack's"));
        }
        Ok(stream)
    }

    /// The user whose server it is: its stack's, or the one that all stacks run as.
    ///
    /// # Errors
    /// The stack has none, and can't be given one.
    pub(crate) fn own(&self) -> io::Result<u32> {
        Ok(self.accounts.user(self.stack)?.unwrap_or_else(|| rustix::process::geteuid().as_raw()))
    }

    /// The answer to PING of the probe's user, without the sign before it. It is a tenant's program that answers: it is short, and one line.
    ///
    /// # Errors
    /// As [`Self::connect`]; or nothing is answered.
    pub(crate) async fn ping(&self) -> io::Result<String> {
        let mut stream = self.connect().await?;
        stream.write_all(format!("AUTH {PROBE} {PROBE}\r\nPING\r\n").as_bytes()).await?;
        let mut read = Vec::new();
        while read.iter().filter(|byte| **byte == b'\n').count() < 2 && read.len() < LONGEST {
            if stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let text = String::from_utf8_lossy(read.get(..LONGEST).unwrap_or(&read)).into_owned();
        let mut lines = text.lines();
        match (lines.next(), lines.next()) {
            (Some("+OK"), Some(answer)) => Ok(answer.trim_start_matches(['+', '-']).to_owned()),
            (Some(refused), _) => Ok(refused.trim_start_matches(['+', '-']).to_owned()),
            (None, _) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
