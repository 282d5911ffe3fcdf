//! Who listens on this machine, as the kernel knows it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::process;
use crate::shortage::is_shortage;

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Whose it is.
    pub(crate) user: u32,
    /// Which socket, unique as long as it exists.
    pub(crate) inode: u64,
}

/// Whether the kernel has ever answered a question over netlink. Without its module it answers as if nobody listened.
static ANSWERS: AtomicBool = AtomicBool::new(false);

/// The socket that would get a connection to this address now; `None` if nobody listens. The kernel looks for it as it does when a
/// connection arrives: a socket on the very address before one on all addresses.
///
/// # Errors
/// It can't be told.
pub(crate) fn listener(address: SocketAddr) -> io::Result<Option<Listener>> {
    if let SocketAddr::V4(address) = address {
        match ask(*address.ip(), address.port()) {
            Ok(Some(found)) => {
                ANSWERS.store(true, Ordering::Relaxed);
                return Ok(Some(found));
            }
            Ok(None) if ANSWERS.load(Ordering::Relaxed) => return Ok(None),
            Err(error) if is_shortage(&error) => return Err(error),
            // No module for it, or it isn't allowed here: the table says the same.
            Ok(None) | Err(_) => {}
        }
    }
    let all = listeners()?;
    let exact = all.iter().find(|(bound, _)| *bound == address);
    let found = exact.or_else(|| all.iter().find(|(bound, _)| bound.port() == address.port() && is_any(bound.ip())));
    Ok(found.map(|(_, listener)| *listener))
}

fn is_any(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_unspecified()),
    }
}

// From <linux/netlink.h>, <linux/sock_diag.h>, <linux/inet_diag.h>.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;
/// The length of `nlmsghdr` with `inet_diag_req_v2`.
const QUESTION: u32 = 72;

/// Asks for one socket over netlink, which takes the same time however many sockets there are.
fn ask(ip: Ipv4Addr, port: u16) -> io::Result<Option<Listener>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = match socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG)) {
        Ok(socket) => socket,
        Err(rustix::io::Errno::PROTONOSUPPORT | rustix::io::Errno::AFNOSUPPORT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut question = Vec::with_capacity(72);
    question.extend(QUESTION.to_ne_bytes());
    question.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    question.extend(NLM_F_REQUEST.to_ne_bytes());
    question.extend([0; 8]);
    question.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    question.extend(u32::MAX.to_ne_bytes());
    // The socket's own port and address, and those of whoever connects: any.
    question.extend(port.to_be_bytes());
    question.extend([0; 2]);
    question.extend(ip.octets());
    question.extend([0; 12 + 16 + 4]);
    // No cookie.
    question.extend([0xff; 8]);
    sendto(&socket, &question, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 512];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let answer = answer.get(..length).unwrap_or_default();
    let word = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match (kind, answer.get(17), word(80), word(84)) {
        (Some(SOCK_DIAG_BY_FAMILY), Some(&TCP_LISTEN), Some(user), Some(inode)) => {
            Ok(Some(Listener { user, inode: inode.into() }))
        }
        (Some(SOCK_DIAG_BY_FAMILY), Some(_), _, _) => Ok(None),
        (Some(NLMSG_ERROR), ..) => {
            let errno = word(16).map_or(0, |errno| i32::from_ne_bytes(errno.to_ne_bytes()).wrapping_neg());
            if errno == rustix::io::Errno::NOENT.raw_os_error() {
                return Ok(None);
            }
            Err(io::Error::from_raw_os_error(errno))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about a socket can't be read")),
    }
}

/// All sockets that listen, with their addresses.
///
/// # Errors
/// They can't be listed.
pub(crate) fn listeners() -> io::Result<Vec<(SocketAddr, Listener)>> {
    let mut found = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(file) {
            Ok(text) => found.extend(text.lines().filter_map(line)),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Reads `  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 12345 …`.
fn line(line: &str) -> Option<(SocketAddr, Listener)> {
    let mut fields = line.split_whitespace().skip(1);
    let (ip, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    if state != "0A" {
        return None;
    }
    let user = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    // Words of 32 bits, each in the order of this machine.
    let words = (0..ip.len() / 8).map(|index| u32::from_str_radix(ip.get(index * 8..index * 8 + 8)?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::from(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some((SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), Listener { user, inode }))
}

/// Whether one of these processes holds a socket.
///
/// # Errors
/// It can't be told.
pub(crate) fn holds(pid: i32, inodes: &[u64]) -> io::Result<bool> {
    let reading = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(reading) => reading,
        Err(error) if process::gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
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
    fn the_kernel_says_whose_socket_gets_a_connection() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = listener(address).unwrap().unwrap();
        assert_eq!(found.user, rustix::process::geteuid().as_raw());
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(holds(own, &[found.inode]).unwrap());
        assert!(listeners().unwrap().contains(&(address, found)));
        drop(socket);
        assert_eq!(listener(address).unwrap(), None);
    }

    #[test]
    fn a_socket_on_all_addresses_gets_it_where_none_is_on_the_address() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let socket = std::net::TcpListener::bind(any).unwrap();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port()));
            assert!(listener(address).unwrap().is_some(), "{any}");
        }
    }

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let text = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100 0";
        let expected = Listener { user: 1000, inode: 12345 };
        assert_eq!(line(text), Some(("127.0.0.1:8080".parse().unwrap(), expected)));
        assert_eq!(line(&text.replace(" 0A ", " 01 ")), None);
    }
}
