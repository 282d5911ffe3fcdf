//! The smallest service: answers everything with 200, one connection at a time. Built by `rustc -O`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

fn main() {
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) else { std::process::exit(1) };
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else { continue };
        let mut head = [0; 4096];
        let _ = connection.read(&mut head);
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    }
}
