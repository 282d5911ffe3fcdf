//! Which process holds a socket.

use std::fs;
use std::io;

use crate::process_id;

/// Whether a process holds one of these sockets.
///
/// # Errors
/// The process's descriptors can't be read.
pub(crate) fn holds(pid: i32, inodes: &[u64]) -> io::Result<bool> {
    let reading = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(reading) => reading,
        Err(error) if process_id::gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in reading {
        // One that was closed meanwhile.
        let Ok(target) = entry.and_then(|entry| fs::read_link(entry.path())) else { continue };
        let socket =
            target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        if socket.is_some_and(|socket: u64| inodes.contains(&socket)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_holds_its_sockets_until_it_closes_them() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = freehold_router::socket::listener(socket.local_addr().unwrap()).unwrap().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(holds(own, &[found.inode]).unwrap());
        drop(socket);
        assert!(!holds(own, &[found.inode]).unwrap());
    }
}
