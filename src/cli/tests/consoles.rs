//! Serial ports, parallel ports, monitors, and the character devices behind them.

use super::*;

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
