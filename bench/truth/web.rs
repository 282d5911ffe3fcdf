//! The service of the situations on a real node: answers everything with 200. As the first process of its container it has no handler for
//! SIGTERM, so it takes all the time that it has to end. The argument says what is wrong with it. Below `…/flaky` it answers 503 twice,
//! and then how often it was asked; below `…/slow` after a while.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it answers its probes before it falls ill.
const HEALTHY: Duration = Duration::from_secs(8);
/// How long a slow answer takes: less than its probes wait.
const SLOW: Duration = Duration::from_millis(2500);

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
    let (begun, asked) = (Instant::now(), Mutex::default());
    // Each on its own: an answer that nobody waits for any more would hold the next ones up.
    std::thread::scope(|scope| {
        for connection in listener.incoming().flatten() {
            scope.spawn(|| answer(connection, &way, begun, &asked));
        }
    });
}

/// Answers one request. `asked`: how often each path was.
fn answer(mut connection: TcpStream, way: &str, begun: Instant, asked: &Mutex<BTreeMap<String, u32>>) {
    let mut head = [0; 4096];
    let read = connection.read(&mut head).unwrap_or_default();
    let head = String::from_utf8_lossy(&head[..read]);
    let age = begun.elapsed();
    let path = head.split(' ').nth(1).unwrap_or_default();
    if path.ends_with("/slow") {
        std::thread::sleep(SLOW);
    }
    let times = {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(path.to_owned()).or_default();
        *times += 1;
        *times
    };
    let is_well = match way {
        _ if path.ends_with("/flaky") => times > 2,
        // Its process is worth nothing any more after a while.
        "dies" => !head.starts_with("GET /live ") || age < HEALTHY,
        // Ready and not, in turn.
        "flaps" => !head.starts_with("GET /ready ") || (age.as_secs() / 30).is_multiple_of(2),
        // Ready at first, and then no more.
        "fades" => !head.starts_with("GET /ready ") || age < HEALTHY,
        _ => true,
    };
    let status = if is_well { "200 OK" } else { "503 Service Unavailable" };
    let text = times.to_string();
    let length = text.len();
    let _ = write!(connection, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
}
