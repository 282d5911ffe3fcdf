//! The service of the situations on a real node: answers everything with 200. As the first process of its container it has no handler for
//! SIGTERM, so it takes all the time that it has to end. The argument says what is wrong with it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// How long it answers its probes before it falls ill.
const HEALTHY: Duration = Duration::from_secs(8);

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    match way.as_str() {
        "crash" => {
            println!("this version can't start");
            std::process::exit(3);
        }
        "greedy" => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(vec![1; 1 << 20]);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        "migrate" => return println!("done"),
        "slow" => std::thread::sleep(Duration::from_secs(10)),
        _ => {}
    }
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let host = if way == "deaf" { "127.0.0.1" } else { "0.0.0.0" };
    let Ok(listener) = TcpListener::bind((host, port)) else { std::process::exit(1) };
    let begun = Instant::now();
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else { continue };
        let mut head = [0; 4096];
        let read = connection.read(&mut head).unwrap_or_default();
        let head = String::from_utf8_lossy(&head[..read]);
        let age = begun.elapsed();
        let is_well = match way.as_str() {
            // Its process is worth nothing any more after a while.
            "dies" => !head.starts_with("GET /live ") || age < HEALTHY,
            // Ready and not, in turn.
            "flaps" => !head.starts_with("GET /ready ") || (age.as_secs() / 30).is_multiple_of(2),
            // Ready at first, and then no more.
            "fades" => !head.starts_with("GET /ready ") || age < HEALTHY,
            _ => true,
        };
        let answer = if is_well { "200 OK" } else { "503 Service Unavailable" };
        let _ = write!(connection, "HTTP/1.1 {answer}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    }
}
