//! What a tenant tries with ports: others' requests and passwords go to whoever answers there.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use freehold_end_to_end::eventually;

use crate::attack::{
    Attack,
    Boundary::{Port, Process},
    client, got_through, inside, steps,
};
use crate::stage::{Stage, VICTIM};

pub(crate) const ATTACKS: &[Attack] = &[
    inside(
        "asks another tenant's instance behind the router's back",
        Port,
        "b'victim' in get('/env/NAME', port=P['victim_port']) and broken()",
    ),
    inside(
        "asks another tenant's instance for its environment",
        Port,
        "b'postgres' in get('/env/DATABASE_URL', port=P['victim_port']) and broken()",
    ),
    client(
        "asks the API without a token",
        Port,
        "b' 200 ' in get('/api/v1/stacks', *([f'Authorization: Bearer {P[\"token\"]}'] if P['proxy'] == P['api_port'] else []), host='127.0.0.1', port=P['api_port']).split(b'\\r\\n')[0] and broken()",
    ),
    client(
        "asks the API from a page of a browser",
        Port,
        "b' 200 ' in get('/api/v1/stacks', f'Authorization: Bearer {P[\"token\"]}', *([] if P['proxy'] == P['api_port'] else ['Origin: http://mallory.localhost']), host='127.0.0.1', port=P['api_port']).split(b'\\r\\n')[0] and broken()",
    ),
    client(
        "asks the API under a name of its own",
        Port,
        "b' 200 ' in get('/api/v1/stacks', f'Authorization: Bearer {P[\"token\"]}', host='127.0.0.1' if P['proxy'] == P['api_port'] else 'mallory.example', port=P['api_port']).split(b'\\r\\n')[0] and broken()",
    ),
    steps("listens beside another tenant on its port", Port, |stage| listens(stage, false), bait),
    steps("takes another tenant's port while it is started anew", Port, |stage| listens(stage, true), bait),
    steps("listens beside the router", Port, |stage| beside(stage, stage.freehold.router_port()), bait),
    steps("listens beside the API", Port, |stage| beside(stage, u16::try_from(stage.number("api_port"))?), bait),
    steps("keeps the platform from starting again by its port", Port, |stage| while_away(stage, ""), bait),
    steps(
        "keeps the platform from starting again by a connection at its port",
        Port,
        |stage| while_away(stage, CONNECTED),
        bait,
    ),
    steps("holds all ports that instances get", Port, |stage| all_ports(stage, GRAB), held_ports),
    // On kernels from 6.8 on they are found.
    steps("binds all ports that instances get", Port, |stage| all_ports(stage, &only_bound()), held_ports),
    steps("leaves a process behind that outlives the platform", Process, outlives, outlives_bare),
];

/// Listens on a port in all ways that there are, says so to whoever asks, for some seconds.
const BAIT: &str = r#"
def bait(port, seconds):
    import threading
    end, sockets = time.monotonic() + seconds, []
    def serve(one):
        while True:
            client, _ = one.accept()
            client.settimeout(1)
            try:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nSTOLEN")
            except OSError:
                pass
            client.close()
    places = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")]
    while time.monotonic() < end:
        for family, address in places:
            for option in (socket.SO_REUSEPORT, socket.SO_REUSEADDR):
                one = socket.socket(family)
                try:
                    one.setsockopt(socket.SOL_SOCKET, option, 1)
                    one.bind((address, port))
                    one.listen(512)
                    threading.Thread(target=serve, args=(one,), daemon=True).start()
                    sockets.append(one)
                except OSError:
                    one.close()
        time.sleep(0.002)
"#;

/// Whether a customer of the victim gets the attacker's answer while the attacker waits for the victim's port.
fn listens(stage: &mut Stage, crash: bool) -> Result<bool> {
    let port = stage.number("victim_port");
    let script = format!("{BAIT}\nbait({port}, 4)\n");
    let stolen = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| stage.inside(&script));
        let end = Instant::now() + Duration::from_secs(4);
        let mut stolen = false;
        let mut crashed = !crash;
        while Instant::now() < end {
            if !crashed && Instant::now() + Duration::from_secs(3) > end {
                let _ = stage.freehold.get("victim.localhost", "/crash");
                crashed = true;
            }
            stolen |= stage.freehold.get("victim.localhost", "/").is_ok_and(|(_, body)| body.contains("STOLEN"));
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = attacker.join();
        stolen
    });
    stage.settle();
    stage.relearn()?;
    Ok(stolen)
}

/// The same bait on a free port catches whoever comes.
fn bait(stage: &mut Stage) -> Result<bool> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let script = format!(
        "{BAIT}\nimport threading\nthreading.Thread(target=bait, args=({port}, 20), daemon=True).start()\nuntil(lambda: b'STOLEN' in get('/', port={port}), 15) and broken()\n"
    );
    Ok(got_through(&stage.outside(&script)?))
}

/// On both addresses that `localhost`, and names below it, lead to.
fn beside(stage: &mut Stage, port: u16) -> Result<bool> {
    let script = format!("{BAIT}\nbait({port}, 2)\n");
    Ok(std::thread::scope(|scope| {
        let attacker = scope.spawn(|| stage.inside(&script));
        let end = Instant::now() + Duration::from_secs(2);
        let mut stolen = false;
        while Instant::now() < end {
            stolen |= ["127.0.0.1", "::1"].iter().any(|address| is_bait(address, port));
        }
        let _ = attacker.join();
        stolen
    }))
}

fn is_bait(address: &str, port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut client = TcpStream::connect((address, port))?;
        client.set_read_timeout(Some(Duration::from_secs(1)))?;
        client.write_all(b"GET / HTTP/1.1\r\nhost: victim.localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("STOLEN"))
}

/// Waits for a port, takes it, and keeps it for some seconds.
const WAITING: &str = r#"
def take(begun):
    begun()
    one = socket.socket()
    def taken():
        # A new one for each try: one that is bound and may not listen would be refused ever after.
        nonlocal one
        one.close()
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", @@))
        one.listen(512)
        return True
    until(taken, 20)
    #more
    time.sleep(12)
background(take)
"#;
/// Keeps it without listening, by a connection to itself, so that nobody may share it. Nothing is left of it when it ends: `up` would wait
/// for that, a minute.
const CONNECTED: &str = r#"
    import struct
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    client = socket.create_connection(("127.0.0.1", @@))
    accepted = one.accept()[0]
    one.close()
    for end in (client, accepted):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"#;

/// Whether a socket listens on the port or is connected from it. A socket of this test's own would be in the attacker's way.
fn is_taken(port: u16) -> bool {
    const ESTABLISHED: &str = "01";
    const LISTEN: &str = "0A";
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    sockets.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&format!(":{port:04X}")))
            && matches!(state, Some(ESTABLISHED | LISTEN))
    })
}

/// Whether the platform, killed, doesn't start again, because a tenant's program has its port.
fn while_away(stage: &mut Stage, more: &str) -> Result<bool> {
    let port = stage.freehold.router_port();
    stage.inside(&WAITING.replace("    #more", more).replace("@@", &port.to_string()))?;
    stage.freehold.kill()?;
    eventually("the port is taken", || is_taken(port).then_some(()));
    let kept_away = stage.freehold.up().is_err();
    if kept_away {
        eventually("the port is free", || TcpListener::bind(("127.0.0.1", port)).ok());
        stage.freehold.up()?;
    }
    stage.settle();
    stage.relearn()?;
    Ok(kept_away)
}

/// Takes as many of the ports as it gets, and keeps them in processes of its own for some seconds.
const GRAB: &str = r#"
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
for first in range(10000, 12000, 500):
    def grab(begun):
        for port in range(first, first + 500):
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", port))
                one.listen(1)
                held.append(one)
            except OSError:
                one.close()
        begun()
        time.sleep(30)
    background(grab)
"#;

/// The same without listening: no table of listeners has them.
fn only_bound() -> String {
    GRAB.replace("                one.listen(1)\n", "")
}

/// Whether the victim can't be started any more.
fn all_ports(stage: &mut Stage, grab: &str) -> Result<bool> {
    stage.inside(grab)?;
    let _ = stage.freehold.get("victim.localhost", "/crash");
    let mut back = false;
    let end = Instant::now() + Duration::from_secs(25);
    while Instant::now() < end && !back {
        back = stage.victim_answers().is_ok_and(|name| name == VICTIM);
        std::thread::sleep(Duration::from_millis(50));
    }
    stage.settle();
    stage.relearn()?;
    Ok(!back)
}

/// Whether the same takes the ports of this machine, where somebody else wants them.
fn held_ports(stage: &mut Stage) -> Result<bool> {
    stage.outside(&GRAB.replace("time.sleep(30)", "time.sleep(2)"))?;
    let refused = (10_000..12_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()).count();
    std::thread::sleep(Duration::from_secs(2));
    Ok(refused > 1500)
}

/// A process in a session of its own, without the mark in its environment, that ignores what it can.
const DAEMON: &str = r#"
def leave(begun):
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        os.execve(sys.executable, ["python3", "-c", "import time; time.sleep(60)", "outlives-@@"], {})
background(leave)
"#;

fn lives(mark: &str) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).split('\0').any(|word| word == mark))
}

fn outlives(stage: &mut Stage) -> Result<bool> {
    let mark = format!("outlives-{}", std::process::id());
    stage.inside(&DAEMON.replace("outlives-@@", &mark))?;
    anyhow::ensure!(lives(&mark), "the process didn't begin");
    stage.freehold.down()?;
    let lived = lives(&mark);
    stage.freehold.up()?;
    stage.settle();
    stage.relearn()?;
    Ok(lived)
}

fn outlives_bare(stage: &mut Stage) -> Result<bool> {
    let mark = format!("outlives-bare-{}", std::process::id());
    stage.outside(&DAEMON.replace("outlives-@@", &mark).replace("time.sleep(60)", "time.sleep(10)"))?;
    Ok(lives(&mark))
}
