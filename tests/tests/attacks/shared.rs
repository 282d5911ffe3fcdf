//! What all databases of a server share, and PostgreSQL gives to whoever comes first.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::attack::{
    Attack,
    Boundary::{Lock, Log, Resource},
    got_through, steps,
};
use crate::stage::{Stage, VICTIM};

pub(crate) const ATTACKS: &[Attack] = &[
    steps("takes all locks of the database server", Lock, all_locks, all_locks_bare),
    steps("fills the disk with the database server's log", Log, server_log, server_log_bare),
    steps("takes the machine's memory in a query", Resource, query_memory, process_memory),
];

/// The guard looks twice a second, and a session ends at once; what the attacker takes he has for longer than this.
const SOON: Duration = Duration::from_secs(40);

/// Takes advisory locks until the server has no room for more, and keeps them: that one fails doesn't give the others back.
const TAKE: &str = "holder = subprocess.Popen(['psql', '-Xqw', APP, '-c', 'SELECT count(*) FROM (SELECT pg_advisory_lock(generate_series(1, 100000000))) l', \
                    '-c', 'SELECT pg_sleep(60)'], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)\n\
                    said = holder.stderr.readline()";

/// Whether nobody else is served while the attacker has all locks.
fn all_locks(stage: &mut Stage) -> Result<bool> {
    let said = stage.inside(&format!("{TAKE}\nprint(said)"))?;
    // Full, or ended on the way there.
    anyhow::ensure!(said.contains("shared memory") || said.contains("terminating connection"), "it took none: {said}");
    let begin = Instant::now();
    let mut served = false;
    while !served && begin.elapsed() < SOON {
        served =
            stage.within(VICTIM, "sql(APP, 'SELECT 1'); print('served')").is_ok_and(|said| said.contains("served"));
    }
    stage.inside("for pid in processes('pg_advisory_lock'): os.kill(pid, signal.SIGKILL)")?;
    Ok(!served)
}

/// The same by a role of the platform's own, which is trusted.
fn all_locks_bare(stage: &mut Stage) -> Result<bool> {
    let output = stage.outside(&format!(
        "{TAKE}\nassert 'shared memory' in said, said\ntry: sql(MIGRATOR, 'SELECT 1')\nexcept PermissionError as error: full = 'shared memory' in str(error)\nelse: full = False\n\
         holder.kill()\nfull and broken()"
    ))?;
    Ok(got_through(&output))
}

const FLOOD: &str =
    "sql(APP, \"DO $$ BEGIN FOR i IN 1..160 LOOP RAISE LOG '%', repeat('x', 1000000); END LOOP; END $$\")";

/// What the logs of the server have of the disk, or what they would have.
fn logged(stage: &Stage, of: fn(&std::fs::Metadata) -> u64) -> Result<u64> {
    let folder = stage.freehold.data().join("postgres/log");
    let files = std::fs::read_dir(folder)?;
    Ok(files.map(|file| Ok(of(&file?.metadata()?))).sum::<std::io::Result<u64>>()?)
}

fn server_log(stage: &mut Stage) -> Result<bool> {
    stage.inside(FLOOD)?;
    let begin = Instant::now();
    let blocks = |file: &std::fs::Metadata| std::os::unix::fs::MetadataExt::blocks(file) * 512;
    while logged(stage, blocks)? > 100_000_000 {
        if begin.elapsed() > SOON {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

/// The server writes whatever it is told to, and no setting of its own bounds it.
fn server_log_bare(stage: &mut Stage) -> Result<bool> {
    let before = logged(stage, std::fs::Metadata::len)?;
    stage.outside(FLOOD)?;
    Ok(logged(stage, std::fs::Metadata::len)? >= before + 150_000_000)
}

/// More than one session may have: a sixteenth of the machine's memory, or half a gigabyte.
const MUCH: &str =
    "much = max(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 16, 512 << 20) + (64 << 20)\n";

fn query_memory(stage: &mut Stage) -> Result<bool> {
    let output = stage.inside(&format!(
        "{MUCH}piece = 900000000\nrow = ', '.join([f\"repeat('x', {{piece}})\"] * (much // piece + 1))\n\
         sql(APP, f'SELECT pg_column_size(ROW({{row}}))')\nbroken()"
    ))?;
    Ok(got_through(&output) || !stage.within(VICTIM, "sql(APP, 'SELECT 1'); print('served')")?.contains("served"))
}

/// A process that nobody limits gets as much.
fn process_memory(stage: &mut Stage) -> Result<bool> {
    let output = stage.outside(&format!("{MUCH}len(bytearray(much)) == much and broken()"))?;
    Ok(got_through(&output))
}
