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
        why: "bounded, but how long it takes depends on the machine",
        attacks: &["is too much for the platform"],
    },
    Open {
        who: &[Who::User],
        why: "temporary folders are shared",
        attacks: &[
            "reads what others put into /tmp",
            "reads what others put into /var/tmp",
            "reads what others put into shared memory",
            "takes its /tmp away to see the machine's",
        ],
    },
    Open {
        who: &[Who::User],
        why: "limits of memory need control groups",
        attacks: &["takes more memory than its limit"],
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
        who: &[Who::User],
        why: "who holds ports can't be told from who may, as all are one user",
        attacks: &["holds all ports that instances get", "binds all ports that instances get"],
    },
    Open {
        who: &[Who::User],
        why: "all stacks and the platform are one user",
        attacks: &[
            "makes its own artifact writable",
            "lists another tenant's open files",
            "lists the platform's open files",
            "takes another tenant's processor time",
            "binds another tenant to one core",
            "offers another tenant to the memory killer",
            "makes thousands of processes and threads",
            "leaves a setuid program for the next tenant",
            "finds others' shared memory of System V",
        ],
    },
];
