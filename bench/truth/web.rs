//! The service of the situations on a real node: answers everything with 200. As the first process of its container it has no handler for
//! SIGTERM, so it takes all the time that it has to end. `web crash` ends at once, `web deaf` answers nobody.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    if way == "crash" {
        println!("this version can't start");
        std::process::exit(3);
    }
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let host = if way == "deaf" { "127.0.0.1" } else { "0.0.0.0" };
    let Ok(listener) = TcpListener::bind((host, port)) else { std::process::exit(1) };
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else { continue };
        let mut head = [0; 4096];
        let _ = connection.read(&mut head);
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    }
}
