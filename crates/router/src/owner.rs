//! Whose a TCP socket of this machine is, as the kernel says (`sock_diag(7)`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h, and `NLMSG_ERROR`, `NLM_F_REQUEST` of linux/netlink.h.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const TCP: u8 = 6;
/// `TCP_LISTEN` of include/net/tcp_states.h.
const LISTEN: u8 = 10;
const HEADER: usize = 16;
const NOT_FOUND: i32 = -2;

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The user id of the process that made the socket.
    pub(crate) user: u32,
    /// The socket's inode; 0 as long as no process has taken the connection, or after all have closed it.
    pub(crate) inode: u32,
}

/// Whose the connected socket with this local and remote address is. `None`: this machine has none.
///
/// # Errors
/// The kernel can't be asked.
pub(crate) fn owner(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Owner>> {
    Ok(look(local, remote)?.filter(|(state, _)| *state != LISTEN).map(|(_, owner)| owner))
}

/// Asks the kernel, or reads its table where it has no `tcp_diag`.
fn look(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<(u8, Owner)>> {
    // "There is no such socket" and "there is no such module" are the same error.
    static ANSWERED: AtomicBool = AtomicBool::new(false);
    match ask(local, remote) {
        Ok(Some(found)) => {
            ANSWERED.store(true, Ordering::Relaxed);
            Ok(Some(found))
        }
        Ok(None) if ANSWERED.load(Ordering::Relaxed) => Ok(None),
        Ok(None) | Err(_) => table(local, remote),
    }
}

fn ask(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<(u8, Owner)>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    sendto(&socket, &question(local, remote), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 1024];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let answer = answer.get(..length).unwrap_or_default();
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(cut)?;
    let number = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    if kind == ERROR {
        return match number(HEADER).ok_or_else(cut)?.cast_signed() {
            NOT_FOUND => Ok(None),
            error => Err(io::Error::from_raw_os_error(-error)),
        };
    }
    // struct inet_diag_msg: family, state, timer, retrans, the id (48 bytes), expires, rqueue, wqueue, uid, inode.
    let state = *answer.get(HEADER + 1).ok_or_else(cut)?;
    let user = number(HEADER + 64).ok_or_else(cut)?;
    let inode = number(HEADER + 68).ok_or_else(cut)?;
    Ok(Some((state, Owner { user, inode })))
}

/// struct nlmsghdr and struct inet_diag_req_v2.
fn question(local: SocketAddr, remote: SocketAddr) -> [u8; 72] {
    let mut bytes = Vec::with_capacity(72);
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    bytes.extend([u8::try_from(family.as_raw()).unwrap_or_default(), TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(sixteen(local.ip()));
    bytes.extend(sixteen(remote.ip()));
    // Any interface, any cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    let mut message = [0; 72];
    for (to, from) in message.iter_mut().zip(bytes) {
        *to = from;
    }
    message
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// Looks through /proc/net/tcp and tcp6; slow where there are many sockets.
fn table(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<(u8, Owner)>> {
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        for (ours, theirs, state, owner) in text.lines().skip(1).filter_map(row) {
            if ours == local && theirs == remote {
                return Ok(Some((state, owner)));
            }
        }
    }
    Ok(None)
}

fn row(line: &str) -> Option<(SocketAddr, SocketAddr, u8, Owner)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, remote) = (place(fields.get(1)?)?, place(fields.get(2)?)?);
    let state = u8::from_str_radix(fields.get(3)?, 16).ok()?;
    let owner = Owner { user: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? };
    Some((local, remote, state, owner))
}

/// `0100007F:1B58`: words of four bytes, each in the machine's order, and the port. IPv4 in IPv6 becomes IPv4.
fn place(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len())
        .step_by(8)
        .map(|at| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let bytes = words?.concat();
    let address = match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 16]>::try_from(bytes.as_slice())) {
        (Ok(four), _) => IpAddr::from(four),
        (_, Ok(sixteen)) => IpAddr::from(sixteen).to_canonical(),
        (Err(_), Err(_)) => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    type Look = fn(SocketAddr, SocketAddr) -> io::Result<Option<(u8, Owner)>>;

    #[test]
    fn the_kernel_and_its_table_say_the_same_of_a_connection() {
        let me = rustix::process::geteuid().as_raw();
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(socket) = TcpListener::bind(address) else {
                assert!(address.starts_with('['), "{address} can't be listened on");
                continue;
            };
            let port = socket.local_addr().unwrap().port();
            let host = if address.starts_with("[::1") { "::1" } else { "127.0.0.1" };
            let ours = TcpStream::connect((host, port)).unwrap();
            let (near, far) = (ours.local_addr().unwrap(), ours.peer_addr().unwrap());
            for look in [ask as Look, table as Look] {
                let (state, owner) = look(near, far).unwrap().expect(address);
                assert!(state != LISTEN && owner.user == me && owner.inode != 0, "{address}: {owner:?}");
            }
            assert_eq!(owner(near, far).unwrap().map(|owner| owner.user), Some(me));
        }
    }

    #[test]
    fn a_connection_that_is_not_there_is_nobodys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = listener.local_addr().unwrap();
        let near = TcpStream::connect(far).unwrap().local_addr().unwrap();
        let other = SocketAddr::new(near.ip(), 1);
        assert_eq!(owner(other, far).unwrap(), None);
        assert_eq!(table(other, far).unwrap(), None);
    }
}
