//! What is known not to be held, and why. Printed and counted as not held by the tests and by `scripts/bench trust`; what is on this list
//! as open always, and is held now, fails the tests, to be taken off it.

use crate::attack::Who;

/// How certainly an attack gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gets {
    Always,
    /// As the machine and the load have it.
    Sometimes,
}

/// Attacks that get through for one reason.
pub(crate) struct Open {
    /// Whoever runs the platform.
    who: &'static [Who],
    pub(crate) why: &'static str,
    pub(crate) gets: Gets,
    pub(crate) attacks: &'static [&'static str],
}

/// What is known of an attack that gets through.
pub(crate) fn known(who: Who, attack: &str) -> Option<&'static Open> {
    OPEN.iter().find(|open| open.who.contains(&who) && open.attacks.contains(&attack))
}

pub(crate) const OPEN: &[Open] = &[
    Open {
        who: &[Who::Root, Who::User],
        why: "a host may be an address",
        gets: Gets::Always,
        attacks: &["takes the platform's own name"],
    },
    Open {
        who: &[Who::Root, Who::User],
        why: "bounded, but how long it takes depends on the machine",
        gets: Gets::Sometimes,
        attacks: &["is too much for the platform"],
    },
    Open {
        who: &[Who::User],
        why: "temporary folders are shared",
        gets: Gets::Always,
        attacks: &["reads what others put into /tmp", "reads what others put into shared memory"],
    },
    Open {
        who: &[Who::User],
        why: "temporary folders are shared, but for one that the data directory lies in",
        gets: Gets::Sometimes,
        attacks: &["reads what others put into /var/tmp"],
    },
    Open {
        who: &[Who::User],
        why: "limits of memory need control groups",
        gets: Gets::Always,
        attacks: &["takes more memory than its limit"],
    },
    Open {
        who: &[Who::Root, Who::User],
        why: "all stacks share the loopback network: the plan says that there are no network policies",
        gets: Gets::Always,
        attacks: &[
            "asks another tenant's instance behind the router's back",
            "asks another tenant's instance for its environment",
        ],
    },
    Open {
        who: &[Who::User],
        why: "who holds ports can't be told from who may, as all are one user",
        gets: Gets::Sometimes,
        attacks: &["holds all ports that instances get", "binds all ports that instances get"],
    },
    Open {
        who: &[Who::User],
        why: "who holds a port can't be told from who may, as all are one user",
        gets: Gets::Sometimes,
        attacks: &[
            "keeps the platform from starting again by its port",
            "keeps the platform from starting again by a connection at its port",
        ],
    },
    Open {
        who: &[Who::User],
        why: "all stacks and the platform are one user",
        gets: Gets::Always,
        attacks: &[
            "makes its own artifact writable",
            "changes who may enter the data directory",
            "changes who may read the master key",
            "lists another tenant's open files",
            "lists the platform's open files",
            "takes another tenant's processor time",
            "binds another tenant to one core",
            "makes thousands of processes and threads",
            "leaves a setuid program for the next tenant",
            "finds others' shared memory of System V",
        ],
    },
];
