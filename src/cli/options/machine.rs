//! Machine, CPUs, clock and identity.

use super::boot::{DRIVES, MILLISECONDS, SPLASH, TIMEOUT};
use super::{Argument, OptionSpec, Section};
use crate::cli::keyval::{Key, Kind, Schema, Variant};
use crate::config::{HpetConfig, Smp};

const CPUS: Kind = Kind::Number(1, Smp::LIMIT as u64);
const ON_OFF_AUTO: Kind = Kind::Choice(&["on", "off", "auto"]);
const IRQCHIP: Kind = Kind::Choice(&["on", "split", "off"]);

const MACHINE: Schema = Schema::plain(
    Some("type"),
    &[
        Key::new("type", Kind::Text("NAME"), "the board: pc (also called pc-i440fx-7.2)"),
        Key::moved("accel", Kind::Text("NAME[:NAME...]"), "accel", "accel"),
        Key::moved("kernel-irqchip", IRQCHIP, "accel", "kernel-irqchip"),
        Key::moved("kernel_irqchip", IRQCHIP, "accel", "kernel-irqchip"),
        Key::new("acpi", ON_OFF_AUTO, "ACPI tables and power management (default on)"),
        Key::new("hpet", Kind::Flag, "the HPET (default on)"),
        Key::new("i8042", Kind::Flag, "the keyboard controller (default on)"),
        Key::new(
            "vmport",
            ON_OFF_AUTO,
            "VMware's port 5658h, and its mouse if there is a keyboard controller (default on)",
        ),
        Key::new("graphics", Kind::Flag, "off: tell firmware to use the serial port as console (default on)"),
        Key::new("kernel", Kind::Text("FILE"), "as -kernel"),
        Key::new("initrd", Kind::Text("FILE"), "as -initrd"),
        Key::new("append", Kind::Text("TEXT"), "as -append"),
        Key::new("memory-backend", Kind::Text("ID"), "the memory backend (see -object) that is the guest's RAM"),
        Key::new("mem-merge", Kind::Flag, "let the host merge identical pages of guest RAM (default on)"),
        Key::new("dump-guest-core", Kind::Flag, "include guest RAM in core dumps of the process (default on)"),
        Key::new("max-ram-below-4g", Kind::Size(1), "where RAM below 4 GiB ends; at most 4G"),
        Key::new(
            "smbios-entry-point-type",
            Kind::Choice(&["32", "64"]),
            "form of the SMBIOS entry point: 32 is SMBIOS 2.1, 64 is 3.0 (default 32)",
        ),
        Key::new("x-oem-id", Kind::Text("TEXT"), "OEM id of the ACPI tables, up to 6 characters"),
        Key::new("x-oem-table-id", Kind::Text("TEXT"), "OEM table id of the ACPI tables, up to 8 characters"),
        Key::moved("memory.size", Kind::Size(1), "m", "size"),
        Key::moved("smp.cpus", CPUS, "smp", "cpus"),
        Key::moved("smp.maxcpus", CPUS, "smp", "maxcpus"),
        Key::moved("smp.sockets", CPUS, "smp", "sockets"),
        Key::moved("smp.dies", CPUS, "smp", "dies"),
        Key::moved("smp.clusters", Kind::Number(1, 1), "smp", "clusters"),
        Key::moved("smp.cores", CPUS, "smp", "cores"),
        Key::moved("smp.threads", CPUS, "smp", "threads"),
        Key::missing("pic", &["on", "auto"], ""),
        Key::missing("pit", &["on", "auto"], ""),
        Key::missing("smm", &["off", "auto"], "natoma has no system management mode"),
        Key::missing("usb", &["off"], "natoma has no USB yet"),
        Key::missing("sata", &["on", "off"], "natoma has no SATA"),
        Key::missing("smbus", &["on", "off"], ""),
        Key::missing("nvdimm", &["off"], "natoma has no memory devices yet"),
        Key::missing("hmat", &["off"], "natoma has no table of memory attributes"),
        Key::missing("suppress-vmdesc", &["on", "off"], "natoma does not migrate yet"),
        Key::missing("default-bus-bypass-iommu", &["off"], "natoma has no IOMMU"),
        Key::missing("bus-lock-ratelimit", &["0"], ""),
        Key::missing("memory.slots", &["0"], "give the guest all its memory with -m"),
        Key::missing("memory.max-size", &[], "give the guest all its memory with -m"),
        Key::moved("boot.menu", Kind::Flag, "boot", "menu"),
        Key::moved("boot.strict", Kind::Flag, "boot", "strict"),
        Key::moved("boot.order", DRIVES, "boot", "order"),
        Key::moved("boot.once", DRIVES, "boot", "once"),
        Key::moved("boot.splash", SPLASH, "boot", "splash"),
        Key::moved("boot.splash-time", MILLISECONDS, "boot", "splash-time"),
        Key::moved("boot.reboot-timeout", TIMEOUT, "boot", "reboot-timeout"),
        Key::new("firmware", Kind::Text("FILE"), "as -bios"),
        Key::new(
            "max-fw-size",
            Kind::Size(1),
            "most bytes that flash chips may have together (default 8M, at most 16M)",
        ),
        Key::new(
            "pflash0",
            Kind::Text("ID"),
            "the -drive if=none with the firmware, instead of -drive if=pflash,unit=0",
        ),
        Key::new("pflash1", Kind::Text("ID"), "the same for the chip below it, which keeps the firmware's variables"),
        Key::missing("dtb", &[], "a PC describes itself by ACPI"),
        Key::missing("dumpdtb", &[], "a PC describes itself by ACPI"),
        Key::missing("dt-compatible", &[], "a PC describes itself by ACPI"),
        Key::missing("phandle-start", &[], "a PC describes itself by ACPI"),
        Key::missing("pcspk-audiodev", &[], "natoma has no sound yet"),
        Key::missing("memory-encryption", &[], "natoma has no encrypted guests"),
        Key::missing("confidential-guest-support", &[], "natoma has no encrypted guests"),
    ],
);

const ACCEL: Schema = Schema::plain(
    Some("accel"),
    &[
        Key::new(
            "accel",
            Kind::Text("NAME[:NAME...]"),
            "what runs the guest's instructions: kvm, or qtest (nothing: devices are driven from outside)",
        ),
        Key::new(
            "kernel-irqchip",
            IRQCHIP,
            "where interrupt controllers and PIT are: in the kernel (on), or there only the local APICs (split); without \
             any in the kernel (off) is not supported: use split",
        ),
        Key::missing("dirty-ring-size", &["0"], ""),
        Key::missing("kvm-shadow-mem", &[], "the kernel chooses the size of its shadow page tables"),
        Key::missing("notify-vmexit", &["disable"], ""),
        Key::missing("notify-window", &[], "leave it out"),
        Key::missing("igd-passthru", &["off"], "natoma does not run on Xen"),
        Key::missing("split-wx", &["off"], "natoma does not translate code"),
        Key::missing("tb-size", &[], "natoma does not translate code"),
        Key::missing("thread", &["multi"], "natoma runs each CPU in a thread of its own"),
    ],
);

/// The HPET's properties.
pub(super) const HPET: Variant = Variant {
    name: "hpet",
    help: "the High Precision Event Timers",
    keys: &[
        Key::new("timers", Kind::Number(3, 24), "number of timers (default 3)"),
        Key::new("msi", Kind::Flag, "timers can interrupt by messages (default off)"),
        Key::new(
            "hpet-intcap",
            Kind::Number(0, HpetConfig::INPUTS as u64),
            "inputs of the I/O APIC that timers can be routed to, a bit for each (default 4: input 2)",
        ),
        Key::missing("hpet-offset-saved", &["on"], "natoma does not migrate yet"),
    ],
};

const SMP: Schema = Schema::plain(
    Some("cpus"),
    &[
        Key::new("cpus", CPUS, "CPUs at start (default: all the topology has, or 1)"),
        Key::new("maxcpus", CPUS, "CPUs the guest may ever have (default: the number at start)"),
        Key::new("sockets", CPUS, "sockets on the board"),
        Key::new("dies", CPUS, "dies in a socket"),
        Key::new("clusters", Kind::Number(1, 1), "clusters in a die: a PC has none, so 1"),
        Key::new("cores", CPUS, "cores in a die"),
        Key::new("threads", CPUS, "threads in a core"),
    ],
);

const RTC: Schema = Schema::plain(
    None,
    &[
        Key::new("base", Kind::Text("utc|localtime|DATE"), "the date at start (default utc)"),
        Key::new(
            "clock",
            Kind::Choice(&["host", "rt", "vm"]),
            "what it follows: the host's date, the host's monotonic clock, or the guest's own time (default host)",
        ),
        Key::new(
            "driftfix",
            Kind::Choice(&["none", "slew"]),
            "what happens to periodic interrupts the guest missed: lost (none), or sent later (slew) (default none)",
        ),
    ],
);

const NAME: Schema = Schema::plain(
    Some("guest"),
    &[
        Key::new("guest", Kind::Text("NAME"), "name of the guest"),
        Key::new("process", Kind::Text("NAME"), "name of the process in ps and top (15 bytes are kept)"),
        Key::new("debug-threads", Kind::Flag, "name each thread after what it does (default off)"),
    ],
);

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "machine",
        Argument::List("[type=]NAME[,KEY=VALUE...]", &MACHINE),
        Section::Machine,
        "choose the board and its options",
    )
    .alias("M")
    .group("machine")
    .details(
        "The only board is `pc`: Intel 440FX and PIIX3, as QEMU's machine of that name. `-machine help` lists the boards, \
         `-machine pc,help` the keys.",
    ),
    OptionSpec::new(
        "accel",
        Argument::List("[accel=]NAME[,KEY=VALUE...]", &ACCEL),
        Section::Machine,
        "choose what runs the guest's instructions",
    )
    .group("accel")
    .details(
        "natoma runs on KVM. Of several names (`-accel tcg -accel kvm`, `-machine accel=tcg:kvm`) the first one that natoma \
         has is taken.",
    ),
    OptionSpec::new("enable-kvm", Argument::None, Section::Machine, "the same as -accel kvm").sugar(
        "accel",
        "accel",
        Some("kvm"),
    ),
    OptionSpec::new(
        "cpu",
        Argument::Text("MODEL[,+FEATURE][,-FEATURE][,KEY=VALUE...]"),
        Section::Machine,
        "choose the CPU model and its features",
    )
    .details(
        "`-cpu help` lists the models and features. `host` and `max` show the guest the host's CPU; the default is `qemu64`.\
         \n\n\
         As in QEMU, `KEY=VALUE` settings apply in their order, then every `+FEATURE`, then every `-FEATURE`.",
    ),
    OptionSpec::new(
        "smp",
        Argument::List("[cpus=]N[,KEY=VALUE...]", &SMP),
        Section::Machine,
        "number and topology of the CPUs",
    )
    .group("smp-opts")
    .details(
        "The default is one CPU. What is left out is inferred as QEMU does since version 6.2: one socket, one die, one thread \
         per core, and as many cores as it takes; with `cores` given, as many sockets as it takes. The product of all four \
         is `maxcpus`.\n\n\
         The host's own limit on CPUs applies too.",
    ),
    OptionSpec::new("rtc", Argument::List("KEY=VALUE[,...]", &RTC), Section::Machine, "date of the real-time clock")
        .group("rtc")
        .details("A DATE is `2006-06-17T16:01:21` or `2006-06-17`, not before 1970."),
    OptionSpec::new("no-acpi", Argument::None, Section::Machine, "the same as -machine acpi=off").sugar(
        "machine",
        "acpi",
        Some("off"),
    ),
    OptionSpec::new("no-hpet", Argument::None, Section::Machine, "the same as -machine hpet=off").sugar(
        "machine",
        "hpet",
        Some("off"),
    ),
    OptionSpec::new("name", Argument::List("[guest=]NAME[,KEY=VALUE...]", &NAME), Section::Machine, "name of the guest")
        .group("name"),
    OptionSpec::new("uuid", Argument::Text("UUID"), Section::Machine, "UUID of the machine")
        .details("Written as 8-4-4-4-12 hexadecimal digits. The default is all zeroes."),
    OptionSpec::new("nodefaults", Argument::None, Section::Machine, "make no default devices").details(
        "Without this option and without others that say so, the first serial port is on the terminal (see `-serial`).",
    ),
];
