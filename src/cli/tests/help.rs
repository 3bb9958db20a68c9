//! Help and logging.

use super::*;

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
        ("-help sd", "An option of QEMU that natoma does not support yet; disks can be if=ide, if=scsi or if=virtio"),
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
