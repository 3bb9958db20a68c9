//! Command lines through the front door: what they become, and what is wrong with them.

mod boot;
mod numa;
mod tables;

use super::keyval::Key;
use super::*;
use crate::config::*;
use proptest::prelude::*;
use std::io;

/// Two models and two properties.
const CPUS: CpuCatalogue = CpuCatalogue {
    models: || ["qemu64", "host"].map(|name| (name.into(), format!("the model {name}"))).into(),
    properties: || vec!["avx2", "kvm"],
    check: |cpu| match cpu.model.as_str() {
        "qemu64" | "host" => Ok(()),
        model => Err(format!("there is no CPU model '{model}'")),
    },
};

fn parse_with(words: &[&str], files: &[(&str, &str)]) -> Result<CommandLine, String> {
    let read_file = |path: &Path| {
        let file = files.iter().find(|(name, _)| Path::new(name) == path);
        file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    let environment = Environment { cpus: CPUS, read_file: &read_file };
    parse(words.iter().map(OsString::from), &environment).map_err(|error| error.to_string())
}

/// Splits at spaces; `~` stands for a space inside an argument.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.replace('~', " ")).collect()
}

fn command_line(line: &str) -> Result<CommandLine, String> {
    parse_with(&words(line).iter().map(String::as_str).collect::<Vec<_>>(), &[])
}

/// The machine that a command line describes.
fn machine(line: &str) -> MachineConfig {
    match command_line(line) {
        Ok(CommandLine { request: Request::Run(config), .. }) => *config,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    command_line(line).expect_err(line)
}

/// Checks lines with the beginnings of their errors.
fn check_errors(cases: &[(&str, &str)]) {
    for (line, message) in cases {
        let error = error(line);
        assert!(error.starts_with(message), "{line}\n     is: {error}\n should: {message}");
    }
}

fn chardev(id: &str, backend: ChardevBackend) -> Chardev {
    Chardev { id: id.into(), option: None, backend, mux: false, logfile: None, logappend: false }
}

fn floppy(drive: &str, kind: FloppyKind) -> Option<FdcDrive> {
    Some(FdcDrive { drive: drive.into(), kind })
}

#[test]
fn no_options_give_a_pc_with_its_console_on_the_terminal() {
    let config = machine("");
    let of = |option: &str| Some(option.to_owned());
    let stdio =
        Chardev { mux: true, option: of("serial"), ..chardev("serial0", ChardevBackend::Stdio { signal: false }) };
    let parallel = Chardev { option: of("parallel"), ..chardev("parallel0", ChardevBackend::Null) };
    assert_eq!(
        config,
        MachineConfig {
            chardevs: vec![stdio, parallel],
            parallels: [Some("parallel0".into()), None, None],
            serials: [Some("serial0".into()), None, None, None],
            drives: vec![Drive { id: "floppy0".into(), image: None }],
            fdc: FdcConfig { drives: [floppy("floppy0", FloppyKind::Auto), None], ..FdcConfig::default() },
            monitors: vec![MonitorConfig { chardev: "serial0".into(), mode: MonitorMode::Readline }],
            ..MachineConfig::default()
        }
    );
    assert_eq!(config.memory.size(), 128 << 20);
    assert_eq!(machine("-nodefaults"), {
        let mut bare = MachineConfig::default();
        bare.platform.default_devices = false;
        bare
    });
}

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
fn serial_ports_take_every_short_form() {
    let one = |form: &str| {
        let config = machine(&format!("-nodefaults -serial {form}"));
        let ([chardev], []) = (&config.chardevs[..], &config.monitors[..]) else { panic!("{config:?}") };
        assert_eq!(config.serials, [Some("serial0".into()), None, None, None], "{form}");
        assert_eq!((chardev.id.as_str(), chardev.mux), ("serial0", false), "{form}");
        chardev.backend.clone()
    };
    let inet = |host: &str, port, server, wait, nodelay, telnet| ChardevBackend::Socket {
        address: SocketAddress::Inet { host: host.into(), port, to: None, ipv4: None, ipv6: None },
        server,
        wait,
        nodelay,
        telnet,
        reconnect_seconds: 0,
    };
    let unix = |path: &str, server, wait| ChardevBackend::Socket {
        address: SocketAddress::Unix { path: path.into(), abstract_name: false, tight: true },
        server,
        wait,
        nodelay: false,
        telnet: false,
        reconnect_seconds: 0,
    };
    let file = |path: &str| ChardevBackend::File { path: path.into(), append: false, input_path: None };
    for (form, backend) in [
        ("null", ChardevBackend::Null),
        ("stdio", ChardevBackend::Stdio { signal: true }),
        ("file:/tmp/a,,b,append=on", file("/tmp/a,,b,append=on")),
        ("pipe:/tmp/p", ChardevBackend::Pipe { path: "/tmp/p".into() }),
        ("pty", ChardevBackend::Pty { path: None }),
        ("/dev/ttyS0", ChardevBackend::Tty { path: "/dev/ttyS0".into() }),
        ("tcp:localhost:4444", inet("localhost", 4444, false, false, false, false)),
        ("tcp::4444,server=on", inet("", 4444, true, true, false, false)),
        ("tcp::4444,server,nowait,nodelay", inet("", 4444, true, false, true, false)),
        ("tcp:[::1]:4444,server=on,wait=off", inet("::1", 4444, true, false, false, false)),
        ("telnet:127.0.0.1:23,server=on,wait=off", inet("127.0.0.1", 23, true, false, false, true)),
        ("unix:/tmp/a,,b,server=on,wait=off", unix("/tmp/a,b", true, false)),
        ("unix:/tmp/s", unix("/tmp/s", false, false)),
        ("unix:/tmp/s,server,nowait", unix("/tmp/s", true, false)),
    ] {
        assert_eq!(one(form), backend, "{form}");
    }
    assert_eq!(command_line("-serial unix:/tmp/s,server,nowait").unwrap().warnings, [""; 0]);

    let config = machine("-serial none -serial mon:stdio -chardev null,id=c -serial chardev:c");
    assert_eq!(config.serials, [None, Some("serial1".into()), Some("c".into()), None]);
    assert_eq!(config.monitors, [MonitorConfig { chardev: "serial1".into(), mode: MonitorMode::Readline }]);
    assert_eq!(config.chardev("serial1").map(|chardev| chardev.mux), Some(true));
    assert_eq!(machine("-serial none -parallel none").chardevs, []);

    check_errors(&[
        ("-serial foo", "-serial foo: there is no character device 'foo'; -help serial lists the forms"),
        ("-serial stdoi", "-serial stdoi: there is no character device 'stdoi'; did you mean 'stdio'?"),
        ("-serial stdio,signal=off", "-serial stdio,signal=off: 'stdio' takes nothing more here: use -chardev"),
        ("-serial vc:80Cx24C", "-serial vc:80Cx24C: natoma has no display for a virtual console yet"),
        ("-serial udp::5", "-serial udp::5: udp is not supported yet: use tcp or unix"),
        ("-serial websocket::5", "-serial websocket::5: websocket is not supported yet"),
        ("-serial COM1", "-serial COM1: COM1 is a name of Windows: use a path such as /dev/ttyS0"),
        ("-serial /dev/parport0", "-serial /dev/parport0: natoma has no parallel port yet"),
        ("-serial file:", "-serial file:: the path is missing: file:PATH"),
        ("-serial unix:", "-serial unix:: the path is missing: unix:PATH"),
        ("-serial tcp:4444", "-serial tcp:4444: expected tcp:[HOST]:PORT[,KEY=VALUE...]"),
        ("-serial tcp::http", "-serial tcp::http: port=http: expected a number from 0 to 65535"),
        (
            "-serial tcp::1,wiat=off",
            "-serial tcp::1,wiat=off: there is no parameter 'wiat' of character device backend 'socket'; did you mean 'wait'?",
        ),
        ("-serial tcp::1,wait=off", "-serial tcp::1,wait=off: wait is for a socket that listens: add server=on"),
        ("-serial mon:none", "-serial mon:none: there is no character device 'none'"),
        (
            "-serial chardev:x",
            "-serial chardev:x: there is no character device 'x': define it with -chardev BACKEND,id=x",
        ),
        (
            "-serial null -serial null -serial null -serial null -serial null",
            "-serial null: a PC has four serial ports",
        ),
    ]);
}

#[test]
fn character_devices_have_their_keys() {
    let one = |text: &str| {
        let config = machine(&format!("-nodefaults -chardev {text}"));
        assert_eq!(config.chardevs.len(), 1, "{text}");
        config.chardevs[0].clone()
    };
    assert_eq!(one("null,id=a"), chardev("a", ChardevBackend::Null));
    assert_eq!(
        one("backend=stdio,id=a,signal=off,mux=on,logfile=/tmp/l,logappend=on"),
        Chardev {
            mux: true,
            logfile: Some("/tmp/l".into()),
            logappend: true,
            ..chardev("a", ChardevBackend::Stdio { signal: false })
        }
    );
    let input_path = Some("/tmp/i".into());
    assert_eq!(
        one("file,id=a,path=/tmp/o,append=on,input-path=/tmp/i").backend,
        ChardevBackend::File { path: "/tmp/o".into(), append: true, input_path }
    );
    assert_eq!(one("ringbuf,id=a").backend, ChardevBackend::Ringbuf { size: 65536 });
    assert_eq!(one("memory,id=a,size=4k").backend, ChardevBackend::Ringbuf { size: 4096 });
    assert_eq!(one("tty,id=a,path=/dev/ttyS0").backend, ChardevBackend::Tty { path: "/dev/ttyS0".into() });
    assert_eq!(one("pty,id=a,path=/tmp/l").backend, ChardevBackend::Pty { path: Some("/tmp/l".into()) });
    let ChardevBackend::Socket { address, reconnect_seconds, server, .. } =
        one("socket,id=a,host=::1,port=0,to=9,ipv6=on,server=on,reconnect=0").backend
    else {
        panic!()
    };
    assert_eq!((server, reconnect_seconds), (true, 0));
    assert_eq!(address, SocketAddress::Inet { host: "::1".into(), port: 0, to: Some(9), ipv4: None, ipv6: Some(true) });
    let ChardevBackend::Socket { address, .. } = one("socket,id=a,path=x,abstract=on,tight=off").backend else {
        panic!()
    };
    assert_eq!(address, SocketAddress::Unix { path: "x".into(), abstract_name: true, tight: false });
    let ChardevBackend::Socket { address, .. } = one("socket,id=a,fd=3,server=on,wait=off").backend else { panic!() };
    assert_eq!(address, SocketAddress::Fd { fd: 3 });
    assert_eq!(
        command_line("-chardev socket,id=a,path=/x,server,nowait").unwrap().warnings,
        [
            "-chardev socket,id=a,path=/x,server,nowait: 'server' is an old spelling; write server=on",
            "-chardev socket,id=a,path=/x,server,nowait: 'nowait' is an old spelling; write wait=off",
        ]
    );

    let long = format!("-chardev socket,id=a,path=/{}", "x".repeat(107));
    check_errors(&[
        ("-chardev null", "-chardev null: 'id' is missing: give id=NAME"),
        ("-chardev foo,id=a", "-chardev foo,id=a: there is no character device backend 'foo'; natoma has null, stdio"),
        ("-chardev udp,id=a", "-chardev udp,id=a: the character device backend 'udp' is not supported yet; use socket"),
        (
            "-chardev null,id=a,path=x",
            "-chardev null,id=a,path=x: there is no parameter 'path' of character device backend 'null'",
        ),
        ("-chardev null,id=a,logappend=on", "-chardev null,id=a,logappend=on: logappend needs a logfile=PATH"),
        ("-chardev file,id=a", "-chardev file,id=a: 'path' is missing: give path=PATH"),
        (
            "-chardev null,id=a -chardev null,id=a",
            "-chardev null,id=a: there are two character devices with the id 'a'",
        ),
        ("-chardev socket,id=a", "-chardev socket,id=a: it has no address"),
        ("-chardev socket,id=a,host=x", "-chardev socket,id=a,host=x: 'port' is missing"),
        ("-chardev socket,id=a,path=/x,port=1", "-chardev socket,id=a,path=/x,port=1: it has several addresses"),
        (
            "-chardev socket,id=a,path=/x,reconnect=1,server=on",
            "-chardev socket,id=a,path=/x,reconnect=1,server=on: reconnect is for a socket that connects",
        ),
        ("-chardev socket,id=a,path=/x,to=5", "-chardev socket,id=a,path=/x,to=5: to is for TCP sockets"),
        ("-chardev socket,id=a,path=/x,tight=on", "-chardev socket,id=a,path=/x,tight=on: tight is for abstract names"),
        (
            "-chardev socket,id=a,port=9,to=8,server=on",
            "-chardev socket,id=a,port=9,to=8,server=on: to is the last port to try",
        ),
        (
            "-chardev socket,id=a,port=9,ipv4=off,ipv6=off",
            "-chardev socket,id=a,port=9,ipv4=off,ipv6=off: ipv4=off,ipv6=off leaves",
        ),
        ("-chardev socket,id=a,fd=net0", "-chardev socket,id=a,fd=net0: fd is the number of a socket"),
        (
            "-chardev socket,id=a,path=/x,websocket=on",
            "-chardev socket,id=a,path=/x,websocket=on: websocket=on is not supported yet",
        ),
        ("-chardev ringbuf,id=a,size=5", "-chardev ringbuf,id=a,size=5: size is a power of two up to 1G"),
        (&long, "-chardev socket,id=a,path=/xxx"),
    ]);
    assert!(error(&long).ends_with("has 108 bytes, and the kernel allows 107: use a shorter one"));
}

#[test]
fn the_terminal_has_one_owner() {
    let serial0 = |line: &str| {
        let config = machine(line);
        let serial = config.chardev(config.serials[0].as_deref()?)?;
        Some((serial.backend.clone(), serial.mux, config.monitors.len()))
    };
    let terminal = |signal| ChardevBackend::Stdio { signal };
    let shared = Some((terminal(false), true, 1));
    assert_eq!(serial0("-display none -vga none -net none -nic none -parallel none"), shared);
    assert_eq!(serial0("-nographic"), shared);
    assert!(!machine("-nographic").platform.graphics);
    assert_eq!(serial0("-monitor none"), Some((terminal(true), false, 0)));
    assert_eq!(serial0("-nographic -monitor none"), Some((terminal(true), false, 0)));
    assert_eq!(serial0("-monitor stdio"), Some((ChardevBackend::Null, false, 1)));
    assert_eq!(serial0("-monitor mon:stdio"), Some((ChardevBackend::Null, false, 1)));
    assert_eq!(serial0("-serial mon:stdio -chardev null,id=c -mon c"), Some((terminal(false), true, 2)));
    assert_eq!(serial0("-chardev stdio,id=c,mux=on -serial chardev:c -mon chardev=c"), Some((terminal(true), true, 1)));
    assert_eq!(serial0("-nographic -serial null"), Some((ChardevBackend::Null, false, 0)));
    assert_eq!(serial0("-nographic -nodefaults"), None);
    // What asks for the terminal gets it.
    assert_eq!(serial0("-debugcon stdio"), Some((ChardevBackend::Null, false, 0)));
    assert_eq!(serial0("-daemonize"), Some((ChardevBackend::Null, false, 0)));
    assert_eq!(serial0("-chardev null,id=c -device isa-serial,chardev=c"), None);

    check_errors(&[
        ("-serial stdio -debugcon stdio", "-debugcon stdio: 'serial0' already uses the terminal; let them share it"),
        ("-nographic -debugcon stdio", "-nographic: 'debugcon' already uses the terminal"),
        ("-daemonize -serial stdio", "-serial stdio: -daemonize leaves the terminal, so nothing can use stdio"),
        ("-daemonize -nographic", "-nographic: -daemonize leaves the terminal"),
        (
            "-chardev null,id=serial0 -serial null",
            "-serial null: there are two character devices with the id 'serial0'",
        ),
        (
            "-chardev null,id=c -serial chardev:c -debugcon chardev:c",
            "-debugcon chardev:c: character device 'c' is already used by COM1; the debug console can share it if it has mux=on",
        ),
        (
            "-chardev null,id=c,mux=on -serial chardev:c -serial chardev:c -serial chardev:c -serial chardev:c -debugcon chardev:c",
            "-debugcon chardev:c: character device 'c' already has 4 users",
        ),
        (
            "-chardev null,id=c,mux=on -device isa-debugcon,chardev=d",
            "-device isa-debugcon,chardev=d: there is no character device 'd'",
        ),
        ("-serial stdio -monitor stdio", "-monitor stdio: 'serial0' already uses the terminal; let them share it"),
        ("-qmp mon:stdio", "-qmp mon:stdio: a QMP monitor talks to one program: leave 'mon:' out"),
        ("-chardev null,id=c -mon c,pretty=on", "-mon c,pretty=on: 'pretty' is for QMP: add mode=control"),
        ("-qtest stdio", "-qtest stdio: the protocol drives a machine without processors: add -accel qtest"),
        ("-accel qtest -qtest-log f", "-qtest-log f: there is no qtest conversation to log: add -qtest DEV"),
        ("-mon c", "-mon c: there is no character device 'c'"),
        ("-vga std", "-vga std: this is not supported yet; natoma has no display yet"),
    ]);
    machine("-chardev null,id=c,mux=on -serial chardev:c -serial chardev:c -serial chardev:c -debugcon chardev:c");
}

#[test]
fn devices_take_their_properties_then_globals_then_defaults() {
    let devices = |line: &str| machine(&format!("-nodefaults -chardev null,id=c -chardev null,id=d {line}")).devices;
    let exit = |iobase, iosize| DeviceConfig::IsaDebugExit(IsaDebugExit { id: None, iobase, iosize });
    assert_eq!(devices("-device isa-debug-exit"), [exit(0x501, 2)]);
    assert_eq!(devices("-device isa-debug-exit,iobase=0xf4,iosize=0x04,bus=isa.0"), [exit(0xf4, 4)]);
    assert_eq!(devices("-device {\"driver\":\"isa-debug-exit\",\"iobase\":244}"), [exit(0xf4, 2)]);
    assert_eq!(
        devices(
            "-global isa-debug-exit.iobase=0xf4 -device isa-debug-exit -device isa-debug-exit,iobase=1 -global driver=isa-debug-exit,property=iosize,value=1"
        ),
        [exit(0xf4, 1), exit(1, 1)]
    );
    assert_eq!(
        devices(
            "-debugcon null -global isa-debugcon.iobase=0x402 -device isa-debugcon,chardev=c,id=x,iobase=5,readback=0"
        ),
        [
            DeviceConfig::IsaDebugcon(IsaDebugcon {
                id: None,
                iobase: 0x402,
                readback: 0xe9,
                chardev: "debugcon".into()
            }),
            DeviceConfig::IsaDebugcon(IsaDebugcon {
                id: Some("x".into()),
                iobase: 5,
                readback: 0,
                chardev: "c".into()
            }),
        ]
    );
    let serial = |index, iobase, irq, chardev: &str| {
        DeviceConfig::IsaSerial(IsaSerial { id: None, index, iobase, irq, chardev: chardev.into() })
    };
    assert_eq!(
        devices(
            "-serial none -serial null -device isa-serial,chardev=c -device isa-serial,chardev=d,index=0,iobase=0x100,irq=7"
        ),
        [serial(2, None, None, "c"), serial(0, Some(0x100), Some(7), "d")]
    );
    let board =
        machine("-global kvm-pit.lost_tick_policy=discard -global PIIX4_PM.disable_s3=1 -global PIIX4_PM.s4_val=4");
    assert_eq!(board.platform.pit_lost_ticks, Some(LostTickPolicy::Discard));
    assert_eq!(board.platform.power, PowerConfig { disable_s3: true, disable_s4: false, s4_value: 4 });

    check_errors(&[
        ("-device foo", "-device foo: there is no device 'foo'; natoma has isa-debug-exit, isa-debugcon, isa-serial"),
        (
            "-device isa_debug_exit",
            "-device isa_debug_exit: there is no device 'isa_debug_exit'; natoma has isa-debug-exit, isa-debugcon, isa-serial, isa-parallel, floppy, pvpanic, ib700, pc-testdev, pci-bridge, pci-serial, pci-serial-2x, pci-serial-4x, pvpanic-pci, i6300esb; did you mean 'isa-debug-exit'?",
        ),
        (
            "-device virtio-net-pci,netdev=n",
            "-device virtio-net-pci,netdev=n: the device 'virtio-net-pci' is not supported yet; natoma has no network yet",
        ),
        (
            "-device isa-debug-exit,iosize=3",
            "-device isa-debug-exit,iosize=3: iosize is the number of ports: 1, 2 or 4",
        ),
        (
            "-device isa-debug-exit,iobase=0x10000",
            "-device isa-debug-exit,iobase=0x10000: iobase=0x10000: expected a number from 0 to 65535",
        ),
        (
            "-device isa-debug-exit,id=a -device isa-debug-exit,id=a",
            "-device isa-debug-exit,id=a: there are two devices with the id 'a'",
        ),
        ("-device isa-debugcon", "-device isa-debugcon: 'chardev' is missing: give chardev=ID of a -chardev"),
        (
            "-serial null -chardev null,id=c -device isa-serial,index=0,chardev=c",
            "-device isa-serial,index=0,chardev=c: there already is a COM1: choose another index",
        ),
        ("-debugcon null -debugcon null", "-debugcon null: there already is a debug console on that port"),
        ("-debugcon none", "-debugcon none: a debug console needs a character device"),
        ("-global foo.bar=1", "-global foo.bar=1: the machine has no device 'foo'; -global help lists them"),
        (
            "-global isa-debgcon.iobase=1",
            "-global isa-debgcon.iobase=1: the machine has no device 'isa-debgcon'; did you mean 'isa-debugcon'?",
        ),
        (
            "-global isa-debugcon.iobsae=1",
            "-global isa-debugcon.iobsae=1: 'isa-debugcon' has no property 'iobsae'; did you mean 'iobase'?; it has chardev, iobase, readback",
        ),
        ("-global isa-debugcon.iobase=x", "-global isa-debugcon.iobase=x: iobase=x: expected a number"),
        (
            "-global isa-debugcon.iobase",
            "-global isa-debugcon.iobase: there is no parameter 'isa-debugcon.iobase' here",
        ),
        ("-global driver=isa-debugcon", "-global driver=isa-debugcon: expected DRIVER.PROPERTY=VALUE"),
        (
            "-global kvm-pit.lost_tick_policy=slew",
            "-global kvm-pit.lost_tick_policy=slew: lost_tick_policy=slew: expected delay, discard",
        ),
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

#[test]
fn logging_takes_items_and_patterns() {
    let log = machine("-d guest_errors,trace:a*,unimp,guest_errors -trace b -trace enable=-c -D /tmp/l%d").log;
    assert_eq!(log.items, [LogItem::GuestErrors, LogItem::Unimp]);
    assert_eq!(log.trace, ["a*", "b", "-c"]);
    assert_eq!(log.file, Some("/tmp/l%d".into()));
    assert_eq!(machine("-d all").log.items.len(), 4);
    let events = parse_with(&["-trace", "events=/e"], &[("/e", "# comment\n a \n\n-b\n")]).unwrap();
    let Request::Run(config) = events.request else { panic!() };
    assert_eq!(config.log.trace, ["a", "-b"]);
    check_errors(&[
        ("-d guest_errros", "-d guest_errros: there is no log item 'guest_errros'; did you mean 'guest_errors'?"),
        ("-d in_asm", "-d in_asm: 'in_asm' is not supported: natoma runs on KVM"),
        ("-D /tmp/l%s", "-D /tmp/l%s: expected the name of a file, with at most one % in it"),
        ("-trace events=/none", "-trace events=/none: cannot read /none: entity not found"),
        ("-trace file=x", "-trace file=x: file=x is not supported yet; traces go to the log: use -D FILE"),
    ]);
}

#[test]
fn help_is_printed_wherever_it_is_asked_for() {
    let printed = |line: &str| match command_line(line) {
        Ok(CommandLine { request: Request::Print(text), .. }) => text,
        other => panic!("{line}: {other:?}"),
    };
    for (line, text) in [
        ("-help", "usage: natoma"),
        ("-h", "-chardev BACKEND,id=ID"),
        ("-version", "natoma 0."),
        ("--version", "natoma 0."),
        ("-help smp", "maxcpus=N"),
        ("-help -M", "Also written -M."),
        ("-help hda", "An option of QEMU that natoma does not support yet; natoma has no disks yet"),
        ("-help vga", "-vga none is accepted"),
        ("-machine help", "pc-i440fx-7.2"),
        ("-M pc,help", "max-ram-below-4g=SIZE"),
        ("-accel help", "kvm"),
        ("-cpu help", "the model host"),
        ("-cpu ?", "avx2 kvm"),
        ("-smp help", "sockets=N"),
        ("-m ?", "size=SIZE"),
        ("-chardev help", "ringbuf"),
        ("-chardev socket,help", "reconnect=N"),
        ("-device help", "isa-debugcon"),
        ("-device isa-debug-exit,help", "iosize=N"),
        ("-object help", "memory-backend-memfd"),
        ("-object memory-backend-memfd,help", "hugetlbsize=SIZE"),
        ("-global help", "PIIX4_PM.disable_s3=N"),
        ("-d help", "guest_errors"),
        ("-d help", "-trace help"),
        ("-trace help", "post_code"),
        ("-trace help", "events=FILE"),
        ("-serial help", "chardev:ID"),
        ("-rtc help", "base=utc|localtime|DATE"),
        ("-manual markdown", "### `-smp [cpus=]N[,KEY=VALUE...]`"),
        ("-manual man", ".SH EXIT STATUS"),
        ("-completion zsh", "#compdef natoma"),
    ] {
        let printed = printed(line);
        assert!(printed.contains(text), "{line}: {printed}");
    }
    check_errors(&[
        ("-help smpp", "-help smpp: there is no such option; did you mean 'smp'?"),
        ("-completion tcsh", "-completion tcsh: expected bash, zsh or fish"),
        ("-manual html", "-manual html: expected -manual man|markdown"),
    ]);
}

#[test]
fn parallel_ports_are_taken_in_order() {
    let config =
        machine("-nodefaults -parallel none -parallel file:/p -chardev null,id=c -device isa-parallel,chardev=c");
    assert_eq!(config.parallels, [None, Some("parallel1".into()), None]);
    let lpt = |index, iobase, irq| IsaParallel { id: None, index, iobase, irq, chardev: "c".into() };
    assert_eq!(config.devices, [DeviceConfig::IsaParallel(lpt(0, None, 7))]);
    let line = "-nodefaults -chardev null,id=c,mux=on -device isa-parallel,chardev=c,iobase=0x3bc,irq=5 -device isa-parallel,chardev=c,index=0";
    assert_eq!(machine(line).devices, [lpt(1, Some(0x3bc), 5), lpt(0, None, 7)].map(DeviceConfig::IsaParallel));
    check_errors(&[
        (
            "-parallel null -parallel null -parallel null -parallel null",
            "-parallel null: a PC has three parallel ports, and this is the fourth",
        ),
        (
            "-parallel null -chardev null,id=c -device isa-parallel,chardev=c,index=0",
            "-device isa-parallel,chardev=c,index=0: there already is a LPT1",
        ),
        ("-device isa-parallel", "-device isa-parallel: 'chardev' is missing"),
    ]);
}

#[test]
fn drives_become_floppies_flash_chips_or_what_devices_ask_for() {
    let image = Image::new("/i");
    let auto = Image { access: Access::Auto, ..image.clone() };
    let drive = |id: &str, image: &Image| Drive { id: id.into(), image: Some(image.clone()) };

    let config = machine("-fdb /i -global isa-fdc.fdtypeB=144 -global isa-fdc.fallback=120");
    assert_eq!(config.drives, [drive("floppy1", &auto), Drive { id: "floppy0".into(), image: None }]);
    assert_eq!(config.fdc.drives, [floppy("floppy0", FloppyKind::Auto), floppy("floppy1", FloppyKind::Mb144)]);
    assert_eq!(config.fdc.fallback, FloppyKind::Mb120);

    let config = machine(
        "-nodefaults -drive if=floppy,file=/i,format=raw,id=a,readonly=on -drive file=file:/i,if=floppy -snapshot",
    );
    let snapshot = |access, format| Image { access, format, snapshot: true, ..image.clone() };
    assert_eq!(
        config.drives,
        [
            drive("a", &snapshot(Access::ReadOnly, Some(ImageFormat::Raw))),
            drive("floppy1", &snapshot(Access::Auto, None))
        ]
    );

    let config = machine(
        "-drive if=pflash,file=/i,unit=1,cache=unsafe,file.locking=off -drive if=pflash,file=/i,readonly=on,cache=writethrough",
    );
    assert_eq!(config.pflash, [Some("pflash0".into()), Some("pflash1".into())]);
    let modes: Vec<_> = config.drives.iter().filter_map(|drive| drive.image.as_ref()).collect();
    assert_eq!((modes[0].access, modes[0].cache, modes[0].locking), (Access::ReadWrite, CacheMode::Unsafe, false));
    assert_eq!((modes[1].access, modes[1].cache, modes[1].locking), (Access::ReadOnly, CacheMode::Writethrough, true));

    let config = machine("-pflash /a -drive if=none,file=/i,id=vars -machine pflash1=vars,max-fw-size=16M");
    assert_eq!(config.pflash, [Some("pflash0".into()), Some("vars".into())]);
    assert_eq!(config.drives[0].image, Some(Image::new("/a")));
    assert_eq!(config.platform.max_firmware_size, 16 << 20);
    let both = command_line("-bios b -pflash /a").unwrap().warnings;
    assert_eq!(both, ["-bios b: not used, as the firmware in the first flash chip is started"]);

    let config =
        machine("-drive if=none,id=d,file=/i -device floppy,drive=d,unit=1,id=b -device floppy,drive-type=144");
    let device = |id: Option<&str>, unit, drive: Option<&str>, kind| {
        let [id, drive] = [id, drive].map(|text| text.map(str::to_owned));
        DeviceConfig::Floppy(FloppyDevice { id, unit, drive, kind })
    };
    assert_eq!(
        config.devices,
        [device(Some("b"), 1, Some("d"), FloppyKind::Auto), device(None, 0, None, FloppyKind::Mb144)]
    );
    assert_eq!(config.fdc, FdcConfig::default());

    check_errors(&[
        ("-drive file=/i", "-drive file=/i: without if= it is an IDE disk; natoma has no disks yet"),
        ("-drive if=virtio,file=/i", "-drive if=virtio,file=/i: if=virtio is not supported yet"),
        ("-drive if=flopy", "-drive if=flopy: there is no interface 'flopy'; did you mean 'floppy'?"),
        (
            "-drive if=floppy,format=qcow2,file=/i",
            "-drive if=floppy,format=qcow2,file=/i: format=qcow2 is not supported yet; convert",
        ),
        ("-drive if=floppy,format=row,file=/i", "-drive if=floppy,format=row,file=/i: there is no format 'row'"),
        (
            "-drive if=floppy,cache=none,file=/i",
            "-drive if=floppy,cache=none,file=/i: cache=none: natoma does not go around",
        ),
        ("-drive if=floppy,aio=native", "-drive if=floppy,aio=native: "),
        ("-drive if=floppy,index=2", "-drive if=floppy,index=2: if=floppy has 2 places, index 0 to 1"),
        ("-drive if=floppy,index=1,unit=1", "-drive if=floppy,index=1,unit=1: index and unit mean the same"),
        (
            "-fda /i -drive if=floppy,index=0",
            "-drive if=floppy,index=0: there already is a drive with if=floppy,index=0",
        ),
        ("-fda fat:floppy:/tmp", "-fda fat:floppy:/tmp: natoma opens files only, and 'fat:' is not supported"),
        ("-drive if=pflash", "-drive if=pflash: a flash chip needs contents: give file=PATH"),
        ("-pflash a -pflash b -pflash c", "-pflash c: if=pflash has 2 places, index 0 to 1"),
        ("-machine pflash0=x", "-machine pflash0=x: there is no drive 'x': define it"),
        (
            "-drive if=none,id=x -machine pflash0=x",
            "-machine pflash0=x: a flash chip needs contents: give file=PATH (drive 'x')",
        ),
        (
            "-pflash a -drive if=none,id=x,file=y -M pflash0=x",
            "-machine pflash0=x: pflash0 is in use by -drive if=pflash",
        ),
        ("-M max-fw-size=17M", "-machine max-fw-size=17M: max-fw-size is a size up to 16M"),
        ("-fda /i -drive if=none,id=floppy0", "-drive if=none,id=floppy0: there are two drives with the id 'floppy0'"),
        ("-device floppy,drive=x", "-device floppy,drive=x: there is no drive 'x': define it"),
        ("-fda /i -device floppy,drive=floppy0", "-device floppy,drive=floppy0: the drive 'floppy0' is in use"),
        ("-fda /i -device floppy,unit=0", "-device floppy,unit=0: there already is a floppy drive with unit 0"),
        ("-fda /i -fdb /i -device floppy", "-device floppy: the controller has two drives"),
    ]);
}

#[test]
fn pci_devices_say_where_they_sit() {
    let devices = |line: &str| machine(&format!("-nodefaults -chardev null,id=c -chardev null,id=d {line}")).devices;
    let card = PciDevice {
        id: None,
        bus: None,
        addr: None,
        multifunction: false,
        rom: None,
        acpi_index: None,
        function: PciFunction::PciSerial(PciSerial { chardevs: vec![Some("c".into())], prog_if: 2 }),
    };
    assert_eq!(devices("-device pci-serial,chardev=c"), [DeviceConfig::Pci(card.clone())]);
    let bridge = PciDevice {
        id: Some("b".into()),
        addr: Some(PciPlace { slot: 0x1f, function: 7 }),
        multifunction: true,
        function: PciFunction::PciBridge(PciBridge {
            chassis_nr: 7,
            shpc: false,
            msi: false,
            reserve: PciReserve::default(),
        }),
        ..card.clone()
    };
    let behind = PciDevice {
        bus: Some("b".into()),
        addr: Some(PciPlace { slot: 5, function: 0 }),
        rom: Some(PciRom { file: "/r".into(), size: Some(4096), bar: true }),
        acpi_index: Some(3),
        function: PciFunction::PciSerial(PciSerial { chardevs: vec![None, Some("d".into())], prog_if: 6 }),
        ..card
    };
    assert_eq!(
        devices(
            "-global pci-serial-2x.prog_if=6 -device pci-bridge,id=b,chassis_nr=7,addr=0x1f.7,multifunction=on,shpc=off \
             -device {\"driver\":\"pci-serial-2x\",\"bus\":\"b\",\"addr\":\"0x5\",\"chardev2\":\"d\",\"romfile\":\"/r\",\"romsize\":4096,\"acpi-index\":3}"
        ),
        [DeviceConfig::Pci(bridge), DeviceConfig::Pci(behind)]
    );
    // An empty file name means that there is no ROM, rombar=0 that firmware gets it.
    let rom = |option: &str| match devices(&format!("-device pci-serial,{option}")).remove(0) {
        DeviceConfig::Pci(device) => device.rom,
        other => panic!("{other:?}"),
    };
    assert_eq!(rom("romfile="), None);
    assert_eq!(rom("romfile=/r,rombar=0"), Some(PciRom { file: "/r".into(), size: None, bar: false }));

    let bridge = |options: &str| match devices(&format!("-device pci-bridge,chassis_nr=1{options}")).remove(0) {
        DeviceConfig::Pci(PciDevice { function: PciFunction::PciBridge(bridge), .. }) => bridge,
        other => panic!("{other:?}"),
    };
    let plain = PciBridge { chassis_nr: 1, shpc: true, msi: true, reserve: PciReserve::default() };
    assert_eq!(bridge(""), plain);
    assert_eq!(bridge(",msi=off"), PciBridge { msi: false, ..plain.clone() });
    assert_eq!(bridge(",shpc=off,msi=on"), PciBridge { shpc: false, msi: false, ..plain.clone() });
    let reserve = PciReserve {
        buses: Some(3),
        io: Some(4096),
        memory: Some(2 << 20),
        prefetchable_32: None,
        prefetchable_64: Some(8 << 30),
    };
    assert_eq!(
        bridge(",bus-reserve=3,io-reserve=4K,mem-reserve=2M,pref64-reserve=8G"),
        PciBridge { reserve, ..plain.clone() }
    );

    check_errors(&[
        ("-device pci-bridge", "-device pci-bridge: 'chassis_nr' is missing: give each bridge a chassis_nr of its own"),
        (
            "-device pci-bridge,chassis_nr=1,mem-reserve=4G",
            "-device pci-bridge,chassis_nr=1,mem-reserve=4G: mem-reserve has to be less than 4G",
        ),
        (
            "-device pci-bridge,chassis_nr=1,pref32-reserve=1M,pref64-reserve=1M",
            "-device pci-bridge,chassis_nr=1,pref32-reserve=1M,pref64-reserve=1M: a bridge has one prefetchable window",
        ),
        (
            "-device pci-bridge,chassis_nr=1,id=a -device pci-bridge,chassis_nr=1",
            "-device pci-bridge,chassis_nr=1: chassis_nr=1 is that of pci-bridge,id=a already",
        ),
        (
            "-device pci-serial,bus=b -device pci-bridge,chassis_nr=1,id=b",
            "-device pci-serial,bus=b: there is no PCI bus 'b'; there is pci.0 (a bridge has to stand before",
        ),
        (
            "-device pci-bridge,chassis_nr=1 -device pci-serial,bus=pci.2",
            "-device pci-serial,bus=pci.2: there is no PCI bus 'pci.2'; there is pci.0, pci.1 (",
        ),
        ("-device pci-serial,addr=20", "-device pci-serial,addr=20: addr is SLOT or SLOT.FUNCTION"),
        ("-device pci-serial,addr=1.8", "-device pci-serial,addr=1.8: addr is SLOT or SLOT.FUNCTION"),
        ("-device pci-serial,addr=+1", "-device pci-serial,addr=+1: addr is SLOT or SLOT.FUNCTION"),
        ("-device pci-serial,romsize=3", "-device pci-serial,romsize=3: romsize has to be a power of two"),
        (
            "-device pci-serial,adr=3",
            "-device pci-serial,adr=3: there is no parameter 'adr' of device 'pci-serial'; did you mean 'addr'?",
        ),
        (
            "-device pci-serial,acpi-index=1 -device pci-serial,acpi-index=1",
            "-device pci-serial,acpi-index=1: a PCI device with acpi-index = 1 already exists: pci-serial",
        ),
        (
            "-chardev null,id=c -device pci-serial,chardev=c -device pci-serial-2x,chardev2=c",
            "-device pci-serial-2x,chardev2=c: character device 'c' is already used by pci-serial; pci-serial-2x can",
        ),
    ]);
}

#[test]
fn configuration_files_are_read_where_they_stand() {
    let file = "# comment\n\n[machine]\n  type = \"pc\"\n  hpet = \"off\"\n[smp-opts]\ncpus=\"2\"\n\
                [chardev \"com\"]\n backend = \"file\"\n path = \"/tmp/a,b=\"c\"\"\n\
                [global]\n driver = \"isa-debugcon\"\n property = \"iobase\"\n value = \"0x402\"\n\
                [natoma]\n serial = \"chardev:com\"\n nodefaults = \"on\"\n append = \"x\"\n kernel = \"k\"\n";
    let parse = |words: &[&str], text: &str| parse_with(words, &[("f", text)]);
    let read = |words: &[&str]| match parse(words, file).unwrap().request {
        Request::Run(config) => *config,
        other => panic!("{other:?}"),
    };
    let config = read(&["-readconfig", "f"]);
    assert_eq!((config.platform.hpet, config.smp.cpus, config.boot.append.as_str()), (false, 2, "x"));
    let backend = ChardevBackend::File { path: "/tmp/a,b=\"c\"".into(), append: false, input_path: None };
    assert_eq!(config.chardev("com").map(|chardev| &chardev.backend), Some(&backend));
    // Later options win over the file, and the file over earlier ones.
    assert_eq!(read(&["-smp", "4", "-readconfig", "f"]).smp.cpus, 2);
    assert_eq!(read(&["-readconfig", "f", "-smp", "4"]).smp.cpus, 4);

    for (text, message) in [
        ("[machin]\n", "f:1: [machin]: there is no such section; did you mean 'machine'?"),
        ("hpet = \"off\"", "f:1: this line is in no section"),
        ("[machine]\nhpet = off\n", "f:2: expected [section], [section \"id\"] or key = \"value\""),
        ("\n[machine]\nhpte = \"off\"\n", "f:2: [machine]: there is no parameter 'hpte' here; did you mean 'hpet'?"),
        ("[natoma]\nserail = \"x\"\n", "f:1: [natoma]: there is no option 'serail' for a file; did you mean 'serial'?"),
        ("[natoma]\nserial = \"foo\"\n", "f:1: [natoma]: there is no character device 'foo'"),
        ("[natoma]\nreadconfig = \"g\"\n", "f:1: [natoma]: there is no option 'readconfig' for a file"),
        ("[natoma]\nS = \"off\"\n", "f:1: [natoma]: write S = \"on\", or leave it out"),
        ("[natoma]\nhda = \"x\"\n", "f:1: [natoma]: -hda x: this option is not supported yet"),
    ] {
        let error = parse(&["-readconfig", "f"], text).unwrap_err();
        assert!(error.starts_with(message), "{text}: {error}");
    }
    assert_eq!(parse(&["-readconfig", "g"], "").unwrap_err(), "-readconfig g: cannot read the file: entity not found");
}

/// Command lines that use every part of the grammar.
const LINES: [&str; 9] = [
    "",
    "-M pc,accel=kvm,kernel-irqchip=split,smp.cores=2 -smp 4 -m 1.5G -no-hpet -enable-kvm -nodefaults",
    "-serial unix:/tmp/a,,b,server,nowait -serial none -serial mon:stdio -debugcon null -S -no-reboot",
    "-chardev socket,id=a,path=/x,server,nowait,logfile=/tmp/a,,b -serial chardev:a -device isa-debugcon,chardev=b -chardev null,id=b",
    "-object {\"qom-type\":\"memory-backend-ram\",\"id\":\"r\",\"size\":67108864} -machine memory-backend=r,usb=off -m 64",
    "-global isa-debug-exit.iobase=0xf4 -device isa-debug-exit,id=e -rtc base=localtime -action panic=none -display none",
    "-kernel k -append a=\"b,c\"~d -initrd i,,j -cpu host,+avx2,-kvm -name x,process=y -overcommit mem-lock=off -monitor none",
    "-d guest_errors -trace a* -D /tmp/x -pidfile /run/x -uuid 550e8400-e29b-41d4-a716-446655440000 -mem-prealloc",
    "-boot strict=on -msg timestamp=off -watchdog-action none -nographic -no-user-config",
];

#[test]
fn a_written_configuration_describes_the_same_machine() {
    for line in LINES {
        let written = match command_line(&format!("{line} -writeconfig f")) {
            Ok(CommandLine { request: Request::Write { path, text }, .. }) => {
                assert_eq!(path, Path::new("f"));
                text
            }
            other => panic!("{line}: {other:?}"),
        };
        let read = parse_with(&["-readconfig", "f"], &[("f", &written)]);
        let Ok(CommandLine { request: Request::Run(config), .. }) = read else { panic!("{line}: {read:?}\n{written}") };
        assert_eq!(*config, machine(line), "{line}\n{written}");
        // Written again it is the same file.
        let again = parse_with(&["-readconfig", "f", "-writeconfig", "-"], &[("f", &written)]).unwrap();
        assert_eq!(again.request, Request::Write { path: "-".into(), text: written });
    }
    let broken = parse_with(&["-name", "a\nb", "-writeconfig", "-"], &[]).unwrap_err();
    assert!(broken.ends_with("a configuration file cannot hold a value with a line break"), "{broken}");
}

/// A value that a key accepts.
fn example(key: &Key) -> Vec<String> {
    match (key.support, key.kind) {
        (Support::Missing { harmless, .. }, _) => harmless.iter().map(|text| (*text).to_owned()).collect(),
        (_, Kind::Flag) => vec!["on".into(), "off".into()],
        (_, Kind::Choice(words)) => words.iter().map(|word| (*word).to_owned()).collect(),
        (_, Kind::Number(least, most)) => vec![least.to_string(), most.to_string()],
        (_, Kind::Size(_)) => vec!["1".into(), "4G".into(), u64::MAX.to_string()],
        (_, Kind::Text(_)) => vec![String::new(), "text".into()],
    }
}

/// Whoever reads a key reads it as the kind that the table says: this fails if one does not.
#[test]
fn every_key_of_every_option_is_read() {
    for option in options::all() {
        let options::Argument::List(_, schema) = option.argument else { continue };
        let subjects: Vec<_> = match schema.variants {
            [] => vec![(String::new(), schema.keys.iter().collect::<Vec<_>>())],
            variants => variants
                .iter()
                .map(|variant| (format!("{},", variant.name), variant.keys.iter().chain(schema.keys).collect()))
                .collect(),
        };
        for (subject, keys) in subjects {
            // What the list must also have to be read to its end.
            let complete = |needed: &[(&str, &str)], but: &str| -> String {
                let needed = needed.iter().filter(|(name, _)| *name != but && keys.iter().any(|key| key.name == *name));
                needed.map(|(name, value)| format!("{name}={value},")).collect()
            };
            for (key, value) in keys.iter().flat_map(|key| example(key).into_iter().map(move |value| (key, value))) {
                let inet = [("id", "a"), ("port", "1"), ("server", "on")];
                let other = [("id", "a"), ("size", "1M"), ("path", "/x"), ("mem-path", "/x"), ("chardev", "c")];
                let needed = if subject == "socket," && key.name != "path" { &inet[..] } else { &other };
                let argument = format!("{subject}{}{}={value}", complete(needed, key.name), key.name);
                let _ = parse_with(&[&format!("-{}", option.name), &argument, "-chardev", "null,id=c"], &[]);
            }
        }
    }
    for driver in options::BOARD_DRIVERS {
        for (key, value) in driver.keys.iter().flat_map(|key| example(key).into_iter().map(move |value| (key, value))) {
            let _ = parse_with(&["-global", &format!("{}.{}={value}", driver.name, key.name)], &[]);
        }
    }
}

/// Words that are nearly a command line.
fn arguments() -> impl Strategy<Value = Vec<String>> {
    let options: Vec<_> = options::all().map(|option| format!("-{}", option.name)).collect();
    let pieces = "(pc|kvm|stdio|null|socket|isa-serial|mon:|tcp:|unix:/x|id=a|size=|1G|chardev:a|,|,,|=|on|off|0x|-|\\+|[ -~]|é){0,6}";
    let word = prop_oneof![3 => prop::sample::select(options), 4 => pieces, 1 => "\\PC{0,20}"];
    prop::collection::vec(word, 0..8)
}

proptest! {
    // clap checks its whole table at each call in debug builds, so that a case takes milliseconds.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_command_line_is_read_or_refused(arguments in arguments(), file in "([a-z]{1,8}|\\[|\\]|\"| = |\n|natoma|machine){0,30}") {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        if let Err(error) = parse_with(&words, &[("", &file), ("f", &file)]) {
            prop_assert!(!error.is_empty() && error.len() < 4000);
        }
        let _ = parse_with(&["-readconfig", "f"], &[("f", &file)]);
    }

    #[test]
    fn any_text_survives_the_way_through_a_file(name in "\\PC{1,30}", append in "[ -~]{1,40}", path in "[ -~]{1,40}") {
        let escaped = |text: &str| text.replace(',', ",,");
        let (name, chardev) = (format!("guest={}", escaped(&name)), format!("file,id=a,path={}", escaped(&path)));
        let words = ["-name", name.as_str(), "-kernel", "k", "-append", append.as_str(), "-chardev", &chardev];
        let Request::Run(config) = parse_with(&words, &[]).unwrap().request else { panic!() };
        let Request::Write { text, .. } = parse_with(&[&words[..], &["-writeconfig", "f"]].concat(), &[]).unwrap().request
        else {
            panic!()
        };
        let Request::Run(read) = parse_with(&["-readconfig", "f"], &[("f", &text)]).unwrap().request else { panic!() };
        prop_assert_eq!(read, config);
    }
}
