//! Guest RAM, memory backends and other objects.

use super::throttle::THROTTLE_GROUP;
use super::virtio::IOTHREAD;
use super::{Argument, OptionSpec, Section};
use crate::cli::keyval::{Key, Kind, Schema, Variant};

const M: Schema = Schema::plain(
    Some("size"),
    &[
        Key::new("size", Kind::Size(1 << 20), "amount of RAM; without a suffix in MiB (default 128)"),
        Key::missing("slots", &["0"], "give the guest all its memory with size="),
        Key::missing("maxmem", &[], "give the guest all its memory with size="),
    ],
);

/// The keys of a memory backend: its own, and those that all have.
macro_rules! backend_keys {
    ($($own:expr),* $(,)?) => {
        &[
            Key::new("size", Kind::Size(1), "its size: must be given"),
            Key::new("share", Kind::Flag, "map it shared, so that another process can see it (default off, memfd: on)"),
            Key::new("merge", Kind::Flag, "let the host merge identical pages (default: -machine mem-merge)"),
            Key::new("dump", Kind::Flag, "include it in core dumps (default: -machine dump-guest-core)"),
            Key::new("prealloc", Kind::Flag, "touch every page before the guest starts (default off)"),
            Key::new("prealloc-threads", Kind::Number(1, 1024), "threads that touch pages (default 1)"),
            Key::new("reserve", Kind::Flag, "reserve swap space for it (default on)"),
            Key::missing("policy", &["default"], "bind natoma with numactl instead"),
            Key::missing("host-nodes", &[], "bind natoma with numactl instead"),
            Key::missing("host-nodes.0", &[], "bind natoma with numactl instead"),
            Key::missing("prealloc-context", &[], "bind natoma with numactl instead"),
            Key::missing("x-use-canonical-path-for-ramblock-id", &["off"], ""),
            $($own,)*
        ]
    };
}

const OBJECT: Schema = Schema {
    implied: Some("qom-type"),
    keys: &[Key::new("id", Kind::Text("ID"), "its name: must be given")],
    variants: &[
        Variant { name: "memory-backend-ram", help: "anonymous memory", keys: backend_keys![] },
        Variant {
            name: "memory-backend-file",
            help: "a file, on tmpfs or hugetlbfs as a rule",
            keys: backend_keys![
                Key::new("mem-path", Kind::Text("PATH"), "the file, or a directory for an unnamed one: must be given"),
                Key::new("align", Kind::Size(1), "alignment of the mapping, if more than 2M is needed"),
                Key::missing("discard-data", &["off"], "remove the file when natoma has ended, or name a directory"),
                Key::new("readonly", Kind::Flag, "open the file read-only (default off)"),
                Key::missing("pmem", &["off"], "natoma has no persistent memory"),
            ],
        },
        Variant {
            name: "memory-backend-memfd",
            help: "an anonymous file of the kernel",
            keys: backend_keys![
                Key::new("hugetlb", Kind::Flag, "use huge pages (default off)"),
                Key::new("hugetlbsize", Kind::Size(1), "size of the huge pages (default: the host's)"),
                Key::new("seal", Kind::Flag, "seal it against growing and shrinking (default on)"),
            ],
        },
        IOTHREAD,
        THROTTLE_GROUP,
    ],
    aliases: &[],
    variant_noun: "object type",
    missing_variants: &[
        (
            &["main-loop", "thread-context"],
            "leave it out: the main loop does not look for work, and threads run where natoma may",
        ),
        (
            &[
                "secret",
                "secret_keyring",
                "tls-cipher-suites",
                "tls-creds-anon",
                "tls-creds-psk",
                "tls-creds-x509",
                "authz-list",
                "authz-list-file",
                "authz-pam",
                "authz-simple",
            ],
            "leave it out: nothing in natoma uses secrets yet",
        ),
        (
            &[
                "colo-compare",
                "filter-buffer",
                "filter-dump",
                "filter-mirror",
                "filter-redirector",
                "filter-replay",
                "filter-rewriter",
                "can-bus",
                "can-host-socketcan",
                "vfio-user-server",
            ],
            "leave it out: natoma has no network yet",
        ),
        (
            &[
                "rng-builtin",
                "rng-egd",
                "rng-random",
                "cryptodev-backend",
                "cryptodev-backend-builtin",
                "cryptodev-backend-lkcf",
                "cryptodev-vhost-user",
                "input-barrier",
                "input-linux",
                "qtest",
                "memory-backend-epc",
                "sev-guest",
                "pr-manager-helper",
                "x-remote-object",
            ],
            "leave it out: natoma has no device that uses it",
        ),
    ],
    json: true,
};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("m", Argument::List("[size=]SIZE", &M), Section::Memory, "amount of guest RAM")
        .group("memory")
        .details("The default is 128 MiB. `-m 0` is the default too. The amount is rounded up to a multiple of 8 KiB."),
    OptionSpec::new("mem-path", Argument::File("PATH"), Section::Memory, "make guest RAM of a file")
        .details("A file on tmpfs or hugetlbfs, or a directory there in which an unnamed file is made."),
    OptionSpec::new("mem-prealloc", Argument::None, Section::Memory, "touch all guest RAM before the guest starts"),
    OptionSpec::new(
        "object",
        Argument::List("TYPE,id=ID[,KEY=VALUE...]", &OBJECT),
        Section::Memory,
        "define a memory backend or an I/O thread",
    )
    .group("object")
    .details(
        "A memory backend becomes the guest's RAM by `-machine memory-backend=ID`, an I/O thread serves virtio disks by \
         `-device virtio-blk-pci,iothread=ID`. `-object help` lists the types, `-object TYPE,help` the keys of one. The argument may be a JSON object.",
    ),
];
