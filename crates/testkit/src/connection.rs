//! What a forward or a proxy does with a connection that it has taken.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::thread;

/// Carries bytes both ways until both sides have ended; the end of one way is passed on while the other goes on.
///
/// # Errors
/// A side is of no use any more. What breaks later is an end.
pub fn carry(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
    let answers = thread::spawn(move || one_way(from_server, client));
    one_way(from_client, server);
    let _ = answers.join();
    Ok(())
}

fn one_way(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
