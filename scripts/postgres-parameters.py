"""Merges lists of pg_settings, one for each major version, into one table. See scripts/postgres-parameters."""

import pathlib
import sys

# What only the server's owner sets: what runs programs or loads libraries, names files, says who gets in, where logs go, how the
# server replicates and recovers, or unmakes its guarantees. CloudNativePG refuses most of it as well.
OWNERS = {
    "File Locations",
    "Connections and Authentication / SSL",
    "Connections and Authentication / Authentication",
    "Client Connection Defaults / Shared Library Preloading",
    "Customized Options",
    "Developer Options",
    "Error Handling",
    "Preset Options",
    "Process Title",
    "Reporting and Logging / Process Title",
    "Reporting and Logging / Where to Log",
    "Replication / Standby Servers",
    "Replication / Primary Server",
    "Write-Ahead Log / Archive Recovery",
    "Write-Ahead Log / Archiving",
    "Write-Ahead Log / Recovery",
    "Write-Ahead Log / Recovery Target",
}
OWNERS_TOO = {
    "allow_alter_system", "allow_system_table_mods", "bonjour", "bonjour_name", "cluster_name", "createrole_self_grant",
    "debug_io_direct", "dynamic_library_path", "dynamic_shared_memory_type", "extension_control_path", "full_page_writes", "fsync",
    "hot_standby", "jit_provider", "listen_addresses", "log_line_prefix", "lo_compat_privileges",
    "min_dynamic_shared_memory", "oauth_validator_libraries", "port", "recovery_prefetch", "reserved_connections",
    "role", "session_authorization", "session_replication_role", "shared_memory_type", "superuser_reserved_connections",
    "synchronous_standby_names", "synchronized_standby_slots", "syslog_ident", "unix_socket_directories", "unix_socket_group",
    "unix_socket_permissions", "update_process_title", "wal_level", "wal_log_hints", "wal_sync_method",
    "zero_damaged_pages", "ignore_checksum_failure", "transaction_deferrable", "transaction_isolation", "transaction_read_only",
    "is_superuser", "event_triggers", "restrict_nonsystem_relation_kind", "summarize_wal", "primary_conninfo", "primary_slot_name",
    "search_path",
}
# Of the owner's categories, what concerns the work of sessions alone.
USERS = {
    "authentication_timeout", "hot_standby_feedback", "max_standby_archive_delay",
    "max_standby_streaming_delay", "tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout",
    "client_connection_check_interval", "wal_receiver_status_interval",
}
# Of the libraries that come with PostgreSQL and that CloudNativePG loads by itself once a parameter of theirs is set.
EXTENSIONS = ("pg_stat_statements.", "auto_explain.")


def main(files):
    rows = {}
    for file in files:
        version = int(pathlib.Path(file).stem)
        for line in pathlib.Path(file).read_text().splitlines():
            name, *facts, category = line.split("\t")
            name = name.lower()
            owners = (category in OWNERS or name in OWNERS_TOO) and name not in USERS and not name.startswith(EXTENSIONS)
            if facts[-1] == "internal":
                owners = True
            if owners:
                facts = ["", "", "", "", "", ""]
            key = (name, "owner" if owners else "app", *facts)
            rows.setdefault(key, []).append(version)
    print("# Made by scripts/postgres-parameters. Parameter, versions, who sets it, type, unit, least, most, words, context.")
    for key, versions in sorted(rows.items()):
        name, *rest = key
        print("\t".join([name, ",".join(map(str, sorted(versions))), *rest]).rstrip("\t"))


main(sys.argv[1:])
