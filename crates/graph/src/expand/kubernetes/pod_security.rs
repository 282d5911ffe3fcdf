//! The Pod security standard of stacks' namespaces.

/// What admission looks at: Pods of a stack's namespace keep to the standard `restricted`.
pub const POD_SECURITY: [(&str, &str); 3] = [
    ("pod-security.kubernetes.io/audit", "restricted"),
    ("pod-security.kubernetes.io/enforce", "restricted"),
    ("pod-security.kubernetes.io/warn", "restricted"),
];
