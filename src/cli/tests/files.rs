//! Configuration files, read and written.

use super::*;

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
        ("[natoma]\nsd = \"x\"\n", "f:1: [natoma]: -sd x: this option is not supported yet"),
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

proptest! {
    // clap checks its whole table at each call in debug builds, so that a case takes milliseconds.
    #![proptest_config(ProptestConfig::with_cases(64))]

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
