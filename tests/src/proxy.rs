//! A port that leads to one place, and later to another.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use freehold_testkit::connection::carry;

/// Carries connections of a port of 127.0.0.1 to a server that can be changed.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    server: String,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// To `HOST:PORT`.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(server: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { server: server.to_owned(), open: Vec::new() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                thread::spawn(move || lead(client, &shared));
            }
        });
        Ok(Self { address, state })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads elsewhere from now on; what is open is cut off.
    pub fn lead_to(&self, server: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        server.clone_into(&mut state.server);
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lead(client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let server = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let server = TcpStream::connect(&state.server)?;
        state.open.extend([client.try_clone()?, server.try_clone()?]);
        server
    };
    carry(client, server)
}
