//! What is known not to be held, and why. Printed and counted as not held by the tests and by `scripts/bench trust`; what is on this list
//! and held now is printed, too, to be taken off it.

use crate::attack::Who;

/// Attacks that get through for one reason.
pub(crate) struct Open {
    /// Whoever runs the platform.
    who: &'static [Who],
    why: &'static str,
    pub(crate) attacks: &'static [&'static str],
}

/// Why an attack is known to get through, if it is.
pub(crate) fn why(who: Who, attack: &str) -> Option<&'static str> {
    OPEN.iter().find(|open| open.who.contains(&who) && open.attacks.contains(&attack)).map(|open| open.why)
}

pub(crate) const OPEN: &[Open] = &[
    Open { who: &[Who::Root, Who::User], why: "a host may be an address", attacks: &["takes the platform's own name"] },
    Open {
        who: &[Who::Root, Who::User],
        why: "each wrong reference is told, on the threads that serve",
        attacks: &["is too much for the platform"],
    },
    Open { who: &[Who::Root], why: "programs can gain privileges", attacks: &["gains rights from a setuid program"] },
    Open {
        who: &[Who::Root],
        why: "user ids are given out again",
        attacks: &["leaves a setuid program for the next tenant"],
    },
    Open {
        who: &[Who::Root, Who::User],
        why: "temporary folders are shared",
        attacks: &[
            "reads what others put into /tmp",
            "reads what others put into /var/tmp",
            "reads what others put into shared memory",
        ],
    },
    Open {
        who: &[Who::Root, Who::User],
        why: "a service's limit of memory is a cluster's",
        attacks: &["takes more memory than its limit"],
    },
    Open {
        who: &[Who::Root, Who::User],
        why: "there is no limit of processes",
        attacks: &["makes thousands of processes and threads"],
    },
    Open {
        who: &[Who::Root, Who::User],
        why: "all stacks share the loopback network: the plan says that there are no network policies",
        attacks: &[
            "asks another tenant's instance behind the router's back",
            "asks another tenant's instance for its environment",
        ],
    },
    Open {
        who: &[Who::Root, Who::User],
        why: "instances get ports that everybody may take",
        attacks: &["holds all ports that instances get"],
    },
    Open {
        who: &[Who::User],
        why: "all stacks and the platform are one user",
        attacks: &[
            "reads the master key",
            "reads the platform's token",
            "reads the superuser's password",
            "reads the cluster's files",
            "reads what identifies the platform",
            "lists the stacks",
            "lists the artifacts",
            "reads another tenant's artifact",
            "makes its own artifact writable",
            "puts an artifact among the others",
            "reads another tenant's log",
            "lists the logs",
            "writes another tenant's log",
            "lists another tenant's home",
            "reads a file of another tenant's home",
            "writes into another tenant's home",
            "lists another tenant's temporary files",
            "reads what another tenant's service is started from",
            "writes what its own service is started from",
            "writes how its own runs ended",
            "replaces its home by a link",
            "puts a file beside its home",
            "puts a file into the data directory",
            "puts a file into PostgreSQL's folder",
            "holds the platform's lock",
            "reads what whoever runs the platform keeps to themselves",
            "signals another tenant's process",
            "signals the platform",
            "signals PostgreSQL",
            "reads another tenant's environment",
            "reads the platform's environment",
            "reads another tenant's memory",
            "reads the platform's memory",
            "traces another tenant's process",
            "traces the platform",
            "goes through another tenant's root",
            "goes through another tenant's folder",
            "lists another tenant's open files",
            "lists the platform's open files",
            "takes another tenant's processor time",
            "binds another tenant to one core",
            "offers another tenant to the memory killer",
            "gains rights from a setuid program",
            "leaves a setuid program for the next tenant",
        ],
    },
    Open {
        who: &[Who::Root, Who::User],
        why: "what sheds its mark and its process group is not found",
        attacks: &["leaves a process behind that outlives the platform"],
    },
];
