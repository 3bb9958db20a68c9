//! Board, processors, memory, and what kernels and clocks are told.

use super::*;

#[test]
fn the_board_is_configured_by_machine_accel_and_their_sugar() {
    let board = |line: &str| machine(line).platform;
    let default = PlatformConfig::default();
    for line in [
        "-machine pc",
        "-M pc-i440fx-7.2",
        "-machine type=pc,accel=kvm:tcg,usb=off,smm=auto,vmport=auto,pit=on",
        "-accel tcg -accel kvm",
        "-enable-kvm",
        "-machine pc,acpi=auto,hpet=on,kernel-irqchip=on,max-ram-below-4g=4G",
    ] {
        assert_eq!(PlatformConfig { max_ram_below_4g: None, ..board(line) }, default, "{line}");
    }
    for line in ["-no-acpi -no-hpet", "-machine acpi=off,hpet=off", "-M pc,hpet=on -machine hpet=no,acpi=off"] {
        assert_eq!(board(line), PlatformConfig { acpi: false, hpet: false, ..default.clone() }, "{line}");
    }
    assert_eq!(board("-machine vmport=off"), PlatformConfig { vmport: false, ..default.clone() });
    for line in ["-machine kernel-irqchip=split", "-accel kvm,kernel-irqchip=split", "-M pc,kernel_irqchip=split"] {
        assert_eq!(board(line).kernel_irqchip, KernelIrqchip::Split, "{line}");
    }
    // The last one counts, whichever option it is of.
    let irqchip = board("-accel kvm,kernel-irqchip=split -machine pc,kernel-irqchip=off").kernel_irqchip;
    assert_eq!(irqchip, KernelIrqchip::Off);
    let config = board(
        "-machine pc,i8042=off,graphics=off,max-ram-below-4g=2G,smbios-entry-point-type=64,x-oem-id=ABCDEF,x-oem-table-id=x",
    );
    assert_eq!(
        config,
        PlatformConfig {
            i8042: false,
            graphics: false,
            max_ram_below_4g: Some(2 << 30),
            smbios_entry_point: SmbiosEntryPoint::V30,
            acpi_oem_id: Some("ABCDEF".into()),
            acpi_oem_table_id: Some("x".into()),
            ..default
        }
    );
    check_errors(&[
        ("-machine q35", "-machine q35: there is no machine 'q35'; natoma has pc"),
        (
            "-machine none,accel=kvm",
            "-machine none,accel=kvm: natoma has no machine without a board; to ask what natoma can do",
        ),
        ("-M pc,hpte=on", "-machine pc,hpte=on: there is no parameter 'hpte' here; did you mean 'hpet'?"),
        ("-M pc,hpet=1", "-machine pc,hpet=1: hpet=1: expected on or off"),
        ("-M pc,usb=on", "-machine pc,usb=on: usb=on is not supported yet; natoma has no USB yet, or use usb=off"),
        (
            "-M pc,kernel-irqchip=maybe",
            "-machine pc,kernel-irqchip=maybe: kernel-irqchip=maybe: expected on, split, off",
        ),
        ("-M pc,max-ram-below-4g=8G", "-machine pc,max-ram-below-4g=8G: max-ram-below-4g is a size from 1M to 4G"),
        ("-M pc,x-oem-id=ABCDEFG", "-machine pc,x-oem-id=ABCDEFG: x-oem-id holds at most 6 ASCII characters"),
        ("-accel tcg", "-accel tcg: natoma runs on KVM only: use -accel kvm"),
        (
            "-M accel=kmv",
            "-machine accel=kmv: there is no accelerator 'kmv'; natoma has kvm and qtest; did you mean 'kvm'?",
        ),
    ]);
}

/// The accepted values and the refusals are those of QEMU 7.2 on the same argument.
#[test]
fn the_cpu_topology_is_inferred_as_qemu_does() {
    let topology = |line: &str| {
        let Smp { cpus, max_cpus, sockets, dies, cores, threads } = machine(line).smp;
        [cpus, max_cpus, sockets, dies, cores, threads]
    };
    for (line, expected) in [
        ("", [1, 1, 1, 1, 1, 1]),
        ("-smp 4", [4, 4, 1, 1, 4, 1]),
        ("-smp 0x4", [4, 4, 1, 1, 4, 1]),
        ("-smp cpus=2,sockets=1", [2, 2, 1, 1, 2, 1]),
        ("-smp 2,maxcpus=4", [2, 4, 1, 1, 4, 1]),
        ("-smp sockets=2,cores=2", [4, 4, 2, 1, 2, 1]),
        ("-smp maxcpus=4", [4, 4, 1, 1, 4, 1]),
        ("-smp cores=2,maxcpus=4", [4, 4, 2, 1, 2, 1]),
        ("-smp 4,dies=2", [4, 4, 1, 2, 2, 1]),
        ("-smp 4,clusters=1", [4, 4, 1, 1, 4, 1]),
        ("-smp 2,sockets=2,sockets=1", [2, 2, 1, 1, 2, 1]),
        ("-smp threads=2", [2, 2, 1, 1, 1, 2]),
        ("-smp 4,sockets=2,threads=1", [4, 4, 2, 1, 2, 1]),
        ("-smp 8,sockets=2,cores=2", [8, 8, 2, 1, 2, 2]),
        ("-smp 2 -smp maxcpus=4", [2, 4, 1, 1, 4, 1]),
        ("-machine smp.cpus=4 -smp cores=2", [4, 4, 2, 1, 2, 1]),
        ("-smp 300", [300, 300, 1, 1, 300, 1]),
    ] {
        assert_eq!(topology(line), expected, "{line}");
    }
    check_errors(&[
        (
            "-smp 4,sockets=3",
            "-smp 4,sockets=3: sockets (3) * dies (1) * cores (1) * threads (1) is 3, but the machine is to have 4",
        ),
        (
            "-smp 5,sockets=2",
            "-smp 5,sockets=2: sockets (2) * dies (1) * cores (2) * threads (1) is 4, but the machine is to have 5",
        ),
        (
            "-smp 2,sockets=2,cores=2",
            "-smp 2,sockets=2,cores=2: sockets (2) * dies (1) * cores (2) * threads (1) is 4, but",
        ),
        ("-smp 2,maxcpus=1", "-smp 2,maxcpus=1: 2 CPUs are more than maxcpus=1; raise maxcpus or leave it out"),
        ("-smp 0", "-smp 0: cpus=0: expected a number from 1 to 4096"),
        ("-smp 5000", "-smp 5000: cpus=5000: expected a number from 1 to 4096"),
        (
            "-smp cores=64,sockets=65",
            "-smp cores=64,sockets=65: sockets (65) * dies (1) * cores (64) * threads (1) is 4160; KVM runs",
        ),
        ("-smp 4,clusters=2", "-smp 4,clusters=2: clusters=2: expected a number from 1 to 1"),
        ("-smp 2x", "-smp 2x: cpus=2x: expected a number"),
        ("-smp sockets", "-smp sockets: cpus=sockets: expected a number"),
        ("-smp 2,3", "-smp 2,3: there is no parameter '3' here; it takes cpus, maxcpus, sockets"),
    ]);
}

#[test]
fn cpu_properties_take_effect_in_qemus_order() {
    let cpu = |line: &str| machine(line).cpu;
    assert_eq!(cpu(""), CpuConfig { model: "qemu64".into(), properties: vec![] });
    let properties: Vec<_> = cpu("-cpu host,-avx2,+avx2,kvm=off,l3_cache=on,topoext")
        .properties
        .into_iter()
        .map(|property| format!("{}={}", property.name, property.value))
        .collect();
    assert_eq!(properties, ["kvm=off", "l3-cache=on", "topoext=on", "avx2=on", "avx2=off"]);
    assert_eq!(
        command_line("-cpu host,-avx2,+avx2").unwrap().warnings,
        ["-cpu host,-avx2,+avx2: avx2 is set more than once; avx2=off counts"]
    );
    check_errors(&[("-cpu hots", "-cpu hots: there is no CPU model 'hots'")]);
}

#[test]
fn guest_ram_has_a_size_and_a_backend() {
    let memory = |line: &str| machine(line).memory;
    for (line, size) in [
        ("-m 64", 64 << 20),
        ("-m 1.5G", 3 << 29),
        ("-m size=64M,slots=0", 64 << 20),
        ("-m 0", 128 << 20),
        ("-m 64 -m 32", 32 << 20),
        ("-m 2097153b", (2 << 20) + 8192),
        ("-machine memory.size=64M", 64 << 20),
        ("-machine memory.size=1048576", 1 << 20),
    ] {
        assert_eq!(memory(line).size(), size, "{line}");
    }
    let ram = memory("-mem-path /dev/shm -mem-prealloc -smp 2 -machine mem-merge=off").ram.remove(0);
    let path = "/dev/shm".into();
    assert_eq!(ram.kind, MemoryBackendKind::File { path, align: 0, readonly: false });
    assert_eq!((ram.prealloc, ram.prealloc_threads, ram.merge, ram.share), (true, 2, false, false));

    let memory = memory(
        "-object memory-backend-ram,id=spare,size=5000 -machine memory-backend=main \
         -object {\"qom-type\":\"memory-backend-memfd\",\"id\":\"main\",\"size\":4194304,\"hugetlb\":true,\"hugetlbsize\":2097152}",
    );
    assert_eq!(
        memory.ram,
        [MemoryBackend {
            kind: MemoryBackendKind::Memfd { hugetlb: true, hugetlbsize: 2 << 20, seal: true },
            share: true,
            ..MemoryBackend::anonymous("main", 4 << 20)
        }]
    );
    assert_eq!(memory.spare, [MemoryBackend::anonymous("spare", 8192)]);
    let main = "-object memory-backend-ram,id=pc.ram,size=64M -machine memory-backend=pc.ram";
    assert_eq!(machine(&format!("{main} -m 64")).memory.ram, [MemoryBackend::anonymous("pc.ram", 64 << 20)]);

    check_errors(&[
        (
            "-m 64,slots=2,maxmem=1G",
            "-m 64,slots=2,maxmem=1G: slots=2 is not supported yet; give the guest all its memory",
        ),
        ("-m 1x", "-m 1x: size=1x: expected a size below 2^64 bytes"),
        ("-m 512k", "-m 512k: a PC has at least 1M of memory"),
        ("-m 5P", "-m 5P: this is 5629499534213120 bytes, and x86 has addresses for 4503598553628672 bytes of RAM"),
        (
            "-machine memory-backend=x",
            "-machine memory-backend=x: there is no memory backend 'x': define it with -object",
        ),
        (&format!("{main} -m 32"), "-m 32: this is 32M, but memory backend 'pc.ram' has 64M: make them equal"),
        (&format!("{main} -mem-path /x"), "-mem-path /x: -machine memory-backend= says what guest RAM is made of"),
        (
            "-object memory-backend-ram,id=pc.ram,size=1M",
            "-object memory-backend-ram,id=pc.ram,size=1M: the id 'pc.ram' is that of",
        ),
        ("-object memory-backend-ram,id=x", "-object memory-backend-ram,id=x: 'size' is missing"),
        ("-object memory-backend-ram,size=1M", "-object memory-backend-ram,size=1M: 'id' is missing"),
        ("-object memory-backend-ram,id=1,size=1M", "-object memory-backend-ram,id=1,size=1M: '1' is no id"),
        ("-object memory-backend-file,id=x,size=1M", "-object memory-backend-file,id=x,size=1M: 'mem-path' is missing"),
        (
            "-object memory-backend-ram,id=x,size=1M,policy=bind",
            "-object memory-backend-ram,id=x,size=1M,policy=bind: policy=bind is not supported yet; bind natoma with numactl",
        ),
        (
            "-object memory-backend-memfd,id=x,size=1M,hugetlbsize=2M",
            "-object memory-backend-memfd,id=x,size=1M,hugetlbsize=2M: hugetlbsize says",
        ),
        (
            "-object memory-backend-memfd,id=x,size=3M,hugetlb=on,hugetlbsize=3M",
            "-object memory-backend-memfd,id=x,size=3M,hugetlb=on,hugetlbsize=3M: hugetlbsize=3M: expected a power of two",
        ),
        (
            "-object memory-backend-memfd,id=x,size=3M,hugetlb=on,hugetlbsize=2M",
            "-object memory-backend-memfd,id=x,size=3M,hugetlb=on,hugetlbsize=2M: the size 3M is no multiple",
        ),
        (
            "-object secret,id=x,data=y",
            "-object secret,id=x,data=y: the object type 'secret' is not supported yet; leave it out",
        ),
        ("-object {", "-object {: this is no valid JSON"),
    ]);
}

#[test]
fn kernels_clocks_names_and_actions() {
    let boot = machine("-kernel vmlinuz -initrd a~x,b -append console=ttyS0~quiet").boot;
    assert_eq!(
        boot,
        BootConfig {
            kernel: Some("vmlinuz".into()),
            initrd: Some("a x,b".into()),
            append: "console=ttyS0 quiet".into(),
            ..BootConfig::default()
        }
    );
    assert_eq!(machine("-machine kernel=k,append=a,,b").boot.append, "a,b");

    let rtc = |line: &str| machine(line).rtc;
    assert_eq!(rtc(""), RtcConfig::default());
    assert_eq!(
        rtc("-rtc base=localtime,clock=vm -rtc driftfix=slew"),
        RtcConfig { base: RtcBase::Localtime, clock: RtcClock::Vm, lost_ticks: LostTickPolicy::Slew }
    );
    assert_eq!(rtc("-rtc base=2006-06-17T16:01:21,clock=rt").base, RtcBase::Date(1_150_560_081));
    assert_eq!(rtc("-global mc146818rtc.lost_tick_policy=slew").lost_ticks, LostTickPolicy::Slew);

    let identity = machine("-name a,,b,process=p,debug-threads=on -uuid 550E8400-e29b-41d4-a716-446655440000").identity;
    assert_eq!((identity.name.as_deref(), identity.process_name.as_deref()), (Some("a,b"), Some("p")));
    assert!(identity.debug_threads);
    assert_eq!(identity.uuid.unwrap().as_bytes()[..4], [0x55, 0x0e, 0x84, 0x00]);

    let run =
        machine("-no-reboot -no-shutdown -S -pidfile /run/p -watchdog-action inject-nmi -action panic=exit-failure")
            .run;
    assert_eq!(
        run,
        RunConfig {
            actions: Actions {
                reboot: RebootAction::Shutdown,
                shutdown: ShutdownAction::Pause,
                panic: PanicAction::ExitFailure,
                watchdog: WatchdogAction::InjectNmi,
            },
            start_paused: true,
            daemonize: false,
            pidfile: Some("/run/p".into()),
        }
    );
    assert_eq!(machine("-no-reboot -action reboot=reset").run.actions.reboot, RebootAction::Reset);

    check_errors(&[
        ("-append quiet", "-append quiet: this needs a kernel: give one with -kernel FILE"),
        ("-initrd x", "-initrd x: this needs a kernel"),
        ("-rtc base=tomorrow", "-rtc base=tomorrow: base=tomorrow: expected utc, localtime, or a date"),
        ("-rtc clock=hots", "-rtc clock=hots: clock=hots: expected host, rt, vm; did you mean 'host'?"),
        ("-rtc utc", "-rtc utc: there is no parameter 'utc' here; it takes base, clock, driftfix"),
        ("-uuid 550e8400e29b41d4a716446655440000", "-uuid 550e8400e29b41d4a716446655440000: expected 8-4-4-4-12"),
        ("-action reboot=poweroff", "-action reboot=poweroff: reboot=poweroff: expected reset, shutdown"),
        ("-action reboot", "-action reboot: 'reboot' needs a value: reboot=reset|shutdown"),
        ("-watchdog-action foo", "-watchdog-action foo: watchdog=foo: expected reset, shutdown, poweroff"),
    ]);
}
