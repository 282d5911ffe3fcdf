//! Whose a socket of this machine is, as the kernel says (`sock_diag(7)`): who is at the other end of a connection, who listens.
//!
//! One exact question takes the same time however many sockets there are. Where the kernel has no such module, its table in `/proc` says
//! the same, more slowly.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h, and `NLMSG_ERROR`, `NLMSG_DONE`, `NLM_F_REQUEST`, `NLM_F_DUMP` of linux/netlink.h.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const TCP: u8 = 6;
/// `TCP_LISTEN` and `TCP_BOUND_INACTIVE` of include/net/tcp_states.h.
const LISTEN: u8 = 10;
const BOUND: u8 = 13;
/// `TCP_ESTABLISHED`, of Unix sockets too.
const ESTABLISHED: u8 = 1;
/// `UDIAG_SHOW_NAME`, `UDIAG_SHOW_PEER`, `UDIAG_SHOW_UID`, and `UNIX_DIAG_NAME`, `UNIX_DIAG_PEER`, `UNIX_DIAG_UID` of linux/unix_diag.h.
const SHOW: u32 = 0x45;
const NAME: u16 = 0;
const PEER: u16 = 2;
const UID: u16 = 7;
/// struct unix_diag_msg: family, type, state, padding, inode, cookie. Attributes follow.
const UNIX: usize = 16;
const HEADER: usize = 16;
const NOT_FOUND: i32 = -2;

/// A socket of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The user id of the process that made it.
    pub user: u32,
    /// Which one, unique as long as it exists; 0 as long as no process has taken the connection, or after all have closed it.
    pub inode: u64,
}

/// A connection to a server of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The user id of the process that connected.
    pub user: u32,
    /// What the server knows it by.
    pub way: Way,
}

/// What tells a connection from all others of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The TCP port of the one who connected.
    Port(u16),
    /// The inode of the server's end of a Unix socket; 0 as long as no process has taken it.
    Inode(u64),
}

/// The connected socket with this local and remote address. `None`: this machine has none.
///
/// # Errors
/// The kernel can't be asked: no descriptor is left, or it refuses the request.
pub fn connected(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Socket>> {
    let found = look(local, remote, || Ok(table()?.find(|row| row.local == local && row.remote == remote)))?;
    Ok(found.filter(|(state, _)| *state != LISTEN).map(|(_, socket)| socket))
}

/// The socket that would get a connection to this address now; `None` if nobody listens. The kernel looks for it as it does when a
/// connection arrives: a socket on the very address before one on all addresses.
///
/// # Errors
/// The kernel can't be asked: no descriptor is left, or it refuses the request.
pub fn listener(address: SocketAddr) -> io::Result<Option<Socket>> {
    let anybody: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let found = look(address, SocketAddr::new(anybody, 0), || {
        let all: Vec<Row> = table()?.filter(|row| row.state == LISTEN && row.local.port() == address.port()).collect();
        let exact = all.iter().find(|row| row.local == address);
        Ok(exact.or_else(|| all.iter().find(|row| row.local.ip().is_unspecified())).copied())
    })?;
    Ok(found.filter(|(state, _)| *state == LISTEN).map(|(_, socket)| socket))
}

/// All sockets that listen, with their addresses.
///
/// # Errors
/// The kernel's table of sockets can't be read.
pub fn listeners() -> io::Result<Vec<(SocketAddr, Socket)>> {
    Ok(table()?.filter(|row| row.state == LISTEN).map(|row| (row.local, row.socket)).collect())
}

/// All sockets with this local port that listen, are connected or are being closed. What is left of a connection after all have closed it
/// is nobody's any more (inode 0), and keeps the port for a minute at the longest (`TCP_TIMEWAIT_LEN` of include/net/tcp.h).
///
/// # Errors
/// The kernel's table of sockets can't be read.
pub fn at_port(port: u16) -> io::Result<Vec<(SocketAddr, Socket)>> {
    Ok(table()?.filter(|row| row.local.port() == port).map(|row| (row.local, row.socket)).collect())
}

/// Asks the kernel, or reads its table where it has no `tcp_diag`.
fn look(
    local: SocketAddr,
    remote: SocketAddr,
    table: impl FnOnce() -> io::Result<Option<Row>>,
) -> io::Result<Option<(u8, Socket)>> {
    use rustix::io::Errno;
    // "There is no such socket" and "there is no such module" are the same error.
    static ANSWERED: AtomicBool = AtomicBool::new(false);
    match ask(local, remote) {
        Ok(Some(found)) => {
            ANSWERED.store(true, Ordering::Relaxed);
            return Ok(Some(found));
        }
        Ok(None) if ANSWERED.load(Ordering::Relaxed) => return Ok(None),
        // What we lack ourselves the table would need, too.
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
            ) =>
        {
            return Err(error);
        }
        Ok(None) | Err(_) => {}
    }
    Ok(table()?.map(|row| (row.state, row.socket)))
}

/// All sockets that are bound to a port and neither listen nor are connected: they keep the port from others all the same. None on
/// kernels before 6.8, which don't tell, or without `tcp_diag`.
///
/// # Errors
/// The kernel can't be asked.
pub fn bound() -> io::Result<Vec<(SocketAddr, Socket)>> {
    let anything = |ip: IpAddr| SocketAddr::new(ip, 0);
    let mut found = Vec::new();
    for any in [anything(Ipv4Addr::UNSPECIFIED.into()), anything(Ipv6Addr::UNSPECIFIED.into())] {
        let each = |message: &Message<'_>| {
            // Their state is told as closed.
            found.extend(message.ends().map(|(at, _, _, socket)| (at, socket)));
        };
        dump(&question(any, any, REQUEST | DUMP, 1 << BOUND), each)?;
    }
    Ok(found)
}

/// Who of this machine is connected to a TCP port of its loopback address. Nobody without `tcp_diag`.
///
/// # Errors
/// The kernel can't be asked.
pub fn connected_to_port(port: u16) -> io::Result<Vec<Connection>> {
    let (any, far) = (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let mut found = Vec::new();
    dump(&question(any, far, REQUEST | DUMP, 1 << ESTABLISHED), |message| {
        let Some((near, far, state, socket)) = message.ends() else { return };
        if state == ESTABLISHED && far.ip().is_loopback() {
            found.push(Connection { user: socket.user, way: Way::Port(near.port()) });
        }
    })?;
    Ok(found)
}

/// Who is connected to the Unix socket of this path; those that wait to be accepted aren't known yet. Nobody without `unix_diag`, or on
/// kernels before 5.3, which don't say whose a socket is.
///
/// # Errors
/// The kernel can't be asked.
pub fn connected_to_path(path: &Path) -> io::Result<Vec<Connection>> {
    let mut users = HashMap::new();
    let mut ends = Vec::new();
    dump(&unix_question(), |message| {
        let Some(inode) = message.number(4) else { return };
        let peer = message.unix_number(PEER);
        users.extend(message.unix_number(UID).map(|user| (inode, user)));
        if message.unix_attribute(NAME) == Some(path.as_os_str().as_bytes()) {
            ends.extend(peer.map(|peer| (peer, inode)));
        }
    })?;
    let connection =
        |(peer, inode): (u32, u32)| Some(Connection { user: *users.get(&peer)?, way: Way::Inode(inode.into()) });
    Ok(ends.into_iter().filter_map(connection).collect())
}

/// Asks for many sockets. Nothing comes where the kernel has no such module.
fn dump(question: &[u8], mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
    let Some(socket) = open()? else { return Ok(()) };
    send(&socket, question)?;
    let mut answer = vec![0_u8; 32 << 10];
    loop {
        let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
        let mut rest = answer.get(..length).unwrap_or_default();
        while let Some((message, behind)) = message(rest) {
            match message.kind {
                DONE => return Ok(()),
                ERROR if message.errno()? == NOT_FOUND => return Ok(()),
                ERROR => return Err(io::Error::from_raw_os_error(-message.errno()?)),
                _ => each(&message),
            }
            rest = behind;
        }
    }
}

fn ask(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<(u8, Socket)>> {
    let Some(socket) = open()? else { return Ok(None) };
    send(&socket, &question(local, remote, REQUEST, u32::MAX))?;
    let mut answer = [0_u8; 1024];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let (message, _) = message(answer.get(..length).unwrap_or_default()).ok_or_else(cut)?;
    if message.kind == ERROR {
        return match message.errno()? {
            NOT_FOUND => Ok(None),
            error => Err(io::Error::from_raw_os_error(-error)),
        };
    }
    let (_, _, state, socket) = message.ends().ok_or_else(cut)?;
    Ok(Some((state, socket)))
}

/// A way to ask; `None` where the kernel has none.
fn open() -> io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    match socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG)) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn send(socket: &OwnedFd, question: &[u8]) -> io::Result<()> {
    sendto(socket, question, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

fn cut() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// One message of an answer: struct nlmsghdr, then what it is about.
struct Message<'a> {
    kind: u16,
    bytes: &'a [u8],
}

/// The first message, and what follows it.
fn message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let behind = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((Message { kind, bytes: bytes.get(HEADER..length)? }, behind))
}

impl Message<'_> {
    fn number(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)
    }

    fn errno(&self) -> io::Result<i32> {
        self.number(0).map(u32::cast_signed).ok_or_else(cut)
    }

    /// An attribute of a Unix socket: struct rtattr, length and kind, then the value. A path ends with a zero.
    fn unix_attribute(&self, kind: u16) -> Option<&[u8]> {
        let mut rest = self.bytes.get(UNIX..)?;
        loop {
            let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
            let value = rest.get(4..length)?;
            if u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) == kind {
                return Some(if kind == NAME { value.strip_suffix(&[0]).unwrap_or(value) } else { value });
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    fn unix_number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.unix_attribute(kind)?.try_into().ok()?))
    }

    /// The socket's own address, the one it is connected to, and its state. struct inet_diag_msg: family, state, timer, retrans, the id
    /// (48 bytes), expires, rqueue, wqueue, uid, inode. The id begins with both ports and both addresses.
    fn ends(&self) -> Option<(SocketAddr, SocketAddr, u8, Socket)> {
        let is_v4 = u16::from(*self.bytes.first()?) == AddressFamily::INET.as_raw();
        let end = |port: usize, address: usize| {
            let ip = match is_v4 {
                true => IpAddr::from(<[u8; 4]>::try_from(self.bytes.get(address..address + 4)?).ok()?),
                false => {
                    IpAddr::from(<[u8; 16]>::try_from(self.bytes.get(address..address + 16)?).ok()?).to_canonical()
                }
            };
            Some(SocketAddr::new(ip, u16::from_be_bytes(self.bytes.get(port..port + 2)?.try_into().ok()?)))
        };
        let socket = Socket { user: self.number(64)?, inode: self.number(68)?.into() };
        Some((end(4, 8)?, end(6, 24)?, *self.bytes.get(1)?, socket))
    }
}

/// struct nlmsghdr and struct inet_diag_req_v2, for sockets in these states.
fn question(local: SocketAddr, remote: SocketAddr, flags: u16, states: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(72);
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    bytes.extend([u8::try_from(family.as_raw()).unwrap_or_default(), TCP, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(sixteen(local.ip()));
    bytes.extend(sixteen(remote.ip()));
    // Any interface, any cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// struct nlmsghdr and struct unix_diag_req, for all that are connected.
fn unix_question() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    bytes.extend(40_u32.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend((REQUEST | DUMP).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([u8::try_from(AddressFamily::UNIX.as_raw()).unwrap_or_default(), 0, 0, 0]);
    bytes.extend((1_u32 << ESTABLISHED).to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(SHOW.to_ne_bytes());
    bytes.extend([0xff; 8]);
    bytes
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

/// A line of the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    socket: Socket,
}

/// All sockets of /proc/net/tcp and tcp6; slow where there are many.
fn table() -> io::Result<impl Iterator<Item = Row>> {
    let mut rows = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match std::fs::read_to_string(file) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            text => rows.extend(text?.lines().skip(1).filter_map(row)),
        }
    }
    Ok(rows.into_iter())
}

/// Reads `  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 12345 …`.
fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let socket = Socket { user: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? };
    let state = u8::from_str_radix(fields.get(3)?, 16).ok()?;
    Some(Row { local: place(fields.get(1)?)?, remote: place(fields.get(2)?)?, state, socket })
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
            let (state, asked) = ask(near, far).unwrap().expect(address);
            let row = table().unwrap().find(|row| row.local == near && row.remote == far).expect(address);
            assert!(state != LISTEN && asked.user == me && asked.inode != 0, "{address}: {asked:?}");
            assert_eq!((row.state, row.socket), (state, asked), "{address}");
            assert_eq!(connected(near, far).unwrap(), Some(asked));
        }
    }

    #[test]
    fn a_connection_that_is_not_there_is_nobodys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = listener.local_addr().unwrap();
        let near = TcpStream::connect(far).unwrap().local_addr().unwrap();
        assert_eq!(connected(SocketAddr::new(near.ip(), 1), far).unwrap(), None);
    }

    #[test]
    fn the_kernel_says_whose_socket_gets_a_connection() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = listener(address).unwrap().unwrap();
        assert_eq!(found.user, rustix::process::geteuid().as_raw());
        assert!(listeners().unwrap().contains(&(address, found)));
        drop(socket);
        assert_eq!(listener(address).unwrap(), None);
    }

    #[test]
    fn a_socket_on_all_addresses_gets_it_where_none_is_on_the_address() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let socket = TcpListener::bind(any).unwrap();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port()));
            assert!(listener(address).unwrap().is_some(), "{any}");
        }
    }

    #[test]
    fn a_socket_that_is_only_bound_is_found_where_the_kernel_tells() {
        use rustix::net::{bind, getsockname};
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
        assert!(listeners().unwrap().iter().all(|(other, _)| *other != address));
        let found = bound().unwrap().into_iter().find(|(other, _)| *other == address);
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut version = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        match (version.next(), version.next()) {
            (Some(major), Some(minor)) if (major, minor) >= (6, 8) => {
                assert_eq!(found.unwrap().1.user, rustix::process::geteuid().as_raw());
            }
            _ => println!("Linux {release} doesn't tell of sockets that are only bound"),
        }
    }

    #[test]
    fn those_who_are_connected_to_a_path_or_a_port_are_known() {
        let path = std::env::temp_dir().join(format!("freehold-router-{}.socket", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let clients: Vec<_> = (0..3).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
        let accepted: Vec<_> = (0..3).map(|_| listener.accept().unwrap()).collect();
        let me = rustix::process::geteuid().as_raw();
        let found = connected_to_path(&path).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        let known = |one: &Connection| one.user == me && matches!(one.way, Way::Inode(inode) if inode != 0);
        assert!(found.iter().all(known), "{found:?}");
        drop((clients, accepted));
        assert_eq!(connected_to_path(&path).unwrap(), []);
        std::fs::remove_file(&path).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(connected_to_port(port).unwrap(), []);
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let near = client.local_addr().unwrap().port();
        assert_eq!(connected_to_port(port).unwrap(), [Connection { user: me, way: Way::Port(near) }]);
    }

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let text = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100 0";
        let row = row(text).unwrap();
        assert_eq!((row.local, row.state), ("127.0.0.1:8080".parse().unwrap(), LISTEN));
        assert_eq!(row.socket, Socket { user: 1000, inode: 12345 });
    }
}
