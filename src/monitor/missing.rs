//! Commands of QEMU's human monitor that natoma does not have, and why.

const JOBS: &str = "natoma has no block jobs yet";
const SAVING: &str = "natoma can't save machines yet";
const HOT_PLUG: &str = "natoma can't add or remove devices of a running machine yet";
const NETWORK: &str = "natoma has no network cards yet";
const MIGRATION: &str = "natoma can't migrate machines yet";
const DISPLAY: &str = "natoma has no display yet";
const SOUND: &str = "natoma has no sound yet";

const COMMANDS: &[(&str, &str)] = &[
    ("announce_self", "natoma has no network cards yet"),
    ("balloon", "natoma has no balloon device yet"),
    ("block_job_cancel", JOBS),
    ("block_job_complete", JOBS),
    ("block_job_pause", JOBS),
    ("block_job_resume", JOBS),
    ("block_job_set_speed", JOBS),
    ("block_stream", JOBS),
    ("chardev-add", "nothing could use it: devices and monitors are given their character devices at the start"),
    ("chardev-change", "a device keeps the character device that it was given at the start"),
    ("chardev-remove", "a device keeps the character device that it was given at the start"),
    ("closefd", "give file descriptors at the start"),
    ("commit", JOBS),
    ("delvm", SAVING),
    ("device_add", HOT_PLUG),
    ("device_del", HOT_PLUG),
    ("drive_add", HOT_PLUG),
    ("drive_backup", JOBS),
    ("drive_del", HOT_PLUG),
    ("drive_mirror", JOBS),
    ("dump-guest-memory", "use pmemsave for the contents of memory"),
    ("expire_password", DISPLAY),
    ("gdbserver", "natoma has no server for gdb yet"),
    ("getfd", "give file descriptors at the start"),
    ("gpa2hpa", "natoma does not tell addresses of the host"),
    ("gpa2hva", "natoma does not tell addresses of the host"),
    ("hostfwd_add", NETWORK),
    ("hostfwd_remove", NETWORK),
    ("loadvm", SAVING),
    ("log", "give -d at the start"),
    ("logfile", "give -D at the start"),
    ("mce", "natoma can't inject machine checks yet"),
    ("migrate", MIGRATION),
    ("migrate_cancel", MIGRATION),
    ("migrate_incoming", MIGRATION),
    ("migrate_set_capability", MIGRATION),
    ("migrate_set_parameter", MIGRATION),
    ("nbd_server_add", "natoma does not serve images"),
    ("nbd_server_start", "natoma does not serve images"),
    ("nbd_server_stop", "natoma does not serve images"),
    ("netdev_add", NETWORK),
    ("netdev_del", NETWORK),
    ("object_add", HOT_PLUG),
    ("object_del", HOT_PLUG),
    ("qemu-io", "it is for tests of QEMU's own"),
    ("savevm", SAVING),
    ("screendump", DISPLAY),
    ("set_link", NETWORK),
    ("set_password", DISPLAY),
    ("singlestep", "it is for QEMU's own instruction emulation"),
    ("snapshot_blkdev", JOBS),
    ("stopcapture", SOUND),
    ("trace-event", "give -trace at the start"),
    ("wavcapture", SOUND),
];

const ITEMS: &[(&str, &str)] = &[
    ("balloon", "No balloon device has been activated"),
    ("block-jobs", JOBS),
    ("capture", SOUND),
    ("dump", "natoma can't write crash dumps yet: use pmemsave"),
    ("hotpluggable-cpus", "machine does not support hot-plugging CPUs"),
    ("jit", "the processors are the host's own: nothing is translated"),
    ("mem", "natoma does not walk page tables: use gva2gpa for an address"),
    ("migrate", MIGRATION),
    ("migrate_capabilities", MIGRATION),
    ("migrate_parameters", MIGRATION),
    ("network", NETWORK),
    ("opcount", "it is for QEMU's own instruction emulation"),
    ("profile", "it is for QEMU's own instruction emulation"),
    ("ramblock", "see 'info memdev' and 'info mtree'"),
    ("replay", "natoma does not record"),
    ("snapshots", SAVING),
    ("spice", DISPLAY),
    ("tlb", "natoma does not walk page tables: use gva2gpa for an address"),
    ("tpm", "natoma has no TPM yet"),
    ("trace-events", "give -trace help at the start"),
    ("usb", "USB support not enabled"),
    ("usbhost", "USB support not enabled"),
    ("vnc", DISPLAY),
];

fn find(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(other, _)| *other == name).map(|(_, reason)| *reason)
}

/// Why there is no such command; `None` if QEMU has none either.
pub(super) fn command(name: &str) -> Option<&'static str> {
    find(COMMANDS, name)
}

/// Why there is no such item of `info`.
pub(super) fn item(name: &str) -> Option<&'static str> {
    find(ITEMS, name)
}
