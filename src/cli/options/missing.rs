//! Options of QEMU 7.2 that belong to parts natoma does not have yet.

use super::{Argument, OptionSpec};

const NO_SHARE: &str = "natoma shares no directories yet: use an initrd";
const NO_NETWORK: &str = "natoma has no network yet: use -nic none";
const NO_SOUND: &str = "natoma has no sound yet: leave it out";
const NO_USB: &str = "natoma has no USB yet: leave it out";
const NO_MIGRATION: &str = "natoma does not save or migrate machines yet";
const NO_TRANSLATOR: &str = "natoma runs on KVM and does not translate code: leave it out";
const NO_XEN: &str = "natoma runs on KVM: leave it out";
const OTHER_TARGET: &str = "it is for other machines than a PC: leave it out";

const fn flag(name: &'static str, instead: &'static str) -> OptionSpec {
    OptionSpec::missing(name, Argument::None, &[], instead)
}

const fn value(name: &'static str, instead: &'static str) -> OptionSpec {
    OptionSpec::missing(name, Argument::Text("VALUE"), &[], instead)
}

pub(super) const OPTIONS: &[OptionSpec] = &[
    value("fsdev", NO_SHARE),
    value("virtfs", NO_SHARE),
    flag("win2k-hack", "natoma has no disks yet: leave it out"),
    value("netdev", NO_NETWORK),
    value("audio", NO_SOUND),
    value("audiodev", NO_SOUND),
    flag("audio-help", NO_SOUND),
    value("usbdevice", NO_USB),
    value("tpmdev", "natoma has no TPM yet: leave it out"),
    value("set", "write the value where the item is defined"),
    value("add-fd", "use /dev/fd/N as the name of the file"),
    value("gdb", "natoma has no gdb server yet: leave it out"),
    flag("s", "natoma has no gdb server yet: leave it out"),
    value("incoming", NO_MIGRATION),
    value("loadvm", NO_MIGRATION),
    flag("only-migratable", NO_MIGRATION),
    value("dump-vmstate", NO_MIGRATION),
    value("icount", NO_TRANSLATOR),
    flag("singlestep", NO_TRANSLATOR),
    value("dfilter", NO_TRANSLATOR),
    value("plugin", NO_TRANSLATOR),
    value("seed", NO_TRANSLATOR),
    flag("preconfig", "give all options on the command line"),
    value("compat", "nothing of natoma's is deprecated: leave it out"),
    value("chroot", "start natoma in the directory with chroot or systemd"),
    value("runas", "start natoma as the user, with sudo -u or systemd"),
    OptionSpec::missing(
        "sandbox",
        Argument::Text("on|off[,KEY=VALUE...]"),
        &["off"],
        "natoma has no system call filter yet",
    ),
    flag("async-teardown", "leave it out"),
    flag("enable-sync-profile", "use perf lock instead"),
    value("xen-domid", NO_XEN),
    flag("xen-attach", NO_XEN),
    flag("xen-domid-restrict", NO_XEN),
    value("prom-env", OTHER_TARGET),
    flag("old-param", OTHER_TARGET),
    flag("semihosting", OTHER_TARGET),
    value("semihosting-config", OTHER_TARGET),
];
